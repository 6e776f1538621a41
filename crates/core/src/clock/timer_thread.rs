#![expect(clippy::disallowed_types, reason = "only calls that are pending sleep: each wheel is locked for a few steps")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    task::Waker,
    thread::{self, Thread},
};

use super::{
    MonotonicClock, Timestamp,
    wake_plan::{NEVER, WakePlan},
    wheel::Wheel,
};
use crate::Stripes;

/// How exactly sleepers are woken, in nanoseconds: about a millisecond, and a power of two, which spares a division. Finer
/// would wake the thread more often than timeouts are worth.
pub(super) const TICK: u64 = 1 << 20;

/// How many ticks late the thread may be before others do its work.
const TICKS_OF_GRACE: u64 = 1;

static WHEELS: OnceLock<Wheels> = OnceLock::new();
static THREAD: OnceLock<TimerThread> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());
static HELPING: Mutex<()> = Mutex::new(());
/// The tick that has passed when the thread last looked.
static PASSED: AtomicU64 = AtomicU64::new(0);

/// Whether `tick` has passed for certain. One that passed a moment ago may not be known yet, but whoever has been woken for
/// a tick, or polled since somebody was, finds that it has.
#[inline]
pub(super) fn has_passed(tick: u64) -> bool {
    // Acquire: with the release in `pass`. Waking a task, and polling it thereupon, orders the two as well.
    tick <= PASSED.load(Acquire)
}

/// The one thread of the process that wakes the sleepers of [`MonotonicClock`].
pub(super) struct TimerThread {
    wheels: &'static Wheels,
    thread: Thread,
}

struct Wheels {
    striped: Stripes<Mutex<Wheel>>,
    plan: WakePlan,
}

/// A waker's place on a wheel; it leaves when it is dropped.
pub(super) struct Place {
    wheel: &'static Mutex<Wheel>,
    key: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let waker = lock(self.wheel).leave(self.key);
        // Outside of the lock: it may be the last owner of a task whose future sleeps as well.
        drop(waker);
    }
}

impl TimerThread {
    /// The thread, started with the first sleeper. Nothing while the system refuses another thread.
    #[inline]
    pub(super) fn get() -> Option<&'static Self> {
        THREAD.get().or_else(Self::start)
    }

    #[cold]
    fn start() -> Option<&'static Self> {
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(started) = THREAD.get() {
            return Some(started);
        }
        let wheels = WHEELS.get_or_init(|| Wheels { striped: Stripes::default(), plan: WakePlan::new() });
        let thread = thread::Builder::new().name("seawall-timer".into()).spawn(|| wheels.turn_for_ever()).ok()?;
        Some(THREAD.get_or_init(|| Self { wheels, thread: thread.thread().clone() }))
    }

    /// Does the thread's work at `now` when the system lets it wait for a processor: whoever is here has one.
    #[inline]
    pub(super) fn help_out(&self, now: u64) {
        if !self.wheels.plan.is_overdue(now.saturating_sub(TICKS_OF_GRACE)) || has_passed(now) {
            return;
        }
        let mut due = Vec::new();
        if let Ok(_helping) = HELPING.try_lock() {
            self.wheels.pass(now, &mut due);
        }
        wake(&mut due);
    }

    /// Lets `waker` be woken when `tick` has passed. Nothing when it has, or when four billion sleepers leave no room.
    pub(super) fn wake_at(&self, tick: u64, waker: Waker) -> Option<Place> {
        let wheel = self.wheels.striped.mine();
        let joined = lock(wheel).join(tick, waker);
        let place = Place { wheel, key: joined.ok()? };
        if self.wheels.plan.asks_to_unpark(tick) {
            self.thread.unpark();
        }
        Some(place)
    }
}

impl Wheels {
    fn turn_for_ever(&self) -> ! {
        let mut due = Vec::new();
        loop {
            self.plan.forget();
            let next = self.pass(MonotonicClock::read().as_nanos() / TICK, &mut due);
            wake(&mut due);
            match self.plan.settle(next) {
                NEVER => thread::park(),
                tick => {
                    let at = Timestamp::from_nanos(tick.saturating_mul(TICK));
                    thread::park_timeout(at.since(MonotonicClock::read()));
                }
            }
        }
    }

    /// Lets all ticks up to `now` pass on all wheels; the earliest at which somebody may be due then.
    fn pass(&self, now: u64, due: &mut Vec<Waker>) -> u64 {
        // Release: before anybody is woken; with `has_passed`.
        PASSED.fetch_max(now, Release);
        let next = self.striped.iter().filter_map(|wheel| {
            let mut wheel = lock(wheel);
            wheel.turn(now, due);
            wheel.next()
        });
        next.min().unwrap_or(NEVER)
    }
}

fn wake(due: &mut Vec<Waker>) {
    for waker in due.drain(..) {
        // A waker that panics must not keep all others from being woken, from here on and for ever.
        drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
    }
}

fn lock(wheel: &Mutex<Wheel>) -> MutexGuard<'_, Wheel> {
    // Nothing that can panic is called under the lock: the wheel is whole.
    wheel.lock().unwrap_or_else(PoisonError::into_inner)
}

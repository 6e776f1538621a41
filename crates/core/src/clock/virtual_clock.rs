#![expect(clippy::disallowed_types, reason = "a clock for tests and simulation: its list of sleepers is no hot path")]

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{Clock, Timer, Timestamp};

/// A clock that stands still until it is told to move. All clones share the time.
///
/// Its sleepers are woken in the order of their deadlines, and find at their wake-up a time not before their own.
///
/// ```
/// use seawall_core::{Clock, VirtualClock};
/// use std::time::Duration;
///
/// let clock = VirtualClock::new();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now().since(start), Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    now: AtomicU64,
    sleepers: Mutex<Sleepers>,
}

#[derive(Debug, Default)]
struct Sleepers {
    next_id: u64,
    by_deadline: BTreeMap<(Timestamp, u64), Waker>,
}

impl VirtualClock {
    /// A clock at [`Timestamp::ZERO`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A clock that stands at `now`.
    pub fn starting_at(now: Timestamp) -> Self {
        let clock = Self::new();
        clock.inner.now.store(now.as_nanos(), SeqCst);
        clock
    }

    /// Moves on by `by`, waking every sleeper on the way.
    pub fn advance(&self, by: Duration) {
        self.advance_to(self.now().saturating_add(by));
    }

    /// Moves on to `at`, waking every sleeper on the way; does nothing when `at` has passed.
    pub fn advance_to(&self, at: Timestamp) {
        loop {
            let mut sleepers = self.sleepers();
            let Some(first) = sleepers.by_deadline.first_entry().filter(|entry| entry.key().0 <= at) else {
                // Under the lock, so that a sleeper that registers next sees the new time.
                self.inner.now.fetch_max(at.as_nanos(), SeqCst);
                return;
            };
            let ((deadline, _), waker) = first.remove_entry();
            self.inner.now.fetch_max(deadline.as_nanos(), SeqCst);
            drop(sleepers);
            waker.wake();
        }
    }

    /// The earliest deadline that somebody sleeps for.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.sleepers().by_deadline.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// How many sleepers are registered.
    pub fn sleeping(&self) -> usize {
        self.sleepers().by_deadline.len()
    }

    fn sleepers(&self) -> MutexGuard<'_, Sleepers> {
        // A panic of a waker happens outside the lock: the map is whole.
        self.inner.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.inner.now.load(SeqCst))
    }
}

impl Timer for VirtualClock {
    type Sleep = VirtualSleep;

    fn sleep_until(&self, at: Timestamp) -> VirtualSleep {
        VirtualSleep { clock: self.clone(), at, id: None }
    }
}

/// The future of [`VirtualClock`]'s [`Timer::sleep_until`].
#[derive(Debug)]
#[must_use = "a sleep does nothing until it is polled"]
pub struct VirtualSleep {
    clock: VirtualClock,
    at: Timestamp,
    id: Option<u64>,
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Wakers are cloned and dropped outside the lock: what they do may well be another sleep.
        let waker = cx.waker().clone();
        let mut sleepers = this.clock.sleepers();
        let (earlier, poll) = if this.clock.now() >= this.at {
            let registered = this.id.take().and_then(|id| sleepers.by_deadline.remove(&(this.at, id)));
            (registered, Poll::Ready(()))
        } else {
            let id = this.id.unwrap_or(sleepers.next_id);
            if this.id.replace(id).is_none() {
                sleepers.next_id = sleepers.next_id.wrapping_add(1);
            }
            (sleepers.by_deadline.insert((this.at, id), waker), Poll::Pending)
        };
        drop(sleepers);
        drop(earlier);
        poll
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let registered = self.clock.sleepers().by_deadline.remove(&(self.at, id));
            drop(registered);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    struct Log(Arc<Mutex<Vec<u32>>>, u32);

    impl Wake for Log {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().push(self.1);
        }
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_deadlines() {
        let clock = VirtualClock::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut sleeps: Vec<_> = [30_u32, 10, 20]
            .into_iter()
            .map(|at| (at, Box::pin(clock.sleep_until(Timestamp::from_nanos(at.into())))))
            .collect();
        for (at, sleep) in &mut sleeps {
            let waker = Waker::from(Arc::new(Log(Arc::clone(&log), *at)));
            assert_eq!(sleep.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
        }

        clock.advance(Duration::from_nanos(25));

        assert_eq!(*log.lock().unwrap(), [10, 20]);
        assert_eq!(clock.next_deadline(), Some(Timestamp::from_nanos(30)));
    }

    /// Writes down the time at which it is woken.
    struct Stamps(VirtualClock, Mutex<Vec<u64>>);

    impl Wake for Stamps {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0.now().as_nanos());
        }
    }

    #[test]
    fn each_sleeper_is_woken_at_its_own_time() {
        let clock = VirtualClock::new();
        let stamps = Arc::new(Stamps(clock.clone(), Mutex::default()));
        let waker = Waker::from(Arc::clone(&stamps));
        let mut sleeps = [10, 20].map(|at| clock.sleep_until(Timestamp::from_nanos(at)));
        for sleep in &mut sleeps {
            assert!(Pin::new(sleep).poll(&mut Context::from_waker(&waker)).is_pending());
        }

        clock.advance(Duration::from_nanos(25));

        assert_eq!((stamps.1.lock().unwrap().clone(), clock.now().as_nanos()), (vec![10, 20], 25));
    }

    /// A waker whose last copy to go looks at the clock.
    struct Looks(VirtualClock);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            assert!(self.0.inner.sleepers.try_lock().is_ok(), "dropped while the list of sleepers was locked");
        }
    }

    #[test]
    fn a_waker_is_dropped_outside_the_lock() {
        let clock = VirtualClock::new();
        let poll = |sleep: Pin<&mut VirtualSleep>| {
            let waker = Waker::from(Arc::new(Looks(clock.clone())));
            sleep.poll(&mut Context::from_waker(&waker))
        };
        let (mut first, mut second) =
            (clock.sleep_until(Timestamp::from_nanos(5)), clock.sleep_until(Timestamp::from_nanos(9)));

        assert_eq!(poll(Pin::new(&mut first)), Poll::Pending);
        assert_eq!(poll(Pin::new(&mut first)), Poll::Pending, "the earlier waker is replaced");
        assert_eq!(poll(Pin::new(&mut second)), Poll::Pending);
        drop(second);
        clock.advance(Duration::from_nanos(5));
        assert_eq!(poll(Pin::new(&mut first)), Poll::Ready(()));
    }

    #[test]
    fn a_dropped_sleeper_leaves_nothing_behind() {
        let clock = VirtualClock::new();
        let mut sleep = Box::pin(clock.sleep_until(Timestamp::from_nanos(5)));
        let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(clock.sleeping(), 1);

        drop(sleep);

        assert_eq!(clock.sleeping(), 0);
    }
}

#![expect(clippy::disallowed_types, reason = "the lock is taken only when the quota is used up")]

use std::{
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    Pattern, Reason, Rejection, Timestamp, WaitKey, WaitList, replace_waker,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{Limit, queueing_quota::MAX_QUEUED};

/// How far a turn that is given late goes back to when it was due: a timer's step, and what a busy runtime adds.
pub(crate) const LATENESS: Duration = Duration::from_millis(5);

/// What a line asks of its limit. Every [`Limit`] does, and one key of a limiter of many.
pub(crate) trait Turns: Send + Sync + 'static {
    /// What is needed to give back what was taken.
    type Taken: Copy + Send + Sync + 'static;

    fn take(&self, cost: u32, now: Timestamp) -> Result<Self::Taken, Rejection>;

    fn give_back(&self, taken: Self::Taken, cost: u32);

    /// As [`Limit::turn_in`].
    fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration>;

    /// As [`Limit::lateness`].
    fn lateness(&self) -> Duration;
}

impl<L: Limit> Turns for L {
    /// When it was taken.
    type Taken = Timestamp;

    #[inline]
    fn take(&self, cost: u32, now: Timestamp) -> Result<Timestamp, Rejection> {
        Limit::take(self, cost, now).map(|()| now)
    }

    fn give_back(&self, taken: Timestamp, cost: u32) {
        self.refund(cost, taken);
    }

    fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        Limit::turn_in(self, ahead, cost, now)
    }

    fn lateness(&self) -> Duration {
        Limit::lateness(self)
    }
}

/// A limit and those who wait for their turn of it.
///
/// Only the first in line takes from the quota, so a waiter that leaves has taken nothing and those behind it move up.
/// Whoever looks at the line serves it from its front, as far as the quota goes: a waiter whose task is not polled keeps
/// nobody else waiting longer than their own turn.
pub(crate) struct Line<L: Turns> {
    pub(crate) limit: L,
    /// How many are in line. Written under the lock; who reads 0 came before whoever joins now.
    queued: AtomicUsize,
    together: Arc<Together>,
    waiters: Mutex<Waiters<L::Taken>>,
    max_queued: usize,
}

/// How many wait in a line and its neighbours, and how many may. A count: it guards no other memory.
pub(crate) struct Together {
    waiting: AtomicUsize,
    most: usize,
}

impl Together {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicUsize::new(0), most })
    }

    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}

struct Waiters<K> {
    list: WaitList<Waiter<K>>,
    /// What those in line cost in all.
    cost: u64,
    /// When it was not yet the turn of the first.
    waits_since: Timestamp,
}

struct Waiter<K> {
    cost: u32,
    waker: Waker,
    /// What became of it, once it is out of line.
    turn: Option<Result<K, Rejection>>,
}

/// What a call that could not go on at once is told.
pub(crate) enum Joined {
    Served,
    /// Its place, and when its turn comes if all before it stay.
    Waiting(WaitKey, Timestamp),
    Refused(Rejection),
}

impl<L: Turns> Line<L> {
    pub(crate) fn new(limit: L, max_queued: usize) -> Self {
        Self::beside(limit, max_queued, Together::new(MAX_QUEUED))
    }

    /// One of several lines.
    pub(crate) fn beside(limit: L, max_queued: usize, together: Arc<Together>) -> Self {
        let waiters = Waiters { list: WaitList::new(), cost: 0, waits_since: Timestamp::ZERO };
        Self { limit, queued: AtomicUsize::new(0), together, waiters: Mutex::new(waiters), max_queued }
    }

    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiters<L::Taken>> {
        // Wakers run outside the lock, so a panic of one leaves the line whole.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call in line that may not wait beyond `until`.
    pub(crate) fn join(&self, cost: u32, until: Timestamp, deadline: Timestamp, now: Timestamp) -> Joined {
        self.serve(now);
        let mut waiters = self.lock();
        if waiters.list.is_empty() && self.limit.take(cost, now).is_ok() {
            return Joined::Served;
        }
        let queued = waiters.list.len();
        let refused = |reason| Rejection::new(Pattern::RateLimiter, reason).with_queued(queued);
        let Some(wait) = self.limit.turn_in(waiters.cost, cost, now) else {
            return Joined::Refused(refused(Reason::TooHeavy));
        };
        let turn = now.saturating_add(wait);
        if turn > deadline {
            return Joined::Refused(refused(Reason::DeadlineTooClose).with_retry_after(wait));
        }
        if turn > until {
            return Joined::Refused(refused(Reason::RateLimited).with_retry_after(turn.since(until)));
        }
        if queued >= self.max_queued || self.together.waiting() >= self.together.most {
            return Joined::Refused(refused(Reason::QueueFull).with_retry_after(wait));
        }
        if waiters.list.is_empty() {
            waiters.waits_since = now;
        }
        waiters.cost = waiters.cost.saturating_add(cost.into());
        let key = waiters.list.push_back(Waiter { cost, waker: Waker::noop().clone(), turn: None });
        self.queued.store(waiters.list.len(), Relaxed);
        self.together.waiting.fetch_add(1, Relaxed);
        Joined::Waiting(key, turn)
    }

    /// Serves the line from its front, as far as the quota goes.
    pub(crate) fn serve(&self, now: Timestamp) {
        let mut served = false;
        while let Some(waker) = self.serve_front(now) {
            waker.wake();
            served = true;
        }
        if served {
            self.wake_front();
        }
    }

    /// The quota has changed: serves the line, and lets the first know that its turn may be another.
    pub(crate) fn quota_changed(&self, now: Timestamp) {
        self.serve(now);
        self.wake_front();
    }

    fn serve_front(&self, now: Timestamp) -> Option<Waker> {
        if self.queued() == 0 {
            return None;
        }
        let mut waiters = self.lock();
        let key = waiters.list.front()?;
        // It has waited since before its turn, so it takes as if it had been looked at just then: with what the timer is late by
        // the next one would be late as well, and a burst of 1 never reach the quota's rate.
        let since = waiters.waits_since.max(now.saturating_sub(self.limit.lateness())).min(now);
        let cost = waiters.list.get(key)?.cost;
        let due = self.limit.turn_in(0, cost, since).map_or(now, |wait| since.saturating_add(wait).min(now));
        let taken = match self.limit.take(cost, due) {
            Err(refused) if due < now && refused.reason() != Reason::TooHeavy => self.limit.take(cost, now),
            taken => taken,
        };
        let turn = match taken {
            Ok(taken) => Ok(taken),
            // The quota was lowered: no wait helps.
            Err(refused) if refused.reason() == Reason::TooHeavy => Err(refused),
            Err(_) => {
                waiters.waits_since = now;
                return None;
            }
        };
        waiters.waits_since = due;
        let first = waiters.list.get_mut(key)?;
        first.turn = Some(turn);
        let waker = std::mem::replace(&mut first.waker, Waker::noop().clone());
        self.unlink(&mut waiters, key);
        Some(waker)
    }

    /// Whoever is first from here on learns when its turn is.
    fn wake_front(&self) {
        let waiters = self.lock();
        let first = waiters.list.front().and_then(|key| waiters.list.get(key)).map(|first| first.waker.clone());
        drop(waiters);
        if let Some(first) = first {
            first.wake();
        }
    }

    fn unlink(&self, waiters: &mut Waiters<L::Taken>, key: WaitKey) {
        let cost = waiters.list.get(key).map_or(0, |waiter| waiter.cost);
        if waiters.list.unlink(key) {
            waiters.cost = waiters.cost.saturating_sub(cost.into());
            self.queued.store(waiters.list.len(), Relaxed);
            self.together.waiting.fetch_sub(1, Relaxed);
        }
    }
}

/// A place in some line.
pub(crate) trait Place: Send + Sync {
    /// The turn, or for the first in line how long until it comes.
    fn poll_turn(&mut self, cx: &Context<'_>, now: Timestamp) -> Poll<Result<Result<(), Rejection>, Option<Duration>>>;

    /// Leaves; what it was handed in this moment, if anything.
    fn leave(&mut self) -> Option<Result<(), Rejection>>;
}

/// One waiter's place in line. Dropping it leaves the line, or gives back what it was just handed.
pub(crate) struct InLine<L: Turns> {
    line: Arc<Line<L>>,
    key: Option<WaitKey>,
}

impl<L: Turns> InLine<L> {
    pub(crate) const fn new(line: Arc<Line<L>>, key: WaitKey) -> Self {
        Self { line, key: Some(key) }
    }

    fn leave_with(&mut self) -> Option<Result<L::Taken, Rejection>> {
        let key = self.key.take()?;
        let mut waiters = self.line.lock();
        let was_first = waiters.list.front() == Some(key);
        self.line.unlink(&mut waiters, key);
        let waiter = waiters.list.remove(key)?;
        drop(waiters);
        if was_first {
            self.line.wake_front();
        }
        waiter.turn
    }
}

impl<L: Turns> Place for InLine<L> {
    fn poll_turn(&mut self, cx: &Context<'_>, now: Timestamp) -> Poll<Result<Result<(), Rejection>, Option<Duration>>> {
        // Polled again after it was ready: pending for ever, as nothing will wake it.
        let Some(key) = self.key else { return Poll::Pending };
        self.line.serve(now);
        let mut waiters = self.line.lock();
        let is_first = waiters.list.front() == Some(key);
        let Some(waiter) = waiters.list.get_mut(key) else { return Poll::Pending };
        if let Some(turn) = waiter.turn {
            let _served = waiters.list.remove(key);
            drop(waiters);
            self.key = None;
            return Poll::Ready(Ok(turn.map(|_| ())));
        }
        let (replaced, cost) = (replace_waker(&mut waiter.waker, cx.waker()), waiter.cost);
        drop(waiters);
        drop(replaced);
        Poll::Ready(Err(if is_first { self.line.limit.turn_in(0, cost, now) } else { None }))
    }

    fn leave(&mut self) -> Option<Result<(), Rejection>> {
        self.leave_with().map(|turn| turn.map(|_| ()))
    }
}

impl<L: Turns> Drop for InLine<L> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let cost = self.line.lock().list.get(key).map_or(0, |waiter| waiter.cost);
        if let Some(Ok(taken)) = self.leave_with() {
            // It was its turn, and nobody was there to take it.
            self.line.limit.give_back(taken, cost);
            self.line.wake_front();
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::thread;
    use seawall_core::{Clock, Timer};

    use super::*;
    use crate::{Gcra, Quota, RateLimiterWait};

    const LATER: Timestamp = Timestamp::from_nanos(1_000_000_000);

    /// Stands still, and wakes nobody.
    #[derive(Clone)]
    struct Still(Timestamp);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    impl Timer for Still {
        type Sleep = std::future::Pending<()>;

        fn sleep_until(&self, _: Timestamp) -> Self::Sleep {
            std::future::pending()
        }
    }

    fn join(line: &Arc<Line<Gcra>>) -> InLine<Gcra> {
        let Joined::Waiting(key, _) = line.join(1, Timestamp::MAX, Timestamp::MAX, Timestamp::ZERO) else {
            panic!("the quota is used up")
        };
        InLine::new(Arc::clone(line), key)
    }

    #[test]
    fn a_waiter_that_leaves_while_it_is_served_burns_nothing() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let line = Arc::new(Line::new(Gcra::new(Quota::per_second(1).unwrap()), 9));
            line.limit.take(1, Timestamp::ZERO).unwrap();
            let (leaving, mut staying) = (join(&line), join(&line));
            let other = Arc::clone(&line);
            let serves = thread::spawn(move || other.serve(LATER));
            drop(leaving);
            serves.join().unwrap();
            let turn = staying.poll_turn(&Context::from_waker(Waker::noop()), LATER);
            assert!(matches!(turn, Poll::Ready(Ok(Ok(())))), "the turn is lost");
            assert_eq!((line.queued(), line.limit.standing(LATER).remaining()), (0, 0));
        });
    }

    #[test]
    fn a_turn_that_another_thread_gives_as_time_runs_out_is_not_lost() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let line = Arc::new(Line::new(Gcra::new(Quota::per_second(1).unwrap()), 9));
            line.limit.take(1, Timestamp::ZERO).unwrap();
            let until = LATER.saturating_sub(Duration::from_nanos(1));
            let mut waits = Box::pin(RateLimiterWait::new(Box::new(join(&line)), Still(until), LATER, until));
            let other = Arc::clone(&line);
            let serves = thread::spawn(move || other.serve(LATER));
            let turn = waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            serves.join().unwrap();
            let left = line.limit.standing(LATER).remaining();
            match turn {
                Poll::Ready(Ok(())) => assert_eq!(left, 0),
                Poll::Ready(Err(_)) => assert_eq!(left, 1, "its turn is lost"),
                Poll::Pending => panic!("its time has run out"),
            }
        });
    }

    #[test]
    fn nobody_passes_the_line_and_nobody_is_let_in_twice() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let line = Arc::new(Line::new(Gcra::new(Quota::per_second(1).unwrap()), 9));
            line.limit.take(1, Timestamp::ZERO).unwrap();
            let mut first = join(&line);
            let other = Arc::clone(&line);
            let comes = thread::spawn(move || {
                matches!(other.join(1, Timestamp::MAX, Timestamp::MAX, LATER), Joined::Waiting(..))
            });
            line.serve(LATER);
            assert!(comes.join().unwrap(), "the one turn is that of the first");
            let turn = first.poll_turn(&Context::from_waker(Waker::noop()), LATER);
            assert!(matches!(turn, Poll::Ready(Ok(Ok(())))));
        });
    }
}

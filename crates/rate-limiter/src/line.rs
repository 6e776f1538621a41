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

use crate::Limit;

/// How late a timer is that does what it can: tokio's rounds up to its step of 1 ms, and epoll's wait to another.
pub(crate) const LATENESS: Duration = Duration::from_millis(2);

/// A limit and those who wait for their turn of it.
///
/// Only the first in line takes from the quota, so a waiter that leaves has taken nothing and those behind it move up.
/// Whoever looks at the line serves it from its front, as far as the quota goes: a waiter whose task is not polled keeps
/// nobody else waiting longer than their own turn.
pub(crate) struct Line<L> {
    pub(crate) limit: L,
    /// How many are in line. Written under the lock; who reads 0 came before whoever joins now.
    queued: AtomicUsize,
    waiters: Mutex<Waiters>,
    max_queued: usize,
}

struct Waiters {
    list: WaitList<Waiter>,
    /// What those in line cost in all.
    cost: u64,
    /// When it was not yet the turn of the first.
    waits_since: Timestamp,
}

struct Waiter {
    cost: u32,
    waker: Waker,
    /// What became of it, once it is out of line: when its cost was taken.
    turn: Option<Result<Timestamp, Rejection>>,
}

/// What a call that could not go on at once is told.
pub(crate) enum Joined {
    Served,
    /// Its place, and when its turn comes if all before it stay.
    Waiting(WaitKey, Timestamp),
    Refused(Rejection),
}

impl<L: Limit> Line<L> {
    pub(crate) fn new(limit: L, max_queued: usize) -> Self {
        let waiters = Waiters { list: WaitList::new(), cost: 0, waits_since: Timestamp::ZERO };
        Self { limit, queued: AtomicUsize::new(0), waiters: Mutex::new(waiters), max_queued }
    }

    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
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
        if queued >= self.max_queued {
            return Joined::Refused(refused(Reason::QueueFull).with_retry_after(wait));
        }
        if waiters.list.is_empty() {
            waiters.waits_since = now;
        }
        waiters.cost = waiters.cost.saturating_add(cost.into());
        let key = waiters.list.push_back(Waiter { cost, waker: Waker::noop().clone(), turn: None });
        self.queued.store(waiters.list.len(), Relaxed);
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
        let cost = waiters.list.get(key)?.cost;
        let since = waiters.waits_since.max(now.saturating_sub(self.limit.lateness(cost))).min(now);
        let due = self.limit.turn_in(0, cost, since).map_or(now, |wait| since.saturating_add(wait).min(now));
        let taken = match self.limit.take(cost, due) {
            // One that no wait helps is due now; without the question a turn takes 100 instructions more.
            Err(refused) if due < now && refused.reason() != Reason::TooHeavy => {
                self.limit.take(cost, now).map(|()| now)
            }
            taken => taken.map(|()| due),
        };
        let turn = match taken {
            Ok(at) => Ok(at),
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

    fn unlink(&self, waiters: &mut Waiters, key: WaitKey) {
        let cost = waiters.list.get(key).map_or(0, |waiter| waiter.cost);
        if waiters.list.unlink(key) {
            waiters.cost = waiters.cost.saturating_sub(cost.into());
            self.queued.store(waiters.list.len(), Relaxed);
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
pub(crate) struct InLine<L: Limit> {
    line: Arc<Line<L>>,
    key: Option<WaitKey>,
}

impl<L: Limit> InLine<L> {
    pub(crate) const fn new(line: Arc<Line<L>>, key: WaitKey) -> Self {
        Self { line, key: Some(key) }
    }

    fn leave_with(&mut self) -> Option<Result<Timestamp, Rejection>> {
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

impl<L: Limit> Place for InLine<L> {
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

impl<L: Limit> Drop for InLine<L> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let cost = self.line.lock().list.get(key).map_or(0, |waiter| waiter.cost);
        if let Some(Ok(taken)) = self.leave_with() {
            // It was its turn, and nobody was there to take it.
            self.line.limit.refund(cost, taken);
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
    fn turns_that_two_threads_give_late_are_as_many_as_one_would_give() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let line = Arc::new(Line::new(Gcra::new(Quota::every(LATENESS).unwrap()), 9));
            line.limit.take(1, Timestamp::ZERO).unwrap();
            let _waiting = [(); 3].map(|()| join(&line));
            let other = Arc::clone(&line);
            let serves = thread::spawn(move || other.serve(LATER));
            line.serve(LATER);
            serves.join().unwrap();
            assert_eq!(line.queued(), 1, "one that is late by the most that counts, and one that is due now");
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

#![expect(clippy::disallowed_types, reason = "the lock is taken only when there is no room")]

use std::{
    fmt,
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    CallContext, Clock, Criticality, Enforcing, Reason, Timestamp, replace_waker,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    LimitAlgorithm, Passage,
    fair_queue::{Newcomer, Weights},
    limiter::Limiter,
    shedder::share,
    waiters::{Discipline, Next, Place, Turn, Waiter, Waiters},
    word::Seen,
};

/// A limiter and those who wait for room.
///
/// The flag in the limiter's word is raised only under the lock, together with the look that found no room: who makes
/// room either sees the flag and serves the line, or made it before that look.
#[derive(Debug)]
pub(crate) struct Line<A> {
    limiter: Limiter<A>,
    /// Whether those whose deadline is too close when their turn comes are refused.
    for_deadlines: Arc<Enforcing>,
    waiters: Mutex<Waiters>,
}

/// What a call that found no room at first is told.
pub(crate) enum Joined {
    Served(Passage),
    Waiting { place: Place, until: Timestamp },
    Refused(Reason),
}

impl<A: LimitAlgorithm> Line<A> {
    pub(crate) fn new(algorithm: A, discipline: Discipline, max_queued: usize, for_deadlines: Arc<Enforcing>) -> Self {
        let waiters = Mutex::new(Waiters::new(discipline, max_queued));
        Self { limiter: Limiter::new(algorithm), for_deadlines, waiters }
    }

    pub(crate) const fn limiter(&self) -> &Limiter<A> {
        &self.limiter
    }

    pub(crate) fn queued(&self) -> usize {
        self.lock().len()
    }

    /// How many wait, and since when the oldest.
    pub(crate) fn queue(&self) -> (usize, Option<Timestamp>) {
        let waiters = self.lock();
        (waiters.len(), waiters.oldest())
    }

    pub(crate) fn set_weights(&self, weights: &Weights) {
        let replaced = self.lock().set_weights(weights);
        drop(replaced);
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        // Wakers run outside the lock, so a panic of one leaves the line whole.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The passage of a call that has just entered, when the word said `seen`.
    #[inline]
    pub(crate) fn begin(&self, seen: Seen, cost: u32, now: Timestamp) -> Passage {
        let passage = self.limiter.begin(seen, cost, now);
        if seen.is_probing() {
            // It may have completed the probe: the limit is back, and those who wait have room.
            self.hand_off_if_somebody_waits(now);
        }
        passage
    }

    /// Enters, gets in line, or is refused.
    pub(crate) fn join(&self, context: &CallContext, now: Timestamp) -> Joined {
        let class = context.criticality as usize;
        let typical = Duration::from_nanos(self.limiter.typical());
        if (context.criticality as u32) < self.limiter.word().seen().floor() {
            return Joined::Refused(Reason::Overloaded);
        }
        let mut displaced = Waker::noop().clone();
        let joined = {
            let mut waiters = self.lock();
            if let Some(seen) = self.enter(&mut waiters, context, now) {
                drop(waiters);
                return Joined::Served(self.begin(seen, context.cost, now));
            }
            if waiters.is_full() {
                let newcomer =
                    Newcomer { tenant: context.tenant, deadline: context.deadline.unwrap_or(Timestamp::MAX) };
                let Some(place) = waiters.displaced_by(class, newcomer) else {
                    return Joined::Refused(Reason::Overloaded);
                };
                displaced = waiters.tell(place, Turn::Refused).unwrap_or(displaced);
            }
            let until = now.saturating_add(waiters.may_wait(class, context.tenant, typical, now));
            let CallContext { cost, tenant, deadline, .. } = *context;
            let waiter = Waiter { since: now, cost, tenant, deadline, waker: Waker::noop().clone(), turn: None };
            Joined::Waiting { place: waiters.push(class, context.tenant, waiter), until }
        };
        displaced.wake();
        // Room that came with a probe given up, or a limit raised, in between.
        self.hand_off_if_somebody_waits(now);
        joined
    }

    /// Looks for room once more, under the lock; raises the flag if there is none.
    fn enter(&self, waiters: &mut Waiters, context: &CallContext, now: Timestamp) -> Option<Seen> {
        let word = self.limiter.word();
        let class = context.criticality as usize;
        waiters.note_empty(class, context.tenant, now);
        if context.criticality == Criticality::Critical && waiters.nobody_as_critical(class) {
            // The places that are kept for the critical are nobody else's turn.
            if let Ok(seen) = word.enter(context.cost, |seen| share(Criticality::Critical, seen)) {
                return Some(seen);
            }
        }
        if !waiters.is_empty() {
            return None;
        }
        match word.enter_or_wait(context.cost) {
            Ok(seen) => Some(seen),
            Err(seen) => {
                self.limiter.found_no_room(seen, || now);
                None
            }
        }
    }

    #[inline]
    pub(crate) fn hand_off_if_somebody_waits(&self, now: Timestamp) {
        let seen = self.limiter.word().seen();
        if seen.is_waiting() && seen.in_flight() < seen.limit() {
            self.hand_off(now);
        }
    }

    /// Serves those who wait, as far as there is room.
    #[cold]
    pub(crate) fn hand_off(&self, now: Timestamp) {
        while let Some(waker) = self.serve_one(now) {
            waker.wake();
        }
    }

    /// Decides on one waiter; `None` when the others go on waiting or nobody is there.
    fn serve_one(&self, now: Timestamp) -> Option<Waker> {
        let typical = Duration::from_nanos(self.limiter.typical());
        let mut waiters = self.lock();
        let waker = match waiters.next(typical, now) {
            None => None,
            Some((place, Next::Refuse)) => waiters.tell(place, Turn::Refused),
            Some((place, Next::TooLate)) if self.for_deadlines.enforces() => waiters.tell(place, Turn::Refused),
            Some((place, Next::Serve | Next::TooLate)) => {
                let cost = waiters.cost_of(place);
                let seen = self.limiter.word().enter(cost, Seen::limit).ok()?;
                let passage = self.limiter.begin(seen, cost, now);
                waiters.serve(place, passage)
            }
        };
        if waiters.is_empty() {
            self.limiter.word().nobody_waits();
        }
        waker
    }
}

/// One waiter's place in line. Dropping it leaves the line, or gives back the room that it was just handed.
pub(crate) struct InLine<A: LimitAlgorithm, T: Clock> {
    line: Arc<Line<A>>,
    place: Option<Place>,
    clock: T,
}

impl<A: LimitAlgorithm, T: Clock> InLine<A, T> {
    pub(crate) const fn new(line: Arc<Line<A>>, place: Place, clock: T) -> Self {
        Self { line, place: Some(place), clock }
    }

    pub(crate) const fn clock(&self) -> &T {
        &self.clock
    }

    /// `Ready(None)`: refused.
    pub(crate) fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<Option<Passage>> {
        // Polled again after it was ready: pending for ever, as nothing will wake it.
        let Some(place) = self.place else { return Poll::Pending };
        let mut waiters = self.line.lock();
        let Some(waiter) = waiters.get_mut(place) else { return Poll::Pending };
        let Some(turn) = waiter.turn.take() else {
            let known = replace_waker(&mut waiter.waker, cx.waker());
            drop(waiters);
            drop(known);
            return Poll::Pending;
        };
        let gone = waiters.remove(place);
        drop(waiters);
        drop(gone);
        self.place = None;
        Poll::Ready(match turn {
            Turn::Served(passage) => Some(passage),
            Turn::Refused => None,
        })
    }

    /// Leaves: with a passage after all, if room was handed over in this moment.
    pub(crate) fn leave(&mut self) -> Option<Passage> {
        let waiter = self.place.take().and_then(|place| self.line.lock().remove(place))?;
        match waiter.turn {
            Some(Turn::Served(passage)) => return Some(passage),
            Some(Turn::Refused) => {}
            None => {
                // Nobody may be left; and a probe that nobody can join is given up by those who give up on it.
                let now = self.clock.now();
                self.line.limiter.found_no_room(self.line.limiter.word().seen(), || now);
                self.line.hand_off(now);
            }
        }
        None
    }
}

impl<A: LimitAlgorithm, T: Clock> Drop for InLine<A, T> {
    fn drop(&mut self) {
        if let Some(passage) = self.leave() {
            self.line.limiter.never_began(passage);
            self.line.hand_off_if_somebody_waits(self.clock.now());
        }
    }
}

impl<A: LimitAlgorithm, T: Clock> fmt::Debug for InLine<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InLine").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use std::{sync::atomic::Ordering::SeqCst, time::Duration};

    use loom::thread;
    use seawall_core::{Class, Outcome};

    use super::*;
    use crate::{ControlledDelay, Fixed, NewestFirst, fair_queue::Order};

    /// Stands still.
    #[derive(Clone)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::ZERO
        }
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicU32);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn line() -> Arc<Line<Fixed>> {
        let delay = ControlledDelay::new(Duration::from_millis(5), Duration::from_millis(20)).unwrap();
        let order = Order::OfArrival(NewestFirst::UnderOverload);
        let discipline = Discipline::ControlledDelay { delay, order, tenant_patience: 3 };
        Arc::new(Line::new(Fixed::new(1).unwrap(), discipline, 10, Arc::default()))
    }

    fn inside(line: &Line<Fixed>) -> Passage {
        let seen = line.limiter.word().enter_if_nobody_waits(1, 2).unwrap();
        line.begin(seen, 1, Timestamp::ZERO)
    }

    fn end(line: &Line<Fixed>, passage: Passage) {
        line.limiter.end(passage, Outcome::Finished(Class::Ignored), || Timestamp::ZERO);
        line.hand_off_if_somebody_waits(Timestamp::ZERO);
    }

    fn join(line: &Arc<Line<Fixed>>) -> Result<Passage, InLine<Fixed, Still>> {
        match line.join(&CallContext::default(), Timestamp::ZERO) {
            Joined::Served(passage) => Ok(passage),
            Joined::Waiting { place, .. } => Err(InLine::new(Arc::clone(line), place, Still)),
            Joined::Refused(_) => panic!("there is room to wait"),
        }
    }

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    #[test]
    fn no_wake_up_is_lost_between_a_call_that_ends_and_one_that_gets_in_line() {
        check(|| {
            let line = line();
            let passage = inside(&line);
            let other = Arc::clone(&line);
            let ends = thread::spawn(move || end(&other, passage));
            let joined = join(&line);
            let woken = std::sync::Arc::new(Woken::default());
            let waker = Waker::from(std::sync::Arc::clone(&woken));
            let passage = match joined {
                Ok(passage) => {
                    ends.join().unwrap();
                    passage
                }
                Err(mut in_line) => {
                    let first_look = in_line.poll_turn(&Context::from_waker(&waker));
                    ends.join().unwrap();
                    match first_look {
                        Poll::Ready(turn) => turn.unwrap(),
                        Poll::Pending => {
                            assert_eq!(woken.0.load(SeqCst), 1);
                            let Poll::Ready(Some(passage)) = in_line.poll_turn(&Context::from_waker(&waker)) else {
                                panic!("woken without room")
                            };
                            passage
                        }
                    }
                }
            };
            end(&line, passage);
            assert_eq!((line.limiter.word().seen().in_flight(), line.queued()), (0, 0));
            end(&line, inside(&line));
        });
    }

    #[test]
    fn nobody_passes_the_line_and_room_is_never_given_twice() {
        check(|| {
            let line = line();
            let passage = inside(&line);
            let Err(mut first) = join(&line) else { panic!("there is no room") };
            let (ending, late) = (Arc::clone(&line), Arc::clone(&line));
            let ends = thread::spawn(move || end(&ending, passage));
            let comes = thread::spawn(move || {
                assert!(late.limiter.word().enter_if_nobody_waits(1, 2).is_err());
            });
            ends.join().unwrap();
            comes.join().unwrap();
            let Poll::Ready(Some(passage)) = first.poll_turn(&Context::from_waker(Waker::noop())) else {
                panic!("the room was not handed over")
            };
            assert_eq!(line.limiter.word().seen().in_flight(), 1);
            end(&line, passage);
            assert_eq!(line.limiter.word().seen().in_flight(), 0);
        });
    }

    #[test]
    fn a_waiter_that_leaves_while_it_is_served_passes_the_room_on() {
        check(|| {
            let line = line();
            let passage = inside(&line);
            let (Err(leaving), Err(mut staying)) = (join(&line), join(&line)) else { panic!("there is no room") };
            let other = Arc::clone(&line);
            let ends = thread::spawn(move || end(&other, passage));
            drop(leaving);
            ends.join().unwrap();
            let Poll::Ready(Some(passage)) = staying.poll_turn(&Context::from_waker(Waker::noop())) else {
                panic!("the room is lost")
            };
            end(&line, passage);
            assert_eq!((line.limiter.word().seen().in_flight(), line.queued()), (0, 0));
        });
    }
}

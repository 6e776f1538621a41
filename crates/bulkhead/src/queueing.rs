#![expect(clippy::disallowed_types, reason = "the lock is taken only when all places are taken")]

use std::{
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Gate, MonotonicClock, Outcome, Pattern, Reason, Rejection, Timer, Timestamp, WaitKey,
    WaitList, replace_waker,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    BulkheadConfig, BulkheadError, BulkheadWait, Drain, Place, QueueingBulkheadConfig,
    drain::Drainers,
    places::{Places, Seen},
};

/// Lets a bounded number of calls through at once, and a bounded number wait for a bounded time, first come, first
/// served.
///
/// A place that comes free goes straight to the call that has waited longest; nobody passes it, however light. A waiter
/// that is dropped or runs out of time leaves in constant time. While places are free it is as cheap as a
/// [`Bulkhead`](crate::Bulkhead), and reads no clock.
///
/// The wait sleeps on `T`, which must follow the clock of the layer's environment. The default needs the feature
/// `tokio`.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, QueueingBulkheadConfig, QueueingBulkheadLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = QueueingBulkheadLayer::new(QueueingBulkheadConfig::new(BulkheadConfig::new(1)?));
/// let (first, second) = tokio::join!(
///     layer.run(async { tokio::task::yield_now().await; Ok::<_, std::io::Error>(1) }),
///     layer.run(async { Ok::<_, std::io::Error>(2) }),
/// );
/// assert_eq!((first?, second?), (1, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct QueueingBulkhead<T = MonotonicClock> {
    line: Arc<Line>,
    built_with: Seen,
    max_wait: Duration,
    timer: T,
}

impl<T: Timer> QueueingBulkhead<T> {
    /// A bulkhead whose places are all free and whose waiters sleep on `timer`.
    pub fn new(config: QueueingBulkheadConfig, timer: T) -> Self {
        let line = Line::new(config.max_concurrent(), config.max_queued());
        Self { built_with: line.places.seen(), line: Arc::new(line), max_wait: config.max_wait(), timer }
    }

    #[cold]
    fn queue_up(&self, context: &CallContext, now: impl FnOnce() -> Timestamp) -> Admission<Place, BulkheadWait<T>> {
        match self.line.join(weight_of(context)) {
            Joined::Served(place) => Admission::Admitted(place),
            Joined::Refused(rejection) => Admission::Refused(rejection),
            Joined::Waiting(key) => {
                let until = now().saturating_add(self.max_wait).min(context.deadline.unwrap_or(Timestamp::MAX));
                let in_line = InLine { line: Arc::clone(&self.line), key: Some(key) };
                Admission::Queued(BulkheadWait::new(in_line, self.timer.clone(), until))
            }
        }
    }
}

impl<T> QueueingBulkhead<T> {
    /// How many places there are; 0 after [`QueueingBulkhead::close`].
    pub fn limit(&self) -> u32 {
        self.line.places.seen().limit()
    }

    /// How many places are taken.
    pub fn in_flight(&self) -> u32 {
        self.line.places.seen().taken()
    }

    /// How many calls wait.
    pub fn queued(&self) -> usize {
        self.line.lock().len()
    }

    /// Changes the number of places while calls are under way. Waiters that fit are served at once; one that weighs more
    /// than the limit is refused as [`TooHeavy`](Reason::TooHeavy). A closed bulkhead stays closed.
    ///
    /// # Errors
    /// [`BulkheadError::MaxConcurrent`] when `max_concurrent` is 0.
    pub fn set_limit(&self, max_concurrent: usize) -> Result<(), BulkheadError> {
        self.line.places.set_limit(BulkheadConfig::new(max_concurrent)?.max_concurrent());
        self.line.hand_off();
        Ok(())
    }

    /// Refuses every call from here on, those that wait included. Those under way go on.
    pub fn close(&self) {
        self.line.places.close();
        self.line.hand_off();
    }

    /// Closes, and completes when the last call has ended.
    pub fn drain(&self) -> Drain<'_> {
        self.close();
        Drain::new(&self.line.places, &self.line.drainers)
    }
}

impl<T: Timer + Default> From<QueueingBulkheadConfig> for QueueingBulkhead<T> {
    fn from(config: QueueingBulkheadConfig) -> Self {
        Self::new(config, T::default())
    }
}

impl<T: Timer> Gate for QueueingBulkhead<T> {
    type Ticket = Place;
    type Wait = BulkheadWait<T>;

    #[inline]
    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Place, BulkheadWait<T>> {
        let context = context();
        let weight = weight_of(&context);
        match self.line.places.try_take(weight) {
            Ok(()) => Admission::Admitted(Place::new(weight)),
            Err(_) => self.queue_up(&context, now),
        }
    }

    #[inline]
    fn finish(&self, place: Place, _: Outcome, _: impl FnOnce() -> Timestamp) {
        self.line.give_back(&place);
    }

    /// Whether all places are free and the limit is the one that it was built with.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.line.places.seen() == self.built_with
    }
}

/// A call that says it costs nothing still takes a place: otherwise it would pass any limit.
const fn weight_of(context: &CallContext) -> u32 {
    if context.cost == 0 { 1 } else { context.cost }
}

/// The places and those who wait for them.
///
/// The flag in the places' word is raised only under the lock, together with the look that found no room: who gives a
/// place back either sees the flag and serves the line, or gave it back before that look.
#[derive(Debug)]
pub(crate) struct Line {
    places: Places,
    waiters: Mutex<WaitList<Waiter>>,
    drainers: Drainers,
    max_queued: usize,
}

#[derive(Debug)]
struct Waiter {
    weight: u32,
    waker: Waker,
    /// What became of it, once it is out of line.
    turn: Option<Result<(), Rejection>>,
}

enum Joined {
    Served(Place),
    Waiting(WaitKey),
    Refused(Rejection),
}

impl Line {
    fn new(limit: u32, max_queued: usize) -> Self {
        Self {
            places: Places::new(limit),
            waiters: Mutex::new(WaitList::new()),
            drainers: Drainers::default(),
            max_queued,
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitList<Waiter>> {
        // Wakers run outside the lock, so a panic of one leaves the line whole.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, weight: u32) -> Joined {
        let mut waiters = self.lock();
        let seen = if waiters.is_empty() {
            match self.places.take_or_wait(weight) {
                Ok(()) => return Joined::Served(Place::new(weight)),
                Err(seen) => seen,
            }
        } else {
            self.places.seen()
        };
        if seen.limit() < weight {
            Joined::Refused(seen.refusal(weight))
        } else if waiters.len() < self.max_queued {
            Joined::Waiting(waiters.push_back(Waiter { weight, waker: Waker::noop().clone(), turn: None }))
        } else {
            Joined::Refused(Rejection::new(Pattern::Bulkhead, Reason::QueueFull))
        }
    }

    #[inline]
    fn give_back(&self, place: &Place) {
        let seen = self.places.give_back(place.weight());
        if seen.is_waiting() || seen.is_closed() {
            self.after_give_back(seen);
        }
    }

    #[cold]
    fn after_give_back(&self, seen: Seen) {
        if seen.is_waiting() {
            self.hand_off();
        }
        if seen.is_drained() {
            self.drainers.wake_all();
        }
    }

    /// Serves the line from its front, as far as the places go.
    fn hand_off(&self) {
        loop {
            let mut waiters = self.lock();
            let Some(waker) = self.serve_front(&mut waiters) else { return };
            drop(waiters);
            waker.wake();
        }
    }

    /// Decides on the first in line; `None` when it must go on waiting or nobody is there.
    fn serve_front(&self, waiters: &mut WaitList<Waiter>) -> Option<Waker> {
        let Some(key) = waiters.front() else {
            self.places.nobody_waits();
            return None;
        };
        let first = waiters.get_mut(key)?;
        first.turn = match self.places.try_take_in_turn(first.weight) {
            Ok(()) => Some(Ok(())),
            Err(seen) if seen.limit() < first.weight => Some(Err(seen.refusal(first.weight))),
            Err(_) => return None,
        };
        let waker = std::mem::replace(&mut first.waker, Waker::noop().clone());
        waiters.unlink(key);
        if waiters.is_empty() {
            self.places.nobody_waits();
        }
        Some(waker)
    }
}

/// One waiter's place in line. Dropping it leaves the line, or gives back what it was just handed.
#[derive(Debug)]
pub(crate) struct InLine {
    line: Arc<Line>,
    key: Option<WaitKey>,
}

impl InLine {
    pub(crate) fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<Result<Place, Rejection>> {
        // Polled again after it was ready: pending for ever, as nothing will wake it.
        let Some(key) = self.key else { return Poll::Pending };
        let mut waiters = self.line.lock();
        let Some(waiter) = waiters.get_mut(key) else { return Poll::Pending };
        let Some(turn) = waiter.turn else {
            let replaced = replace_waker(&mut waiter.waker, cx.waker());
            drop(waiters);
            drop(replaced);
            return Poll::Pending;
        };
        let weight = waiter.weight;
        waiters.remove(key);
        drop(waiters);
        self.key = None;
        Poll::Ready(turn.map(|()| Place::new(weight)))
    }

    /// Leaves: with a place after all, if one was handed over in this moment.
    pub(crate) fn leave(&mut self) -> Option<Result<Place, Rejection>> {
        let waiter = self.key.take().and_then(|key| self.line.lock().remove(key))?;
        if waiter.turn.is_none() {
            // The next in line may be lighter, or there may be no next.
            self.line.hand_off();
        }
        waiter.turn.map(|turn| turn.map(|()| Place::new(waiter.weight)))
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if let Some(Ok(place)) = self.leave() {
            self.line.give_back(&place);
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use std::{future::Pending, pin::Pin, sync::atomic::Ordering::SeqCst};

    use loom::thread;
    use seawall_core::{Class, Clock};

    use super::*;

    /// Never wakes anybody.
    #[derive(Clone)]
    struct Never;

    impl Clock for Never {
        fn now(&self) -> Timestamp {
            Timestamp::ZERO
        }
    }

    impl Timer for Never {
        type Sleep = Pending<()>;

        fn sleep_until(&self, _: Timestamp) -> Pending<()> {
            std::future::pending()
        }
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicU32);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn bulkhead() -> Arc<QueueingBulkhead<Never>> {
        let config = QueueingBulkheadConfig::new(BulkheadConfig::new(1).unwrap()).with_max_wait(Duration::MAX).unwrap();
        Arc::new(QueueingBulkhead::new(config, Never))
    }

    fn admit(bulkhead: &QueueingBulkhead<Never>) -> Admission<Place, BulkheadWait<Never>> {
        bulkhead.admit(CallContext::default, || Timestamp::ZERO)
    }

    fn finish(bulkhead: &QueueingBulkhead<Never>, place: Place) {
        bulkhead.finish(place, Outcome::Finished(Class::Success), || Timestamp::ZERO);
    }

    fn inside(bulkhead: &QueueingBulkhead<Never>) -> Place {
        let Admission::Admitted(place) = admit(bulkhead) else { panic!("the first call finds a place") };
        place
    }

    fn poll(wait: &mut Pin<Box<BulkheadWait<Never>>>, woken: &std::sync::Arc<Woken>) -> Poll<Result<Place, Rejection>> {
        let waker = Waker::from(std::sync::Arc::clone(woken));
        wait.as_mut().poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn no_wake_up_is_lost_between_a_call_that_ends_and_one_that_begins_to_wait() {
        loom::model(|| {
            let bulkhead = bulkhead();
            let place = inside(&bulkhead);
            let other = Arc::clone(&bulkhead);
            let ends = thread::spawn(move || finish(&other, place));
            let woken = std::sync::Arc::new(Woken::default());
            match admit(&bulkhead) {
                Admission::Admitted(place) => {
                    ends.join().unwrap();
                    finish(&bulkhead, place);
                }
                Admission::Queued(wait) => {
                    let mut wait = Box::pin(wait);
                    let first_look = poll(&mut wait, &woken);
                    ends.join().unwrap();
                    let place = match first_look {
                        Poll::Ready(turn) => turn,
                        Poll::Pending => {
                            assert_eq!(woken.0.load(SeqCst), 1);
                            let Poll::Ready(turn) = poll(&mut wait, &woken) else { panic!("woken without a place") };
                            turn
                        }
                    };
                    finish(&bulkhead, place.unwrap());
                }
                Admission::Refused(rejection) => panic!("{rejection}"),
            }
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
            finish(&bulkhead, inside(&bulkhead));
        });
    }

    #[test]
    fn nobody_barges_past_the_line_and_nobody_is_let_in_twice() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let bulkhead = bulkhead();
            let place = inside(&bulkhead);
            let Admission::Queued(wait) = admit(&bulkhead) else { panic!("the place is taken") };
            let mut first = Box::pin(wait);
            let woken = std::sync::Arc::new(Woken::default());
            let (ending, barging) = (Arc::clone(&bulkhead), Arc::clone(&bulkhead));
            let ends = thread::spawn(move || finish(&ending, place));
            let barges = thread::spawn(move || match admit(&barging) {
                Admission::Queued(wait) => drop(wait),
                other => panic!("{other:?} though somebody was in line"),
            });
            ends.join().unwrap();
            barges.join().unwrap();
            let Poll::Ready(Ok(place)) = poll(&mut first, &woken) else { panic!("the place was not handed over") };
            assert_eq!(bulkhead.in_flight(), 1);
            finish(&bulkhead, place);
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
        });
    }

    #[test]
    fn a_waiter_that_leaves_while_it_is_served_passes_the_place_on() {
        loom::model(|| {
            let bulkhead = bulkhead();
            let place = inside(&bulkhead);
            let (Admission::Queued(leaving), Admission::Queued(staying)) = (admit(&bulkhead), admit(&bulkhead)) else {
                panic!("the place is taken")
            };
            let other = Arc::clone(&bulkhead);
            let ends = thread::spawn(move || finish(&other, place));
            drop(leaving);
            ends.join().unwrap();
            let woken = std::sync::Arc::new(Woken::default());
            let Poll::Ready(Ok(place)) = poll(&mut Box::pin(staying), &woken) else { panic!("the place is lost") };
            finish(&bulkhead, place);
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
        });
    }
}

use seawall_core::{Admission, CallContext, Gate, NoWait, Outcome, Rejection, Timestamp};

use crate::{
    BulkheadConfig, BulkheadError, Drain, Place,
    drain::Drainers,
    places::{Places, Seen},
    spares::Spares,
};

/// Lets a bounded number of calls through at once and refuses the rest on the spot.
///
/// One word, moved by compare-exchange: the limit is exact, also when calls come from all sides, and while a place is free
/// no call is refused. While at most half of the places are taken, cores that get in each other's way keep some of those
/// that they give back for their own next calls. It reads no clock. A call weighs [`CallContext::cost`] places, at least one; one that
/// weighs more than the limit is refused as [`TooHeavy`](seawall_core::Reason::TooHeavy).
///
/// ```
/// use seawall_bulkhead::{Bulkhead, BulkheadConfig};
/// use seawall_core::{Admission, CallContext, Class, Gate, Outcome, Reason, Timestamp};
///
/// let bulkhead = Bulkhead::new(BulkheadConfig::new(1)?);
/// let admit = || bulkhead.admit(CallContext::default, || Timestamp::ZERO);
///
/// let Admission::Admitted(place) = admit() else { unreachable!("the first call finds a place") };
/// assert!(matches!(admit(), Admission::Refused(rejection) if rejection.reason() == Reason::BulkheadFull));
/// bulkhead.finish(place, Outcome::Finished(Class::Success), || Timestamp::ZERO);
/// assert_eq!(bulkhead.in_flight(), 0);
/// # Ok::<(), seawall_bulkhead::BulkheadError>(())
/// ```
///
/// # Source
/// The pattern: Michael T. Nygard, "Release It!", chapter "Stability Patterns".
#[derive(Debug)]
pub struct Bulkhead {
    places: Places,
    spares: Spares,
    built_with: Seen,
    drainers: Drainers,
}

impl Bulkhead {
    /// A bulkhead whose places are all free.
    pub fn new(config: BulkheadConfig) -> Self {
        Self::of(Places::new(config.max_concurrent()))
    }

    /// A bulkhead that refuses every call from the start, as [`Closed`](seawall_core::Reason::Closed): for a dependency
    /// that is switched off.
    ///
    /// ```
    /// use seawall_bulkhead::{Bulkhead, BulkheadLayer};
    /// use seawall_core::Reason;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let layer = BulkheadLayer::new(Bulkhead::closed());
    /// let refused = layer.run(async { Ok::<_, std::io::Error>(()) }).await.unwrap_err();
    /// assert_eq!(refused.rejection().map(|rejection| rejection.reason()), Some(Reason::Closed));
    /// # }
    /// ```
    pub fn closed() -> Self {
        Self::of(Places::new(0))
    }

    /// How many places there are; 0 after [`Bulkhead::close`].
    pub fn limit(&self) -> u32 {
        self.places.seen().limit()
    }

    /// How many places are taken. More than the limit for a while after it was lowered.
    pub fn in_flight(&self) -> u32 {
        // To the word, what a core keeps is taken.
        self.places.seen().taken().saturating_sub(self.spares.count())
    }

    /// Changes the number of places while calls are under way. Calls that hold a place keep it: after lowering, new
    /// ones are refused until enough have ended. A closed bulkhead stays closed.
    ///
    /// # Errors
    /// [`BulkheadError::MaxConcurrent`] when `max_concurrent` is 0.
    pub fn set_limit(&self, max_concurrent: usize) -> Result<(), BulkheadError> {
        let limit = BulkheadConfig::new(max_concurrent)?.max_concurrent();
        self.spares.collect(&self.places, || self.places.set_limit(limit));
        Ok(())
    }

    /// Refuses every call from here on, as [`Closed`](seawall_core::Reason::Closed). Those under way go on.
    pub fn close(&self) {
        self.spares.collect(&self.places, || self.places.close());
    }

    /// Closes, and completes when the last call has ended.
    pub fn drain(&self) -> Drain<'_> {
        self.close();
        Drain::new(&self.places, &self.drainers)
    }

    fn of(places: Places) -> Self {
        Self { built_with: places.seen(), places, spares: Spares::default(), drainers: Drainers::default() }
    }

    pub(crate) const fn places(&self) -> &Places {
        &self.places
    }

    /// For a call that found no room at first, or another in its way.
    #[inline(never)]
    fn take_otherwise(&self, weight: u32) -> Result<(), Rejection> {
        loop {
            let era = self.spares.era();
            let seen = match self.places.try_take(weight) {
                Ok(seen) => {
                    self.spares.spread(&self.places, seen);
                    return Ok(());
                }
                Err(seen) => seen,
            };
            if weight > seen.limit() {
                return Err(seen.refusal(weight, seen.limit()));
            }
            if era.is_spread() {
                self.spares.collect(&self.places, || ());
            } else if era == self.spares.era() {
                // Nobody had a spare when the word said that all is taken.
                return Err(seen.refusal(weight, seen.limit()));
            }
        }
    }
}

impl From<BulkheadConfig> for Bulkhead {
    fn from(config: BulkheadConfig) -> Self {
        Self::new(config)
    }
}

impl Gate for Bulkhead {
    type Ticket = Place;
    type Wait = NoWait;

    #[inline]
    fn admit(&self, context: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<Place> {
        // A call that says it costs nothing still takes a place: otherwise it would pass any limit.
        let weight = context().cost.max(1);
        if self.spares.take(weight) || self.places.try_take_at_once(weight) {
            return Admission::Admitted(Place::new(weight));
        }
        match self.take_otherwise(weight) {
            Ok(()) => Admission::Admitted(Place::new(weight)),
            Err(rejection) => Admission::Refused(rejection),
        }
    }

    #[inline]
    fn finish(&self, place: Place, _: Outcome, _: impl FnOnce() -> Timestamp) {
        if !self.spares.keep(place.weight()) && self.places.give_back(place.weight()).is_drained() {
            self.drainers.wake_all();
        }
    }

    /// Whether all places are free and the limit is the one that it was built with.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        // Places wander between cores while they are counted.
        self.spares.collect(&self.places, || ());
        self.places.seen() == self.built_with
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests;

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use loom::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        thread,
    };
    use seawall_core::{Class, Reason};

    use super::*;
    use crate::spares::Change::{Keep, Take};

    fn bulkhead(limit: usize) -> Arc<Bulkhead> {
        Arc::new(Bulkhead::new(BulkheadConfig::new(limit).unwrap()))
    }

    fn admit(bulkhead: &Bulkhead) -> Option<Place> {
        match bulkhead.admit(CallContext::default, || Timestamp::ZERO) {
            Admission::Admitted(place) => Some(place),
            Admission::Refused(_) => None,
            Admission::Queued(wait) => match wait {},
        }
    }

    fn finish(bulkhead: &Bulkhead, place: Place) {
        bulkhead.finish(place, Outcome::Finished(Class::Success), || Timestamp::ZERO);
    }

    #[test]
    fn never_more_inside_than_places_and_none_lost() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let bulkhead = bulkhead(1);
            let inside = Arc::new(AtomicU32::new(0));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (bulkhead, inside) = (Arc::clone(&bulkhead), Arc::clone(&inside));
                    thread::spawn(move || {
                        if let Some(place) = admit(&bulkhead) {
                            assert_eq!(inside.fetch_add(1, SeqCst), 0);
                            inside.fetch_sub(1, SeqCst);
                            finish(&bulkhead, place);
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(bulkhead.in_flight(), 0);
        });
    }

    #[test]
    fn a_lower_limit_holds_from_the_moment_it_is_set() {
        loom::model(|| {
            let bulkhead = bulkhead(2);
            let first = admit(&bulkhead).unwrap();
            let other = Arc::clone(&bulkhead);
            let resize = thread::spawn(move || {
                other.set_limit(1).unwrap();
                // Whatever came in before: from here on nobody, as one place at least is taken.
                admit(&other).is_none()
            });
            let second = admit(&bulkhead);
            assert!(resize.join().unwrap());
            finish(&bulkhead, first);
            second.into_iter().for_each(|place| finish(&bulkhead, place));
            assert_eq!((bulkhead.limit(), bulkhead.in_flight()), (1, 0));
        });
    }

    /// Of eight places, of which each of two cores may keep one, so many are taken.
    fn spread(taken: u32) -> Arc<Bulkhead> {
        let config = BulkheadConfig::new(8).unwrap();
        let bulkhead = Arc::new(Bulkhead { spares: Spares::of_cores(2), ..Bulkhead::new(config) });
        assert_eq!(bulkhead.places.try_take(1).unwrap().taken(), 0);
        bulkhead.spares.spread(&bulkhead.places, bulkhead.places.seen());
        assert!(bulkhead.places.try_take_at_once(taken.checked_sub(1).unwrap()));
        bulkhead
    }

    fn model(body: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(body);
    }

    #[test]
    fn of_two_calls_one_finds_the_last_place_where_a_core_keeps_it() {
        model(|| {
            let bulkhead = spread(8);
            assert!(bulkhead.spares.by_core(1, Keep, 1));
            let other = Arc::clone(&bulkhead);
            let there = thread::spawn(move || admit(&other).is_some());
            let here = admit(&bulkhead).is_some();
            assert_ne!(here, there.join().unwrap());
            assert_eq!(bulkhead.in_flight(), 8);
        });
    }

    #[test]
    fn the_last_place_is_found_while_it_is_collected() {
        model(|| {
            let bulkhead = spread(8);
            assert!(bulkhead.spares.by_core(1, Keep, 1));
            let other = Arc::clone(&bulkhead);
            let collects = thread::spawn(move || other.is_idle(|| Timestamp::ZERO));
            assert!(admit(&bulkhead).is_some());
            assert!(!collects.join().unwrap());
        });
    }

    #[test]
    fn a_free_place_that_wanders_between_cores_is_not_missed() {
        model(|| {
            let bulkhead = spread(8);
            assert!(bulkhead.spares.by_core(1, Keep, 1));
            let other = Arc::clone(&bulkhead);
            let wanders = thread::spawn(move || {
                // As a call ends here, another begins there: a place is free all along.
                if !other.spares.by_core(0, Keep, 1) {
                    let _ = other.places.give_back(1);
                }
                let _ = other.spares.by_core(1, Take, 1);
            });
            assert!(admit(&bulkhead).is_some());
            wanders.join().unwrap();
        });
    }

    #[test]
    fn who_finds_all_places_taken_finds_that_cores_have_begun_to_keep_some() {
        model(|| {
            let config = BulkheadConfig::new(8).unwrap();
            let bulkhead = Arc::new(Bulkhead { spares: Spares::of_cores(2), ..Bulkhead::new(config) });
            assert!(bulkhead.places.try_take_at_once(4));
            let other = Arc::clone(&bulkhead);
            let spreads = thread::spawn(move || {
                other.spares.spread(&other.places, other.places.seen());
                // One of the four ends, and after it four begin: a place is free all along.
                if !other.spares.by_core(0, Keep, 1) {
                    let _ = other.places.give_back(1);
                }
                other.places.try_take(4).is_ok()
            });
            assert!(admit(&bulkhead).is_some());
            spreads.join().unwrap();
        });
    }

    #[test]
    fn a_drain_while_cores_keep_places_ends_with_the_last_call() {
        model(|| {
            let bulkhead = spread(1);
            let other = Arc::clone(&bulkhead);
            let last = thread::spawn(move || {
                if !other.spares.by_core(1, Keep, 1) && other.places.give_back(1).is_drained() {
                    other.drainers.wake_all();
                }
            });
            let woken = std::sync::Arc::new(Woken::default());
            let waker = Waker::from(std::sync::Arc::clone(&woken));
            let mut drain = pin!(bulkhead.drain());
            let first_look = drain.as_mut().poll(&mut Context::from_waker(&waker));
            last.join().unwrap();
            assert!(first_look.is_ready() || woken.0.load(SeqCst) == 1);
            assert_eq!(drain.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
        });
    }

    #[test]
    fn a_drain_ends_with_the_last_call_and_its_wake_up_is_not_lost() {
        loom::model(|| {
            let bulkhead = bulkhead(1);
            let place = admit(&bulkhead).unwrap();
            let other = Arc::clone(&bulkhead);
            let last = thread::spawn(move || finish(&other, place));
            let woken = std::sync::Arc::new(Woken::default());
            let waker = Waker::from(std::sync::Arc::clone(&woken));
            let mut drain = pin!(bulkhead.drain());
            let first_look = drain.as_mut().poll(&mut Context::from_waker(&waker));
            last.join().unwrap();
            assert!(first_look.is_ready() || woken.0.load(SeqCst) == 1);
            assert_eq!(drain.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
            let refused = bulkhead.admit(CallContext::default, || Timestamp::ZERO);
            assert!(matches!(refused, Admission::Refused(rejection) if rejection.reason() == Reason::Closed));
        });
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicU32);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }
}

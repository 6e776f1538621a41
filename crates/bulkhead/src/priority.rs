use seawall_core::{Admission, CallContext, Gate, NoWait, Outcome, Timestamp};

use crate::{Bulkhead, BulkheadConfig, BulkheadError, Drain, Place, Reserve};

/// A [`Bulkhead`] that keeps places for calls that matter: sheddable ones may take only what its
/// [`Reserve`] leaves them, critical ones all.
///
/// Fails fast, in one word, without a clock. A call that weighs more than its criticality may ever take is refused as
/// [`TooHeavy`](seawall_core::Reason::TooHeavy).
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, PriorityBulkhead, Reserve};
/// use seawall_core::{Admission, CallContext, Criticality, Gate, Timestamp};
///
/// let bulkhead = PriorityBulkhead::new(BulkheadConfig::new(5)?, Reserve::default());
/// let admit = |criticality| {
///     let context = CallContext::new().with_criticality(criticality);
///     matches!(bulkhead.admit(|| context, || Timestamp::ZERO), Admission::Admitted(_))
/// };
///
/// assert_eq!((0..5).filter(|_| admit(Criticality::Sheddable)).count(), 4);
/// assert!(admit(Criticality::Critical));
/// # Ok::<(), seawall_bulkhead::BulkheadError>(())
/// ```
///
/// # Source
/// Alejandro Forero Cuervo, "Handling Overload", in "Site Reliability Engineering", 2016: criticality.
#[derive(Debug)]
pub struct PriorityBulkhead {
    bulkhead: Bulkhead,
    reserve: Reserve,
}

impl PriorityBulkhead {
    /// A bulkhead whose places are all free.
    pub fn new(config: BulkheadConfig, reserve: Reserve) -> Self {
        Self { bulkhead: Bulkhead::new(config), reserve }
    }

    /// How many places there are; 0 after [`PriorityBulkhead::close`].
    pub fn limit(&self) -> u32 {
        self.bulkhead.limit()
    }

    /// How many places are taken.
    pub fn in_flight(&self) -> u32 {
        self.bulkhead.in_flight()
    }

    /// Changes the number of places while calls are under way, as [`Bulkhead::set_limit`] does; the reserve's share stays.
    ///
    /// # Errors
    /// [`BulkheadError::MaxConcurrent`] when `max_concurrent` is 0.
    pub fn set_limit(&self, max_concurrent: usize) -> Result<(), BulkheadError> {
        self.bulkhead.set_limit(max_concurrent)
    }

    /// Refuses every call from here on. Those under way go on.
    pub fn close(&self) {
        self.bulkhead.close();
    }

    /// Closes, and completes when the last call has ended.
    pub fn drain(&self) -> Drain<'_> {
        self.bulkhead.drain()
    }
}

impl From<(BulkheadConfig, Reserve)> for PriorityBulkhead {
    fn from((config, reserve): (BulkheadConfig, Reserve)) -> Self {
        Self::new(config, reserve)
    }
}

impl Gate for PriorityBulkhead {
    type Ticket = Place;
    type Wait = NoWait;

    #[inline]
    fn admit(&self, context: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<Place> {
        let context = context();
        let weight = context.cost.max(1);
        let ceiling = |limit| self.reserve.ceiling(context.criticality, limit);
        match self.bulkhead.places().try_take_below(weight, ceiling) {
            Ok(()) => Admission::Admitted(Place::new(weight)),
            Err(seen) => Admission::Refused(seen.refusal(weight, ceiling(seen.limit()))),
        }
    }

    #[inline]
    fn finish(&self, place: Place, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        self.bulkhead.finish(place, outcome, now);
    }

    /// Whether all places are free and the limit is the one that it was built with.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.bulkhead.is_idle(now)
    }
}

use std::time::Duration;

use seawall_core::{Rejection, Timestamp};

use crate::{Gcra, Standing};

/// What every limit of calls can do, by whatever rule: the generic cell rate algorithm, a window, a warming up.
///
/// All of them are gates too, so `GateLayer<L>` puts one before a service and `KeyedLayer<Q, F, L>` one per key.
pub trait Limit: Send + Sync + 'static {
    /// Takes `cost` calls at once, or none.
    ///
    /// # Errors
    /// [`RateLimited`](seawall_core::Reason::RateLimited) with the time until it would be admitted if nothing else came,
    /// or [`TooHeavy`](seawall_core::Reason::TooHeavy) when `cost` is above what may ever come at once.
    fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection>;

    /// Takes `cost` more for a call that has turned out to be dearer than it said. Never refused: what goes beyond the
    /// limit is a debt.
    fn charge(&self, cost: u32, now: Timestamp);

    /// Gives `cost` back for a call that was not made after all.
    fn refund(&self, cost: u32, now: Timestamp);

    /// How long until a call of `cost` may come behind others that cost `ahead` in all, if nothing else comes; `None` when
    /// it never may. What a [`QueueingLimit`](crate::QueueingLimit) goes by. Too short an answer has a call wait that is then
    /// refused, too long a one refuses it when it comes.
    fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration>;

    /// How far a turn of a call of `cost` that a [`QueueingLimit`](crate::QueueingLimit) gives late, as its timer was late,
    /// counts from when it was due. 0 by default, as for windows, which lose nothing by it; where turns come one after the other
    /// 2 ms, or as much of that as the burst does not make up for.
    fn lateness(&self, cost: u32) -> Duration {
        let _ = cost;
        Duration::ZERO
    }

    /// What is left.
    fn standing(&self, now: Timestamp) -> Standing;

    /// Whether one that is built anew would decide alike: a keyed table may then forget this one. By default, when all is
    /// left.
    fn is_as_new(&self, now: Timestamp) -> bool {
        self.standing(now).full_in().is_zero()
    }
}

impl Limit for Gcra {
    #[inline]
    fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        Self::take(self, cost, now)
    }

    fn charge(&self, cost: u32, now: Timestamp) {
        Self::charge(self, cost, now);
    }

    fn refund(&self, cost: u32, _: Timestamp) {
        Self::refund(self, cost);
    }

    fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        Self::turn_in(self, ahead, cost, now)
    }

    fn lateness(&self, cost: u32) -> Duration {
        Self::lateness(self, cost)
    }

    fn standing(&self, now: Timestamp) -> Standing {
        Self::standing(self, now)
    }
}

/// The gate of a [`Limit`] that learns nothing from how calls end.
macro_rules! gate_of_limit {
    ($limit:ty) => {
        impl seawall_core::Gate for $limit {
            type Ticket = ();
            type Wait = seawall_core::NoWait;
            const RECORDS: bool = false;

            #[inline]
            fn admit(
                &self,
                context: impl FnOnce() -> seawall_core::CallContext,
                now: impl FnOnce() -> seawall_core::Timestamp,
            ) -> seawall_core::Admission<()> {
                // A call that says it costs nothing still counts: otherwise it would pass any limit.
                crate::Limit::take(self, context().cost.max(1), now()).into()
            }

            fn finish(&self, (): (), _: seawall_core::Outcome, _: impl FnOnce() -> seawall_core::Timestamp) {}

            fn is_idle(&self, now: impl FnOnce() -> seawall_core::Timestamp) -> bool {
                crate::Limit::is_as_new(self, now())
            }
        }
    };
}
pub(crate) use gate_of_limit;

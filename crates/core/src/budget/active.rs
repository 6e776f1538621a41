use std::fmt;

use super::BudgetError;
use crate::sync::{
    CachePadded,
    atomic::{AtomicU32, Ordering::Relaxed},
};

const MILLION: u64 = 1_000_000;

/// A budget of retries as a share of the calls that are under way: retries may be so many of them, or `min_at_once` where
/// that is more.
///
/// How many are under way is asked of whoever knows, a bulkhead or a limiter, when a retry asks; nothing is written for a
/// call that succeeds at first. It bounds what retries add at any moment, not over time: while calls drain, so do the
/// retries that they may make.
///
/// ```
/// use seawall_core::{ActiveBudget, Budget, Timestamp};
///
/// let budget = Budget::from(ActiveBudget::new(0.2, 3, || 25)?);
/// let retries: Vec<_> = (0..10).filter_map(|_| budget.hold(false, || Timestamp::ZERO)).collect();
/// assert_eq!(retries.len(), 5);
/// drop(retries);
/// assert_eq!(budget.balance(Timestamp::ZERO), 5);
/// # Ok::<(), seawall_core::BudgetError>(())
/// ```
///
/// # Source
/// Envoy's retry budget: 20% of the active requests, and at least 3.
pub struct ActiveBudget {
    parts_per_million: u64,
    min_at_once: u32,
    active: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Retries under way. Relaxed throughout: the word guards no other memory.
    held: CachePadded<AtomicU32>,
}

impl ActiveBudget {
    /// Retries may be the share `share` (0 to 1) of as many calls as `active` says are under way, or `min_at_once`.
    ///
    /// # Errors
    /// A share outside its range.
    pub fn new(
        share: f64,
        min_at_once: u32,
        active: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, BudgetError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(BudgetError::Ratio { ratio: share });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1,000,000 by the check above"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
        let parts_per_million = (share * MILLION as f64).round() as u64;
        Ok(Self { parts_per_million, min_at_once, active: Box::new(active), held: CachePadded::new(AtomicU32::new(0)) })
    }

    /// Begins one retry, if there is room for it.
    pub(super) fn take(&self) -> bool {
        let limit = self.limit();
        let mut seen = self.held.load(Relaxed);
        while u64::from(seen) < limit {
            match self.held.compare_exchange_weak(seen, seen.saturating_add(1), Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(newer) => seen = newer,
            }
        }
        false
    }

    /// Ends one retry that was begun.
    pub(super) fn give_back(&self) {
        self.held.fetch_sub(1, Relaxed);
    }

    /// How many more retries might begin.
    pub fn balance(&self) -> u64 {
        self.limit().saturating_sub(self.held.load(Relaxed).into())
    }

    fn limit(&self) -> u64 {
        let share = (self.active)().saturating_mul(self.parts_per_million) / MILLION;
        share.max(self.min_at_once.into())
    }
}

impl fmt::Debug for ActiveBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveBudget")
            .field("parts_per_million", &self.parts_per_million)
            .field("min_at_once", &self.min_at_once)
            .field("held", &self.held.load(Relaxed))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(seawall_loom)))]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{Budget, Timestamp};

    proptest! {
        #[test]
        fn it_holds_as_many_as_plain_sums_allow(
            millionths in 0..=1_000_000_u32,
            min_at_once in 0..4_u32,
            steps in prop::collection::vec((0..3_u8, 0..40_u64), 0..200),
        ) {
            let active = Arc::new(AtomicU64::new(0));
            let asked = Arc::clone(&active);
            let share = f64::from(millionths) / 1e6;
            let budget = Budget::from(ActiveBudget::new(share, min_at_once, move || asked.load(Relaxed)).unwrap());
            let mut held = Vec::new();
            for (step, under_way) in steps {
                match step {
                    0 => active.store(under_way, Relaxed),
                    1 => drop(held.pop()),
                    _ => {
                        let limit = (active.load(Relaxed) * u64::from(millionths) / 1_000_000).max(min_at_once.into());
                        let left = limit.saturating_sub(held.len() as u64);
                        prop_assert_eq!(budget.balance(Timestamp::ZERO), left);
                        prop_assert_eq!(budget.withdraw(|| Timestamp::ZERO), left > 0);
                        let more = budget.hold(false, || Timestamp::ZERO);
                        prop_assert_eq!(more.is_some(), left > 0);
                        held.extend(more);
                    }
                }
            }
        }
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(matches!(ActiveBudget::new(share, 0, || 0), Err(BudgetError::Ratio { .. })), "{share}");
        }
    }

    #[test]
    fn more_calls_than_can_be_counted_do_not_overflow() {
        assert!(ActiveBudget::new(1.0, u32::MAX, || u64::MAX).unwrap().take());
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn the_last_place_goes_to_one_and_comes_back_once() {
        loom::model(|| {
            let budget = Arc::new(ActiveBudget::new(0.0, 1, || 0).expect("allowed"));
            let other = Arc::clone(&budget);
            let there = thread::spawn(move || other.take());

            let here = budget.take();

            let there = there.join().expect("no panic");
            assert!(here != there, "{here} {there}");
            budget.give_back();
            assert_eq!(budget.balance(), 1);
        });
    }
}

use seawall_core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many more failures than the threshold allows have come since the circuit closed, as far as one cannot be sure at
/// once that they are too many: what no window shows for itself, many do.
///
/// # Source
/// Page, "Continuous inspection schemes", Biometrika 41 (1954): the cumulative sum, which is never below zero.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The bits of a float.
    excess: AtomicU64,
    /// When the next results are added, of a window over time: no call counts twice.
    due: AtomicU64,
}

/// How rarely errors just under a threshold may look like more than it, calls in a row: e⁻¹⁶, once in nine million.
const EXPONENT: f64 = 16.0;
/// What is just under: a tenth less.
const JUST_UNDER: f64 = 0.1;

impl Evidence {
    /// None, and none before `due`.
    pub(crate) fn clear(&self, due: u64) {
        self.excess.store(0.0_f64.to_bits(), Relaxed);
        self.due.store(due, Relaxed);
    }

    /// Whether the next results are due at `at`. One caller is told so, and the next are due at `next`.
    pub(crate) fn is_due(&self, at: u64, next: u64) -> bool {
        let due = self.due.load(Relaxed);
        // Relaxed: the words guard no other memory.
        at >= due && self.due.compare_exchange(due, next, Relaxed, Relaxed).is_ok()
    }

    /// Adds `bad` of `calls` results. Whether it is enough now.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2⁵³")]
    pub(crate) fn add(&self, bad: u64, calls: u64, threshold: f64) -> bool {
        let surplus = (calls as f64).mul_add(-threshold, bad as f64);
        let mut seen = self.excess.load(Relaxed);
        loop {
            let next = (f64::from_bits(seen) + surplus).max(0.0);
            match self.excess.compare_exchange_weak(seen, next.to_bits(), Relaxed, Relaxed) {
                Ok(_) => return next > enough(threshold),
                Err(newer) => seen = newer,
            }
        }
    }
}

/// With errors at a share of p below the threshold T the sum reaches x with a probability of about e to the −2 (T − p) x / (T (1 − T)).
fn enough(threshold: f64) -> f64 {
    EXPONENT / (2.0 * JUST_UNDER) * (1.0 - threshold)
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn forty_failures_more_than_a_half_are_enough_however_they_come() {
        let evidence = Evidence::default();
        assert!(!evidence.add(80, 80, 0.5));
        assert!(evidence.add(1, 1, 0.5));

        evidence.clear(0);
        let after = (1..100).find(|_| evidence.add(6, 10, 0.5));

        assert_eq!(after, Some(41));
    }

    #[test]
    fn what_is_below_the_threshold_is_no_credit() {
        let evidence = Evidence::default();
        evidence.add(0, 1_000_000, 0.5);

        assert!(evidence.add(81, 81, 0.5));
    }

    #[test]
    fn no_failures_at_a_threshold_of_one_or_nearly_none_are_enough() {
        for threshold in [1e-9, 0.5, 0.999, 1.0] {
            assert!(!Evidence::default().add(0, 100, threshold), "{threshold}");
        }
        assert!(!Evidence::default().add(100, 100, 1.0));
    }

    #[test]
    fn results_are_due_once_a_span() {
        let evidence = Evidence::default();
        evidence.clear(10);

        assert_eq!([9, 10, 10, 19, 25].map(|at| evidence.is_due(at, at + 10)), [false, true, false, false, true]);
    }
}

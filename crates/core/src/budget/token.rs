use super::BudgetError;
use crate::sync::{
    CachePadded,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// Counts are kept in thousandths of a token.
const MILLI: u32 = 1_000;
const MAX_TOKENS: u32 = 1_000;
/// Half of what can be told apart in six decimals: makes up for decimal fractions that binary ones fall just short of.
const DECIMAL_SLACK: f64 = 1e-6;

/// gRPC's retry throttle: failures take a token, successes give back a fraction of one, and retries stop while half of
/// the tokens or fewer are left.
///
/// It needs no time. A success that finds the bucket full writes nothing.
///
/// ```
/// use seawall_core::TokenBudget;
///
/// let budget = TokenBudget::new(10, 0.1)?;
/// for _ in 0..5 {
///     budget.failure();
/// }
/// assert!(!budget.allows_retry());
/// budget.success();
/// assert!(budget.allows_retry());
/// # Ok::<(), seawall_core::BudgetError>(())
/// ```
///
/// # Source
/// gRPC proposal A6, "Throttling Retry Attempts and Hedged RPCs".
#[derive(Debug)]
pub struct TokenBudget {
    max_milli: u32,
    ratio_milli: u32,
    milli: CachePadded<AtomicU32>,
}

impl TokenBudget {
    /// A full bucket of `max_tokens` (1 to 1,000), to which a success adds `token_ratio` (0.001 to 1,000; three decimals
    /// count, the rest is dropped).
    ///
    /// # Errors
    /// Either value outside its range.
    pub fn new(max_tokens: u32, token_ratio: f64) -> Result<Self, BudgetError> {
        if !(1..=MAX_TOKENS).contains(&max_tokens) {
            return Err(BudgetError::MaxTokens { max_tokens });
        }
        let ratio_milli = (token_ratio * f64::from(MILLI) + DECIMAL_SLACK).floor();
        let max_milli = max_tokens.saturating_mul(MILLI);
        if !(1.0..=f64::from(MAX_TOKENS) * f64::from(MILLI)).contains(&ratio_milli) {
            return Err(BudgetError::TokenRatio { token_ratio });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to 1,000,000 by the check above"
        )]
        let ratio_milli = ratio_milli as u32;
        Ok(Self { max_milli, ratio_milli, milli: CachePadded::new(AtomicU32::new(max_milli)) })
    }

    /// An attempt succeeded.
    #[inline]
    pub fn success(&self) {
        // Relaxed throughout: the word guards no other memory.
        if self.milli.load(Relaxed) < self.max_milli {
            self.change(|milli| milli.saturating_add(self.ratio_milli).min(self.max_milli));
        }
    }

    /// An attempt failed in a way that would be worth another, or was told not to come back.
    pub fn failure(&self) {
        self.change(|milli| milli.saturating_sub(MILLI));
    }

    /// Whether more than half of the tokens are left.
    pub fn allows_retry(&self) -> bool {
        self.milli.load(Relaxed).saturating_mul(2) > self.max_milli
    }

    /// What is left, in thousandths of a token.
    pub fn milli_tokens(&self) -> u32 {
        self.milli.load(Relaxed)
    }

    fn change(&self, to: impl Fn(u32) -> u32) {
        let mut seen = self.milli.load(Relaxed);
        loop {
            match self.milli.compare_exchange_weak(seen, to(seen), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_half_of_the_tokens_stops_retries() {
        let budget = TokenBudget::new(2, 0.001).unwrap();

        budget.failure();

        assert_eq!(budget.milli_tokens(), 1_000);
        assert!(!budget.allows_retry());
        budget.success();
        assert!(budget.allows_retry());
    }

    #[test]
    fn three_decimals_of_the_ratio_count_and_binary_fractions_do_not_lose_one() {
        for (ratio, milli) in [(1.001, 1_001), (0.5466, 546), (0.0019, 1), (0.29, 290), (4.35, 4_350)] {
            let budget = TokenBudget::new(1_000, ratio).unwrap();
            assert_eq!(budget.ratio_milli, milli, "{ratio}");
        }
    }

    #[test]
    fn a_bucket_that_cannot_be_is_refused() {
        assert_eq!(TokenBudget::new(0, 0.1).unwrap_err(), BudgetError::MaxTokens { max_tokens: 0 });
        assert_eq!(TokenBudget::new(1_001, 0.1).unwrap_err(), BudgetError::MaxTokens { max_tokens: 1_001 });
        for ratio in [0.0, -0.5, f64::NAN, f64::INFINITY, 0.000_5] {
            assert!(matches!(TokenBudget::new(10, ratio), Err(BudgetError::TokenRatio { .. })), "{ratio}");
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn no_change_of_the_tokens_is_lost() {
        loom::model(|| {
            let budget = Arc::new(TokenBudget::new(10, 0.5).expect("allowed"));
            let other = Arc::clone(&budget);
            let failing = thread::spawn(move || {
                other.failure();
                other.failure();
            });
            budget.failure();
            failing.join().expect("no panic");

            budget.success();

            assert_eq!(budget.milli_tokens(), 7_500);
        });
    }
}

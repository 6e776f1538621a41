use super::{BudgetError, Paid};
use crate::sync::{
    CachePadded,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// What the AWS SDKs agreed on: 500 tokens; a retry takes 14, one after an overload 5.
const TOKENS: u32 = 500;
const COST: u32 = 14;
const OVERLOAD_COST: u32 = 5;
/// What a call that succeeds at first gives.
const REWARD: u32 = 1;
const MAX_TOKENS: u32 = 1_000_000;

/// The AWS SDKs' retry quota: a bucket from which retries take tokens, those after an overload fewer; a call that succeeds
/// after a retry gives back what the last one took, one that succeeds at first gives one.
///
/// It needs no time. A success that finds the bucket full writes nothing. At total failure a full bucket pays for 35
/// retries (100 after overload), and then for none until something succeeds.
///
/// ```
/// use seawall_core::{Budget, CostBudget, Timestamp};
///
/// let budget = Budget::from(CostBudget::default());
/// let granted = (0..1_000).filter(|_| budget.withdraw(|| Timestamp::ZERO)).count();
/// assert_eq!(granted, 35);
/// ```
///
/// # Source
/// The retry quota of the AWS SDKs' standard mode, with the costs of smithy-rs's retry specification 2.1.
#[derive(Debug)]
pub struct CostBudget {
    max: u32,
    cost: u32,
    overload_cost: u32,
    tokens: CachePadded<AtomicU32>,
}

impl CostBudget {
    /// A full bucket of `max_tokens` (1 to 1,000,000), from which a retry takes `cost` and one after an overload
    /// `overload_cost` (both 1 to `max_tokens`).
    ///
    /// # Errors
    /// A value outside its range.
    pub fn new(max_tokens: u32, cost: u32, overload_cost: u32) -> Result<Self, BudgetError> {
        if !(1..=MAX_TOKENS).contains(&max_tokens) {
            return Err(BudgetError::Tokens { max_tokens });
        }
        for cost in [cost, overload_cost] {
            if !(1..=max_tokens).contains(&cost) {
                return Err(BudgetError::Cost { cost, max_tokens });
            }
        }
        Ok(Self { max: max_tokens, cost, overload_cost, tokens: CachePadded::new(AtomicU32::new(max_tokens)) })
    }

    /// Takes the tokens of one retry, if they are there.
    pub fn pay(&self, overload: bool) -> Option<Paid> {
        let cost = if overload { self.overload_cost } else { self.cost };
        // Relaxed throughout: the word guards no other memory.
        let mut seen = self.tokens.load(Relaxed);
        loop {
            let left = seen.checked_sub(cost)?;
            match self.tokens.compare_exchange_weak(seen, left, Relaxed, Relaxed) {
                Ok(_) => return Some(Paid(cost)),
                Err(newer) => seen = newer,
            }
        }
    }

    /// A call succeeded at first.
    #[inline]
    pub fn success(&self) {
        self.give(REWARD);
    }

    /// A call succeeded after a retry, the last of which took `paid`.
    pub fn recovered(&self, paid: Paid) {
        self.give(paid.0);
    }

    /// What is left.
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Relaxed)
    }

    /// How many retries of the full cost that is worth.
    pub fn balance(&self) -> u32 {
        self.tokens().checked_div(self.cost).unwrap_or(0)
    }

    #[inline]
    fn give(&self, tokens: u32) {
        let mut seen = self.tokens.load(Relaxed);
        while seen < self.max {
            let more = seen.saturating_add(tokens).min(self.max);
            match self.tokens.compare_exchange_weak(seen, more, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }
}

impl Default for CostBudget {
    /// 500 tokens, 14 a retry, 5 after an overload.
    fn default() -> Self {
        Self { max: TOKENS, cost: COST, overload_cost: OVERLOAD_COST, tokens: CachePadded::new(AtomicU32::new(TOKENS)) }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_recovery_gives_back_what_its_last_retry_took_and_a_first_success_one() {
        let budget = CostBudget::new(20, 14, 5).unwrap();

        let paid = budget.pay(false).unwrap();
        assert_eq!((budget.tokens(), budget.pay(false)), (6, None));
        let cheap = budget.pay(true).unwrap();
        assert_eq!((budget.tokens(), budget.pay(true)), (1, None));
        budget.success();
        assert_eq!(budget.tokens(), 2);
        budget.recovered(cheap);
        budget.recovered(paid);

        assert_eq!(budget.tokens(), 20);
    }

    #[test]
    fn a_bucket_that_cannot_be_is_refused() {
        assert_eq!(CostBudget::new(0, 1, 1).unwrap_err().to_string(), "max_tokens is 0; allowed are 1 to 1000000");
        let dear = CostBudget::new(10, 11, 1).unwrap_err();
        assert_eq!(dear.to_string(), "cost is 11; allowed are 1 to the 10 tokens of the bucket");
        assert_eq!(CostBudget::new(10, 1, 0).unwrap_err(), BudgetError::Cost { cost: 0, max_tokens: 10 });
    }

    proptest! {
        #[test]
        fn it_counts_as_plain_sums_do(
            (max, cost, overload_cost) in (1..1_000_u32).prop_flat_map(|max| (Just(max), 1..=max, 1..=max)),
            steps in prop::collection::vec(0..4_u8, 0..200),
        ) {
            let budget = CostBudget::new(max, cost, overload_cost).unwrap();
            let (mut tokens, mut last) = (i64::from(max), Paid(0));
            for step in steps {
                match step {
                    0 | 1 => {
                        let price = if step == 1 { overload_cost } else { cost };
                        let granted = tokens >= i64::from(price);
                        tokens -= if granted { i64::from(price) } else { 0 };
                        let paid = budget.pay(step == 1);
                        prop_assert_eq!(paid, granted.then_some(Paid(price)));
                        last = paid.unwrap_or(last);
                    }
                    2 => {
                        tokens = (tokens + 1).min(i64::from(max));
                        budget.success();
                    }
                    _ => {
                        tokens = (tokens + i64::from(last.0)).min(i64::from(max));
                        budget.recovered(last);
                    }
                }
                prop_assert_eq!(i64::from(budget.tokens()), tokens);
            }
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn two_retries_never_share_tokens_and_no_refund_is_lost() {
        loom::model(|| {
            let budget = Arc::new(CostBudget::new(10, 6, 6).expect("allowed"));
            let other = Arc::clone(&budget);
            let paying = thread::spawn(move || other.pay(false).inspect(|paid| other.recovered(*paid)).is_some());
            let ours = budget.pay(false).inspect(|paid| budget.recovered(*paid)).is_some();
            let theirs = paying.join().expect("no panic");

            assert!(ours || theirs);
            assert_eq!(budget.tokens(), 10);
        });
    }
}

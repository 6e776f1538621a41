mod active;
mod cost;
mod token;
mod window;

use std::{sync::Arc, time::Duration};

pub use active::ActiveBudget;
pub use cost::CostBudget;
pub use token::TokenBudget;
pub use window::{Minimum, Pace, Stamping, WindowBudget};

use crate::{
    Timestamp,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// How much extra work retries and hedges may cause, shared by everything that is given a clone.
///
/// At total failure of the other side it bounds the extra load; when nothing fails it costs a few nanoseconds a call.
/// An exhausted budget is no error: the call ends with the outcome that it has.
///
/// Default: [`WindowBudget::default`], one retry per ten requests of the last 10 s and of the last second, and at least
/// one a second.
///
/// ```
/// use seawall_core::{Budget, Timestamp};
///
/// let budget = Budget::default();
/// let for_hedges = budget.clone();
/// let now = Timestamp::from_nanos(1_000_000_000);
/// for _ in 0..200 {
///     budget.request(|| now);
/// }
/// let granted = (0..100).filter(|_| for_hedges.withdraw(|| now)).count();
/// assert_eq!(granted, 20);
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    kind: Kind,
    /// Relaxed: it guards no other memory.
    suspended: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
enum Kind {
    Window(Arc<WindowBudget>),
    Successes(Arc<WindowBudget>),
    Tokens(Arc<TokenBudget>),
    Costs(Arc<CostBudget>),
    Active(Arc<ActiveBudget>),
}

/// What a granted attempt took: a call that succeeds with it may give that back.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Paid(u32);

/// A granted attempt that is under way: what it took, and its place among those under way where the budget counts them,
/// until this is dropped.
#[derive(Debug)]
#[must_use = "the attempt ends when this is dropped"]
pub struct Held {
    paid: Paid,
    active: Option<Arc<ActiveBudget>>,
}

impl Held {
    /// What it took.
    pub const fn paid(&self) -> Paid {
        self.paid
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(active) = &self.active {
            active.give_back();
        }
    }
}

impl Budget {
    fn of(kind: Kind) -> Self {
        Self { kind, suspended: Arc::new(AtomicBool::new(false)) }
    }

    /// A share of the requests that *succeed*, instead of all: at total failure only the minimum per second is left.
    pub fn of_successes(budget: WindowBudget) -> Self {
        Self::of(Kind::Successes(Arc::new(budget)))
    }

    /// A request begins, whatever becomes of it. Not for its retries.
    #[inline]
    pub fn request(&self, now: impl FnOnce() -> Timestamp) {
        if let Kind::Window(budget) = &self.kind {
            budget.deposit(now);
        }
    }

    /// Begins a request without the time, if that is possible, which it nearly always is: `false` says that nothing has
    /// been counted, and that it takes [`Budget::request`]. For paths that must not call anything.
    ///
    /// ```
    /// use seawall_core::{Budget, Timestamp};
    ///
    /// let budget = Budget::default();
    /// assert!(!budget.request_untimed());
    /// budget.request(|| Timestamp::from_nanos(1_000_000_000));
    /// assert!(budget.request_untimed());
    /// ```
    #[inline]
    pub fn request_untimed(&self) -> bool {
        match &self.kind {
            Kind::Window(budget) => budget.deposit_untimed(),
            _ => false,
        }
    }

    /// A call succeeded with its first attempt.
    #[inline]
    pub fn success(&self, now: impl FnOnce() -> Timestamp) {
        match &self.kind {
            Kind::Window(_) | Kind::Active(_) => {}
            Kind::Successes(budget) => budget.deposit(now),
            Kind::Tokens(budget) => budget.success(),
            Kind::Costs(budget) => budget.success(),
        }
    }

    /// Whether [`Budget::success`] does anything.
    #[inline]
    pub const fn counts_successes(&self) -> bool {
        !matches!(self.kind, Kind::Window(_) | Kind::Active(_))
    }

    /// A call succeeded with a further attempt, the last of which took `paid`.
    pub fn recovered(&self, paid: Paid, now: impl FnOnce() -> Timestamp) {
        match &self.kind {
            Kind::Costs(budget) => budget.recovered(paid),
            _ => self.success(now),
        }
    }

    /// An attempt failed in a way that would be worth another.
    pub fn failure(&self) {
        if let Kind::Tokens(budget) = &self.kind {
            budget.failure();
        }
    }

    /// Whether one more attempt may be made; what is granted is spent. An [`ActiveBudget`] counts only what is
    /// [held](Budget::hold).
    pub fn withdraw(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.pay(false, now).is_some()
    }

    /// Whether one more attempt may be made, and what it took; `overload`: the other side had too much to do.
    pub fn pay(&self, overload: bool, now: impl FnOnce() -> Timestamp) -> Option<Paid> {
        if self.is_suspended() {
            return None;
        }
        let granted = match &self.kind {
            Kind::Window(budget) | Kind::Successes(budget) => budget.withdraw(now()),
            Kind::Tokens(budget) => budget.allows_retry(),
            Kind::Costs(budget) => return budget.pay(overload),
            Kind::Active(budget) => budget.balance() > 0,
        };
        granted.then_some(Paid::default())
    }

    /// The same for an attempt that is under way until what is given is dropped.
    pub fn hold(&self, overload: bool, now: impl FnOnce() -> Timestamp) -> Option<Held> {
        if let Kind::Active(budget) = &self.kind {
            let granted = !self.is_suspended() && budget.take();
            return granted.then(|| Held { paid: Paid::default(), active: Some(Arc::clone(budget)) });
        }
        self.pay(overload, now).map(|paid| Held { paid, active: None })
    }

    /// Grants nothing from here on, to none of those who share it: while this side has too much to do as it is. Requests and successes
    /// are counted all the same; what was granted goes on.
    ///
    /// ```
    /// use seawall_core::{Budget, Timestamp};
    ///
    /// let (budget, now) = (Budget::default(), Timestamp::from_nanos(1_000_000_000));
    /// let for_hedges = budget.clone();
    /// budget.suspend();
    /// assert!(!for_hedges.withdraw(|| now));
    /// budget.resume();
    /// assert!(for_hedges.withdraw(|| now));
    /// ```
    pub fn suspend(&self) {
        self.suspended.store(true, Relaxed);
    }

    /// Grants what there is again.
    pub fn resume(&self) {
        self.suspended.store(false, Relaxed);
    }

    fn is_suspended(&self) -> bool {
        self.suspended.load(Relaxed)
    }

    /// Whether both are the same budget, not only equal ones.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Window(one), Kind::Window(two)) | (Kind::Successes(one), Kind::Successes(two)) => {
                Arc::ptr_eq(one, two)
            }
            (Kind::Tokens(one), Kind::Tokens(two)) => Arc::ptr_eq(one, two),
            (Kind::Costs(one), Kind::Costs(two)) => Arc::ptr_eq(one, two),
            (Kind::Active(one), Kind::Active(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }

    /// How many attempts would be granted at `now`, where that is a number: a gauge. gRPC's tokens are all or nothing.
    pub fn balance(&self, now: Timestamp) -> u64 {
        if self.is_suspended() {
            return 0;
        }
        match &self.kind {
            Kind::Window(budget) | Kind::Successes(budget) => budget.balance(now),
            Kind::Tokens(budget) => u64::from(budget.allows_retry()),
            Kind::Costs(budget) => u64::from(budget.balance()),
            Kind::Active(budget) => budget.balance(),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        WindowBudget::default().into()
    }
}

impl From<WindowBudget> for Budget {
    fn from(budget: WindowBudget) -> Self {
        Self::of(Kind::Window(Arc::new(budget)))
    }
}

impl From<TokenBudget> for Budget {
    fn from(budget: TokenBudget) -> Self {
        Self::of(Kind::Tokens(Arc::new(budget)))
    }
}

impl From<ActiveBudget> for Budget {
    fn from(budget: ActiveBudget) -> Self {
        Self::of(Kind::Active(Arc::new(budget)))
    }
}

impl From<CostBudget> for Budget {
    fn from(budget: CostBudget) -> Self {
        Self::of(Kind::Costs(Arc::new(budget)))
    }
}

/// A budget that makes no sense.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The share of requests is no share.
    #[error("ratio is {ratio}; allowed are 0 to 1")]
    Ratio {
        /// The value given.
        ratio: f64,
    },
    /// The window is outside its range.
    #[error("window is {}; allowed are 1s to 60s", crate::Span::exact(*window))]
    Window {
        /// The value given.
        window: Duration,
    },
    /// More retries per second than can be counted.
    #[error("min_per_second is {min_per_second}; allowed are 0 to 100000")]
    MinPerSecond {
        /// The value given.
        min_per_second: u32,
    },
    /// The size of the token bucket is outside its range.
    #[error("max_tokens is {max_tokens}; allowed are 1 to 1000")]
    MaxTokens {
        /// The value given.
        max_tokens: u32,
    },
    /// The size of the bucket of costs is outside its range.
    #[error("max_tokens is {max_tokens}; allowed are 1 to 1000000")]
    Tokens {
        /// The value given.
        max_tokens: u32,
    },
    /// A retry costs nothing, or more than there is.
    #[error("cost is {cost}; allowed are 1 to the {max_tokens} tokens of the bucket")]
    Cost {
        /// The value given.
        cost: u32,
        /// The size of the bucket.
        max_tokens: u32,
    },
    /// A success adds nothing, or no number.
    #[error("token_ratio is {token_ratio}; allowed are 0.001 to 1000")]
    TokenRatio {
        /// The value given.
        token_ratio: f64,
    },
}

crate::debug_as_text!(BudgetError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_successes_reach_the_bucket_of_tokens() {
        let now = || Timestamp::ZERO;
        let budget = Budget::from(TokenBudget::new(10, 1.0).expect("allowed"));
        (0..100).for_each(|_| budget.success(now));
        (0..4).for_each(|_| budget.failure());
        assert!(budget.withdraw(now));

        budget.failure();
        assert!(!budget.withdraw(now));

        budget.recovered(Paid::default(), now);
        assert!(budget.withdraw(now));
    }

    #[test]
    fn a_suspended_budget_of_any_kind_grants_nothing_and_goes_on_where_it_was() {
        let now = || Timestamp::from_nanos(1_000_000_000);
        let budgets = [
            Budget::default(),
            Budget::of_successes(WindowBudget::default()),
            TokenBudget::new(10, 1.0).expect("allowed").into(),
            CostBudget::default().into(),
            ActiveBudget::new(0.2, 3, || 25).expect("allowed").into(),
        ];
        for budget in budgets {
            let before = budget.balance(now());

            budget.suspend();
            assert!(!budget.withdraw(now) && budget.hold(false, now).is_none(), "{budget:?}");
            assert_eq!(budget.balance(now()), 0);

            budget.clone().resume();
            assert_eq!(budget.balance(now()), before);
            assert!(budget.hold(false, now).is_some(), "{budget:?}");
        }
    }

    #[test]
    fn a_share_of_successes_leaves_only_the_minimum_at_total_failure() {
        let now = || Timestamp::ZERO;
        let budget = Budget::of_successes(WindowBudget::new(0.1, 3, Duration::from_secs(10)).expect("allowed"));
        for _ in 0..1_000 {
            budget.request(now);
        }
        assert_eq!(budget.balance(Timestamp::ZERO), 30);

        for _ in 0..100 {
            budget.success(now);
        }

        assert_eq!(budget.balance(Timestamp::ZERO), 40);
    }
}

mod token;
mod window;

use std::{sync::Arc, time::Duration};

pub use token::TokenBudget;
pub use window::{Stamping, WindowBudget};

use crate::Timestamp;

/// How much extra work retries and hedges may cause, shared by everything that is given a clone.
///
/// At total failure of the other side it bounds the extra load; when nothing fails it costs a few nanoseconds a call.
/// An exhausted budget is no error: the call ends with the outcome that it has.
///
/// Default: [`WindowBudget::default`], one retry per ten requests of the last 10 s, and 3 a second on top.
///
/// ```
/// use seawall_core::{Budget, Timestamp};
///
/// let budget = Budget::default();
/// let for_hedges = budget.clone();
/// let now = Timestamp::from_nanos(1_000_000_000);
/// for _ in 0..100 {
///     budget.request(|| now);
/// }
/// let granted = (0..100).filter(|_| for_hedges.withdraw(|| now)).count();
/// assert_eq!(granted, 10 + 3 * 10);
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Window(Arc<WindowBudget>),
    Tokens(Arc<TokenBudget>),
}

impl Budget {
    /// A request begins, whatever becomes of it. Not for its retries.
    #[inline]
    pub fn request(&self, now: impl FnOnce() -> Timestamp) {
        match &self.kind {
            Kind::Window(budget) => budget.deposit(now),
            Kind::Tokens(_) => {}
        }
    }

    /// An attempt succeeded.
    #[inline]
    pub fn success(&self) {
        match &self.kind {
            Kind::Window(_) => {}
            Kind::Tokens(budget) => budget.success(),
        }
    }

    /// An attempt failed in a way that would be worth another.
    pub fn failure(&self) {
        match &self.kind {
            Kind::Window(_) => {}
            Kind::Tokens(budget) => budget.failure(),
        }
    }

    /// Whether one more attempt may be made; what is granted is spent.
    pub fn withdraw(&self, now: impl FnOnce() -> Timestamp) -> bool {
        match &self.kind {
            Kind::Window(budget) => budget.withdraw(now()),
            Kind::Tokens(budget) => budget.allows_retry(),
        }
    }

    /// Whether both are the same budget, not only equal ones.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Window(one), Kind::Window(two)) => Arc::ptr_eq(one, two),
            (Kind::Tokens(one), Kind::Tokens(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }

    /// How many attempts would be granted at `now`, where that is a number: a gauge. gRPC's tokens are all or nothing.
    pub fn balance(&self, now: Timestamp) -> u64 {
        match &self.kind {
            Kind::Window(budget) => budget.balance(now),
            Kind::Tokens(budget) => u64::from(budget.allows_retry()),
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
        Self { kind: Kind::Window(Arc::new(budget)) }
    }
}

impl From<TokenBudget> for Budget {
    fn from(budget: TokenBudget) -> Self {
        Self { kind: Kind::Tokens(Arc::new(budget)) }
    }
}

/// A budget that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The share of requests is no share.
    #[error("ratio is {ratio}; allowed are 0 to 1")]
    Ratio {
        /// The value given.
        ratio: f64,
    },
    /// The window is outside its range.
    #[error("window is {window:?}; allowed are 1s to 60s")]
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
    /// A success adds nothing, or no number.
    #[error("token_ratio is {token_ratio}; allowed are 0.001 to 1000")]
    TokenRatio {
        /// The value given.
        token_ratio: f64,
    },
}

use std::time::Duration;

use seawall_core::Budget;

use crate::{Backoff, RetryError};

/// The share of attempts that must be quicker than what remains.
const USUAL: f64 = 0.95;

/// What to do with a call of which nobody says whether doing it twice does harm.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it is repeated or it is not")]
pub enum IfUnknown {
    /// Repeat it: the calls of this service are known to be harmless when repeated.
    Repeat,
    /// Repeat it only when the other side has not acted on it: a refusal by a layer, or [`Advice::Again`].
    ///
    /// [`Advice::Again`]: crate::Advice::Again
    OnlyUnsent,
}

/// How often, after what wait and at whose expense to try again.
///
/// ```
/// use seawall_backoff_with_jitter::{Backoff, IfUnknown, RetryConfig};
/// use std::time::Duration;
///
/// let config = RetryConfig::new(IfUnknown::OnlyUnsent)
///     .with_attempts(4)?
///     .with_backoff(Backoff::unhurried());
/// assert_eq!(config.attempts(), 4);
/// # Ok::<(), seawall_backoff_with_jitter::RetryError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetryConfig {
    attempts: u32,
    backoff: Backoff,
    if_unknown: IfUnknown,
    max_hint: Duration,
    max_refusal_wait: Duration,
    max_elapsed: Option<Duration>,
    min_remaining: Option<f64>,
    multiplies: bool,
    budget: Option<Budget>,
}

impl RetryConfig {
    /// The defaults, with the one choice that nobody can make for you: what happens to a call whose
    /// [`CallContext::idempotent`](seawall_core::CallContext::idempotent) is not known.
    pub fn new(if_unknown: IfUnknown) -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::default(),
            if_unknown,
            max_hint: Duration::from_secs(30),
            max_refusal_wait: Duration::MAX,
            max_elapsed: None,
            min_remaining: Some(USUAL),
            budget: Some(Budget::default()),
            multiplies: false,
        }
    }

    /// How many attempts a call may have in all, the first included. 1 and more, default 3; 1 never retries.
    ///
    /// # Errors
    /// `attempts` is 0.
    pub fn with_attempts(mut self, attempts: u32) -> Result<Self, RetryError> {
        if attempts == 0 {
            return Err(RetryError::Attempts);
        }
        self.attempts = attempts;
        Ok(self)
    }

    /// The waits between attempts. Default 50 ms doubling to 1 s, full jitter.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The longest wait that the other side may ask for; more is cut to this. Default 30 s.
    ///
    /// A layer's own refusal that names a longer wait ends the call instead: coming earlier is known to be pointless.
    #[must_use]
    pub const fn with_max_hint(mut self, max_hint: Duration) -> Self {
        self.max_hint = max_hint;
        self
    }

    /// The longest wait for a layer further in that refuses and says how long, an open circuit's say: a call that would have to
    /// wait longer ends at once. Default: what [`with_max_hint`](Self::with_max_hint) allows, so far as the deadline does;
    /// the client presets of `seawall` wait for a second. 0 waits for none that
    /// names a time.
    #[must_use]
    pub const fn with_max_refusal_wait(mut self, max_refusal_wait: Duration) -> Self {
        self.max_refusal_wait = max_refusal_wait;
        self
    }

    /// How long a call may go on starting attempts, from the time it was made. Not limited by default: the caller's
    /// deadline limits it.
    ///
    /// # Errors
    /// `max_elapsed` is 0.
    pub fn with_max_elapsed(mut self, max_elapsed: Duration) -> Result<Self, RetryError> {
        if max_elapsed.is_zero() {
            return Err(RetryError::MaxElapsed);
        }
        self.max_elapsed = Some(max_elapsed);
        Ok(self)
    }

    /// Begins no attempt whose deadline leaves less time than the share `quantile` of recent successes took. Between 0 and
    /// 1, default 0.95. What they took is learnt from retries, and from the first attempts, one in 16 or fewer, for
    /// which a [`WindowBudget`] reads the clock anyway; until 100 are known in 20 s, any time that remains will do.
    ///
    /// [`WindowBudget`]: seawall_core::WindowBudget
    ///
    /// # Errors
    /// A quantile that is not between 0 and 1.
    pub fn with_min_remaining_quantile(mut self, quantile: f64) -> Result<Self, RetryError> {
        if !(quantile > 0.0 && quantile < 1.0) {
            return Err(RetryError::Quantile { quantile });
        }
        self.min_remaining = Some(quantile);
        Ok(self)
    }

    /// Begins an attempt however little time remains until the deadline.
    #[must_use]
    pub const fn without_min_remaining(mut self) -> Self {
        self.min_remaining = None;
        self
    }

    /// Retries at the expense of `budget`, which other layers may share. By default every configuration has a
    /// [`Budget::default`] of its own, shared by its clones.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Retries without a budget: when everything fails, the load is multiplied by the number of attempts.
    #[must_use]
    pub fn without_budget(mut self) -> Self {
        self.budget = None;
        self
    }

    /// Repeats also what a retry further in has given up on, so that attempts multiply: three by three are nine. By
    /// default such a failure goes to the caller at once, where both retries are polled in one task.
    #[must_use]
    pub const fn with_multiplied_attempts(mut self) -> Self {
        self.multiplies = true;
        self
    }

    /// Whether it repeats also what a retry further in has given up on.
    pub const fn multiplies_attempts(&self) -> bool {
        self.multiplies
    }

    /// How many attempts a call may have.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The waits between attempts.
    pub const fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// What happens to a call of which nobody knows whether it may be repeated.
    pub const fn if_unknown(&self) -> IfUnknown {
        self.if_unknown
    }

    /// Whether a call may be done twice of which that much is known.
    pub(crate) fn may_repeat(&self, idempotent: Option<bool>) -> bool {
        idempotent.unwrap_or(self.if_unknown == IfUnknown::Repeat)
    }

    /// The longest wait that the other side may ask for.
    pub const fn max_hint(&self) -> Duration {
        self.max_hint
    }

    /// The longest wait for a layer further in that refuses.
    pub fn max_refusal_wait(&self) -> Duration {
        self.max_refusal_wait.min(self.max_hint)
    }

    /// How long a call may go on starting attempts.
    pub const fn max_elapsed(&self) -> Option<Duration> {
        self.max_elapsed
    }

    /// The share of recent successes that took no longer than what must remain.
    pub const fn min_remaining_quantile(&self) -> Option<f64> {
        self.min_remaining
    }

    /// Who pays.
    #[inline]
    pub const fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_these() {
        let config = RetryConfig::new(IfUnknown::OnlyUnsent);

        assert_eq!(config.attempts(), 3);
        assert_eq!(*config.backoff(), Backoff::default());
        assert_eq!((config.max_hint(), config.max_refusal_wait()), (Duration::from_secs(30), Duration::from_secs(30)));
        assert_eq!(config.max_elapsed(), None);
        assert_eq!(config.min_remaining_quantile(), Some(0.95));
        assert_eq!(config.budget().map(|budget| budget.balance(seawall_core::Timestamp::ZERO)), Some(10));
    }

    #[test]
    fn each_setting_is_what_it_was_set_to() {
        let config = RetryConfig::new(IfUnknown::OnlyUnsent)
            .with_attempts(7)
            .and_then(|config| config.with_max_elapsed(Duration::from_secs(9)))
            .and_then(|config| config.with_min_remaining_quantile(0.5))
            .unwrap()
            .with_max_hint(Duration::from_secs(5))
            .with_max_refusal_wait(Duration::from_secs(4))
            .with_backoff(Backoff::unhurried())
            .with_multiplied_attempts()
            .without_budget();

        assert_eq!((config.attempts(), config.max_hint()), (7, Duration::from_secs(5)));
        assert_eq!(config.max_refusal_wait(), Duration::from_secs(4));
        assert_eq!((config.max_elapsed(), config.min_remaining_quantile()), (Some(Duration::from_secs(9)), Some(0.5)));
        assert_eq!((config.backoff(), config.multiplies_attempts()), (&Backoff::unhurried(), true));
        assert!(config.budget().is_none());
        assert_eq!(config.without_min_remaining().min_remaining_quantile(), None);
    }

    #[test]
    fn no_attempt_and_no_time_are_refused() {
        let config = RetryConfig::new(IfUnknown::Repeat);

        assert_eq!(config.clone().with_attempts(0).unwrap_err(), RetryError::Attempts);
        assert_eq!(config.clone().with_max_elapsed(Duration::ZERO).unwrap_err(), RetryError::MaxElapsed);
        for quantile in [0.0, 1.0, -0.1, f64::NAN] {
            let refused = config.clone().with_min_remaining_quantile(quantile);
            assert!(matches!(refused, Err(RetryError::Quantile { .. })), "{quantile}");
        }
    }

    #[test]
    fn clones_of_a_configuration_share_its_budget() {
        let config = RetryConfig::new(IfUnknown::Repeat);

        let clone = config.clone();

        assert!(config.budget().zip(clone.budget()).is_some_and(|(one, two)| one.same(two)));
    }
}

use std::time::Duration;

use seawall_core::{CallContext, Timestamp};

use crate::{Advice, Ended, Hint, Position, RetryConfig};

/// What happens after an attempt that was not a success.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is another attempt or there is none")]
pub enum Next {
    /// Another attempt starts at this time, after this wait.
    Retry {
        /// When it starts.
        at: Timestamp,
        /// How long that is from now.
        wait: Duration,
    },
    /// The outcome goes to the caller at once.
    Stop(Stopped),
}

/// Why there is no other attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stopped {
    /// The outcome is one that another attempt would not mend.
    Final,
    /// All attempts are used up.
    Attempts,
    /// The other side may have acted on the call, and it must not be repeated.
    NotIdempotent,
    /// The request could not be kept for a second attempt.
    NotReplayable,
    /// The other side, or a layer that refused the call, says not to come back in time.
    Pushback,
    /// The next attempt would start at or after the deadline, or with less time left than most attempts take.
    Deadline,
    /// The budget is used up.
    Budget,
    /// A retry further in has used up its attempts, or its budget, on this call.
    Exhausted,
}

impl Stopped {
    /// The name as it stands in metrics: `not_idempotent`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Attempts => "attempts",
            Self::NotIdempotent => "not_idempotent",
            Self::NotReplayable => "not_replayable",
            Self::Pushback => "pushback",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
            Self::Exhausted => "exhausted",
        }
    }
}

/// The decisions on one call, attempt after attempt: a pure core.
///
/// In this order: is the outcome worth another attempt, are attempts left, may the request be repeated, how long is the
/// wait, does the next attempt start before the deadline, and does the budget pay. The wait is the longer of the
/// backoff's and the one asked for. There is never a wait that would end at or after the deadline: the call then ends at
/// once with the outcome it has; nor is an attempt begun that has less time than [`RetrySchedule::set_usual`] says most
/// take. The budget is asked last, so that nothing is paid for a retry that is not made.
///
/// A wait that somebody asks for is a time at which many come back, so up to a tenth of it, or up to the backoff's
/// ceiling where that is longer, is added at random; not with [`Jitter::None`](crate::Jitter::None).
///
/// A layer's refusal without a time is waited out for at least half of the backoff's ceiling, whatever the jitter says:
/// the layer would only refuse again.
///
/// ```
/// use seawall_backoff_with_jitter::{Advice, Backoff, Ended, IfUnknown, Next, RetryConfig, RetrySchedule, Stopped};
/// use seawall_core::{CallContext, Timestamp};
/// use std::time::Duration;
///
/// let config = RetryConfig::new(IfUnknown::Repeat).with_backoff(Backoff::constant(Duration::from_secs(1)));
/// let until_3_s = CallContext::new().with_deadline(Timestamp::from_nanos(3_000_000_000));
/// let (no_jitter, paid) = (u64::MAX, || true);
/// let mut schedule = RetrySchedule::default();
/// let failed = Ended::new(Advice::IfIdempotent);
///
/// let next = schedule.next(&config, failed, &until_3_s, Timestamp::from_nanos(500), no_jitter, paid);
/// assert!(matches!(next, Next::Retry { .. }));
/// let next = schedule.next(&config, failed, &until_3_s, Timestamp::from_nanos(2_500_000_000), no_jitter, paid);
/// assert_eq!(next, Next::Stop(Stopped::Deadline));
/// ```
#[derive(Copy, Clone, Debug)]
pub struct RetrySchedule {
    attempts: u32,
    position: Position,
    usual: Duration,
    /// Whether an attempt that was not seen has been made good.
    made_good: bool,
}

impl Default for RetrySchedule {
    fn default() -> Self {
        Self { attempts: 1, position: Position::START, usual: Duration::ZERO, made_good: false }
    }
}

impl RetrySchedule {
    /// How many attempts were begun, the first included; not the one that made good for one that was not seen.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long most attempts take: none is begun that would have less than this before the deadline. Default 0.
    pub const fn set_usual(&mut self, usual: Duration) {
        self.usual = usual;
    }

    /// Why an attempt that ended like this would be the last, as far as that is known without the request.
    pub const fn stops(&self, config: &RetryConfig, ended: Ended) -> Option<Stopped> {
        match (ended.advice, ended.hint) {
            (Advice::Stop, _) => Some(Stopped::Final),
            (_, Hint::Remote(Duration::MAX)) => Some(Stopped::Pushback),
            _ if self.is_free(config, ended) => None,
            _ if self.attempts >= config.attempts() => Some(Stopped::Attempts),
            _ => None,
        }
    }

    /// Whether the other side has not seen the attempt that ended like this, for the first time.
    pub(crate) const fn is_free(&self, config: &RetryConfig, ended: Ended) -> bool {
        matches!(ended.advice, Advice::Unseen) && !self.made_good && config.attempts() > 1
    }

    /// Decides after an attempt has ended at `now`. `word` is random; `pay` withdraws from the budget.
    pub fn next(
        &mut self,
        config: &RetryConfig,
        ended: Ended,
        context: &CallContext,
        now: Timestamp,
        word: u64,
        pay: impl FnOnce() -> bool,
    ) -> Next {
        if let Some(stopped) = self.stops(config, ended) {
            return Next::Stop(stopped);
        }
        if self.is_free(config, ended) {
            if context.deadline.is_some_and(|deadline| now >= deadline) {
                return Next::Stop(Stopped::Deadline);
            }
            self.made_good = true;
            return Next::Retry { at: now, wait: Duration::ZERO };
        }
        if ended.advice == Advice::IfIdempotent && !config.may_repeat(context.idempotent) {
            return Next::Stop(Stopped::NotIdempotent);
        }
        let backoff = config.backoff();
        let ceiling = backoff.ceiling(self.position.retries());
        let floor = match ended.hint {
            Hint::Nothing => Duration::ZERO,
            Hint::Remote(wait) => backoff.spread(wait.min(config.max_hint()), ceiling, word),
            Hint::Refused(Some(wait)) if wait > config.max_refusal_wait() => return Next::Stop(Stopped::Pushback),
            Hint::Refused(Some(wait)) => backoff.spread(wait, ceiling, word),
            Hint::Refused(None) => ceiling.mul_f64(0.5),
        };
        let wait = backoff.next(&mut self.position, word).max(floor);
        let at = now.saturating_add(wait);
        if context.deadline.is_some_and(|deadline| at >= deadline || deadline.since(at) < self.usual) {
            return Next::Stop(Stopped::Deadline);
        }
        if !pay() {
            return Next::Stop(Stopped::Budget);
        }
        self.attempts = self.attempts.saturating_add(1);
        Next::Retry { at, wait }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use seawall_core::{Pattern, Reason, Rejection};

    use super::*;
    use crate::{Backoff, IfUnknown, Jitter};

    const WORD: u64 = u64::MAX;

    fn config() -> RetryConfig {
        let backoff = Backoff::constant(Duration::from_secs(1)).with_jitter(Jitter::None).unwrap();
        RetryConfig::new(IfUnknown::OnlyUnsent).with_backoff(backoff)
    }

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn retry_after(wait: Duration) -> Next {
        Next::Retry { at: Timestamp::ZERO.saturating_add(wait), wait }
    }

    /// The decision at time zero on a call that nobody limits.
    fn decide(config: &RetryConfig, ended: Ended, context: CallContext) -> Next {
        RetrySchedule::default().next(config, ended, &context, Timestamp::ZERO, WORD, || true)
    }

    #[test]
    fn a_call_known_to_do_harm_twice_is_never_repeated_after_it_may_have_been_sent() {
        let context = CallContext::new().with_idempotent(false);
        let repeat = RetryConfig::new(IfUnknown::Repeat);

        let sent = decide(&repeat, Ended::new(Advice::IfIdempotent), context);
        let unsent = decide(&config(), Ended::new(Advice::Again), context);

        assert_eq!(sent, Next::Stop(Stopped::NotIdempotent));
        assert_eq!(unsent, retry_after(Duration::from_secs(1)));
    }

    #[test]
    fn a_call_of_which_nothing_is_known_is_repeated_only_by_choice() {
        let failed = Ended::new(Advice::IfIdempotent);
        let repeat = RetryConfig::new(IfUnknown::Repeat).with_backoff(config().backoff().clone());

        assert_eq!(decide(&config(), failed, CallContext::new()), Next::Stop(Stopped::NotIdempotent));
        assert_eq!(decide(&repeat, failed, CallContext::new()), retry_after(Duration::from_secs(1)));
        let known = CallContext::new().with_idempotent(true);
        assert_eq!(decide(&config(), failed, known), retry_after(Duration::from_secs(1)));
    }

    #[test]
    fn a_server_hint_of_a_day_is_cut_to_the_maximum() {
        let ended = Ended::new(Advice::Again).with_hint(Hint::Remote(Duration::from_secs(24 * 3_600)));

        assert_eq!(decide(&config(), ended, CallContext::new()), retry_after(Duration::from_secs(30)));
    }

    #[test]
    fn a_server_that_says_do_not_come_back_is_not_asked_again() {
        let ended = Ended::new(Advice::Again).with_hint(Hint::Remote(Duration::MAX));

        assert_eq!(decide(&config(), ended, CallContext::new()), Next::Stop(Stopped::Pushback));
    }

    #[test]
    fn the_wait_is_the_longer_of_backoff_and_hint() {
        let hint = |wait| Ended::new(Advice::Again).with_hint(Hint::Remote(wait));

        let shorter = decide(&config(), hint(Duration::from_millis(1)), CallContext::new());
        let longer = decide(&config(), hint(Duration::from_secs(2)), CallContext::new());

        assert_eq!(shorter, retry_after(Duration::from_secs(1)));
        assert_eq!(longer, retry_after(Duration::from_secs(2)));
    }

    #[test]
    fn an_open_breaker_is_waited_out_if_that_fits_the_deadline_and_costs_nothing_if_not() {
        let open =
            Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen).with_retry_after(Duration::from_secs(5));
        let ended = Ended::by_rejection(&open);

        let fits = decide(&config(), ended, CallContext::new().with_deadline(seconds(6)));
        let unfit = RetrySchedule::default().next(
            &config(),
            ended,
            &CallContext::new().with_deadline(seconds(5)),
            Timestamp::ZERO,
            WORD,
            || panic!("nothing is paid for a retry that is not made"),
        );

        assert_eq!(fits, retry_after(Duration::from_secs(5)));
        assert_eq!(unfit, Next::Stop(Stopped::Deadline));
    }

    #[test]
    fn a_refusal_that_names_a_longer_wait_than_the_maximum_ends_the_call() {
        let open =
            Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen).with_retry_after(Duration::from_secs(31));

        let next = decide(&config(), Ended::by_rejection(&open), CallContext::new());

        assert_eq!(next, Next::Stop(Stopped::Pushback));
    }

    #[test]
    fn a_refusal_is_not_waited_for_longer_than_is_set_while_the_other_side_is() {
        let config = config().with_max_refusal_wait(Duration::from_secs(1));
        let next = |seconds| {
            let open = Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen);
            decide(
                &config,
                Ended::by_rejection(&open.with_retry_after(Duration::from_secs(seconds))),
                CallContext::new(),
            )
        };
        let asked = Ended { hint: Hint::Remote(Duration::from_secs(2)), ..Ended::new(Advice::Again) };

        assert_eq!([next(1), next(2)], [retry_after(Duration::from_secs(1)), Next::Stop(Stopped::Pushback)]);
        assert_eq!(decide(&config, asked, CallContext::new()), retry_after(Duration::from_secs(2)));
    }

    #[test]
    fn a_refusal_that_names_the_maximum_is_waited_out() {
        let open =
            Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen).with_retry_after(Duration::from_secs(30));

        let next = decide(&config(), Ended::by_rejection(&open), CallContext::new());

        assert_eq!(next, retry_after(Duration::from_secs(30)));
    }

    #[test]
    fn a_local_refusal_without_a_time_is_never_retried_at_once() {
        let nobody = Rejection::new(Pattern::LoadBalance, Reason::NoEndpoints);
        let full_jitter = RetryConfig::new(IfUnknown::OnlyUnsent);

        let next = RetrySchedule::default().next(
            &full_jitter,
            Ended::by_rejection(&nobody),
            &CallContext::new(),
            Timestamp::ZERO,
            0,
            || true,
        );

        assert_eq!(next, retry_after(Duration::from_millis(25)));
    }

    #[test]
    fn deadlines_and_gates_closed_for_good_are_final() {
        for reason in [Reason::DeadlineExceeded, Reason::DeadlineTooClose, Reason::Closed, Reason::TooHeavy] {
            let ended = Ended::by_rejection(&Rejection::new(Pattern::Timeout, reason));
            assert_eq!(decide(&config(), ended, CallContext::new()), Next::Stop(Stopped::Final), "{reason:?}");
        }
    }

    #[test]
    fn too_much_to_do_on_this_side_is_final() {
        for reason in [
            Reason::BulkheadFull,
            Reason::QueueFull,
            Reason::QueueTimeout,
            Reason::Overloaded,
            Reason::Throttled,
            Reason::PoolTimeout,
        ] {
            let refusal = Rejection::new(Pattern::Bulkhead, reason).with_retry_after(Duration::from_millis(1));
            let next = decide(&config(), Ended::by_rejection(&refusal), CallContext::new());
            assert_eq!(next, Next::Stop(Stopped::Final), "{reason:?}");
        }
    }

    #[test]
    fn callers_that_are_refused_for_the_same_time_do_not_come_back_at_the_same_time() {
        let config = RetryConfig::new(IfUnknown::OnlyUnsent);
        let five = Duration::from_secs(5);
        let open = Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen).with_retry_after(five);
        let after = |word: u64| {
            let ended = Ended::by_rejection(&open);
            match RetrySchedule::default().next(&config, ended, &CallContext::new(), Timestamp::ZERO, word, || true) {
                Next::Retry { wait, .. } => wait,
                Next::Stop(stopped) => panic!("{stopped:?}"),
            }
        };

        let latest = after(u64::from(u32::MAX));

        assert_eq!(after(0), five);
        assert!(latest > five + Duration::from_millis(490) && latest < five + Duration::from_millis(500), "{latest:?}");
    }

    #[test]
    fn an_attempt_timeout_is_repeated_only_where_that_does_no_harm() {
        let ended = Ended::by_rejection(&Rejection::new(Pattern::Timeout, Reason::AttemptTimeout));

        assert_eq!(decide(&config(), ended, CallContext::new()), Next::Stop(Stopped::NotIdempotent));
        let harmless = CallContext::new().with_idempotent(true);
        assert_eq!(decide(&config(), ended, harmless), retry_after(Duration::from_secs(1)));
    }

    #[test]
    fn no_wait_ends_at_or_after_the_deadline_also_at_the_end_of_time() {
        let failed = Ended::new(Advice::Again);
        let at = |now: Timestamp, deadline: Timestamp| {
            let context = CallContext::new().with_deadline(deadline);
            RetrySchedule::default().next(&config(), failed, &context, now, WORD, || true)
        };

        assert_eq!(at(seconds(1), seconds(2)), Next::Stop(Stopped::Deadline));
        assert_eq!(at(seconds(3), seconds(2)), Next::Stop(Stopped::Deadline));
        assert_eq!(at(Timestamp::MAX, Timestamp::MAX), Next::Stop(Stopped::Deadline));
        assert!(matches!(at(seconds(1), seconds(3)), Next::Retry { .. }));
    }

    #[test]
    fn no_attempt_begins_with_less_time_left_than_most_attempts_take() {
        let at_2_s_left = |usual: Duration| {
            let mut schedule = RetrySchedule::default();
            schedule.set_usual(usual);
            let context = CallContext::new().with_deadline(seconds(3));
            schedule.next(&config(), Ended::new(Advice::Again), &context, Timestamp::ZERO, WORD, || true)
        };

        assert_eq!(at_2_s_left(Duration::from_secs(2)), retry_after(Duration::from_secs(1)));
        assert_eq!(at_2_s_left(Duration::from_nanos(2_000_000_001)), Next::Stop(Stopped::Deadline));
        assert_eq!(at_2_s_left(Duration::MAX), Next::Stop(Stopped::Deadline));
    }

    #[test]
    fn callers_that_are_told_the_same_wait_do_not_come_back_at_the_same_time() {
        let config = RetryConfig::new(IfUnknown::OnlyUnsent);
        let after = |hint: Duration, word: u64| {
            let ended = Ended::new(Advice::Again).with_hint(Hint::Remote(hint));
            match RetrySchedule::default().next(&config, ended, &CallContext::new(), Timestamp::ZERO, word, || true) {
                Next::Retry { wait, .. } => wait,
                Next::Stop(stopped) => panic!("{stopped:?}"),
            }
        };

        let (ten, tenth) = (Duration::from_secs(10), Duration::from_secs(1));
        assert_eq!(after(ten, 0), ten);
        let latest = after(ten, u64::from(u32::MAX));
        assert!(latest > ten + tenth * 9 / 10 && latest < ten + tenth, "{latest:?}");
        // A short wait is spread over the backoff's ceiling, 50 ms at first.
        let (short, latest) = (Duration::from_millis(10), after(Duration::from_millis(10), u64::from(u32::MAX)));
        assert!(latest > short + Duration::from_millis(49) && latest < short + Duration::from_millis(50), "{latest:?}");
        assert_eq!(after(Duration::from_secs(24 * 3_600), 0), Duration::from_secs(30));
    }

    #[test]
    fn an_exhausted_budget_is_a_reason_to_stop_and_no_error() {
        let next = RetrySchedule::default().next(
            &config(),
            Ended::new(Advice::Again),
            &CallContext::new(),
            Timestamp::ZERO,
            WORD,
            || false,
        );

        assert_eq!(next, Next::Stop(Stopped::Budget));
    }

    #[test]
    fn one_attempt_means_no_retry() {
        let config = config().with_attempts(1).unwrap();

        assert_eq!(decide(&config, Ended::new(Advice::Again), CallContext::new()), Next::Stop(Stopped::Attempts));
    }
}

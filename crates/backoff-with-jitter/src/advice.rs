use std::time::Duration;

use seawall_core::{CarryRejection, Class, Classify, Outcome, Reason, Rejection, Verdict};

/// Whether an attempt that ended like this is worth another.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "it stands, or the other side has acted on it, or knows it, or has not seen it"
)]
pub enum Advice {
    /// The outcome stands: a success, or a failure that another attempt would not mend.
    Stop,
    /// Worth another attempt, if doing it twice does no harm: the other side may have acted on this one.
    IfIdempotent,
    /// Worth another attempt, whatever the request does: the other side has not acted on this one.
    Again,
    /// The other side has not even looked at this one: a stream that was refused, a connection that was closing. The
    /// first such attempt of a call is made good at once, and counts neither as an attempt nor against the budget; a
    /// further one is as [`Advice::Again`].
    ///
    /// # Source
    /// Transparent retries of gRPC proposal A6.
    Unseen,
}

/// Which outcomes are worth another attempt. Hears of what the other side answered; refusals and timeouts by layers are
/// judged by the retry itself.
///
/// Any `Fn(Verdict, Result<&Response, &Error>) -> Advice` is one:
///
/// ```
/// use seawall_backoff_with_jitter::{Advice, RetryWhen};
/// use seawall_core::{Class, Verdict};
///
/// let refused_connections = |verdict: Verdict, result: Result<&(), &std::io::Error>| match result {
///     Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Advice::Again,
///     _ if verdict.class == Class::Failure => Advice::IfIdempotent,
///     _ => Advice::Stop,
/// };
/// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// assert_eq!(refused_connections.advise(Class::Failure.into(), Err(&refused)), Advice::Again);
/// ```
pub trait RetryWhen<Res: ?Sized, Err: ?Sized> {
    /// The advice on an answer that the environment's classifier judged as `verdict`.
    fn advise(&self, verdict: Verdict, result: Result<&Res, &Err>) -> Advice;
}

/// The default: failures and overload are worth another attempt where the request may be repeated.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ByClass;

impl<Res: ?Sized, Err: ?Sized> RetryWhen<Res, Err> for ByClass {
    #[inline]
    fn advise(&self, verdict: Verdict, _: Result<&Res, &Err>) -> Advice {
        match verdict.class {
            Class::Failure | Class::Overload => Advice::IfIdempotent,
            _ => Advice::Stop,
        }
    }
}

impl<F, Res: ?Sized, Err: ?Sized> RetryWhen<Res, Err> for F
where
    F: for<'a> Fn(Verdict, Result<&'a Res, &'a Err>) -> Advice,
{
    #[inline]
    fn advise(&self, verdict: Verdict, result: Result<&Res, &Err>) -> Advice {
        self(verdict, result)
    }
}

/// Who asks for a wait.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Nobody.
    Nothing,
    /// The other side: waited for up to [`RetryConfig::with_max_hint`](crate::RetryConfig::with_max_hint).
    /// [`Duration::MAX`] says "do not come back", as does [`Verdict::do_not_retry`].
    Remote(Duration),
    /// A layer further in, which refused the call and knows when it would not. Coming earlier is pointless: waited for, or not
    /// at all where that is longer than [`RetryConfig::with_max_refusal_wait`](crate::RetryConfig::with_max_refusal_wait).
    Refused(Option<Duration>),
}

/// How an attempt ended that was not a success.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Whether it is worth another attempt.
    pub advice: Advice,
    /// The wait that somebody asks for.
    pub hint: Hint,
    /// Whether the other side had too much to do: some budgets ask less for another attempt then.
    pub overload: bool,
}

impl Ended {
    /// An ending with this advice, and no wait asked for.
    pub const fn new(advice: Advice) -> Self {
        Self { advice, hint: Hint::Nothing, overload: false }
    }

    /// With the wait that somebody asks for.
    #[must_use]
    pub const fn with_hint(mut self, hint: Hint) -> Self {
        self.hint = hint;
        self
    }

    /// A layer further in refused or cut the attempt. What was never sent may be sent again, after the wait that the
    /// rejection names; an attempt that was cut only if it may be repeated. A deadline does not come back, and neither
    /// does a gate that is closed for good or a call that is too heavy. Where there is too much to do on this side (all
    /// places taken, a queue full or too slow, no connection free, or so much refused by the other side that nothing is
    /// sent), another attempt would only come on top.
    pub const fn by_rejection(rejection: &Rejection) -> Self {
        match rejection.reason() {
            Reason::TotalTimeout
            | Reason::DeadlineExceeded
            | Reason::DeadlineTooClose
            | Reason::Closed
            | Reason::TooHeavy
            | Reason::BulkheadFull
            | Reason::QueueFull
            | Reason::QueueTimeout
            | Reason::Overloaded
            | Reason::Throttled
            | Reason::PoolTimeout => Self::new(Advice::Stop),
            _ if rejection.may_have_been_sent() => Self::new(Advice::IfIdempotent),
            _ => Self::new(Advice::Again).with_hint(Hint::Refused(rejection.retry_after())),
        }
    }

    /// The other side answered, and perhaps asked for a wait, or not to be asked again.
    pub(crate) const fn by_answer(advice: Advice, verdict: Verdict) -> Self {
        let hint = match verdict.retry_after {
            _ if verdict.do_not_retry => Hint::Remote(Duration::MAX),
            None => Hint::Nothing,
            Some(wait) => Hint::Remote(wait),
        };
        Self { advice, hint, overload: matches!(verdict.class, Class::Overload) }
    }

    /// How an attempt ended, for the retry and for everybody else.
    #[inline]
    pub(crate) fn judge<E, W, Res, Err>(env: &E, when: &W, result: &Result<Res, Err>) -> (Self, Outcome)
    where
        E: Classify<Res, Err::Remote>,
        W: RetryWhen<Res, Err::Remote>,
        Err: CarryRejection,
    {
        let answer = match result {
            Ok(response) => Ok(response),
            Err(error) => match error.split() {
                Ok(remote) => Err(remote),
                Err(rejection) => return (Self::by_rejection(rejection), Outcome::of_rejection(rejection)),
            },
        };
        let verdict = env.classify(answer);
        let advice = when.advise(verdict, answer);
        (Self::by_answer(advice, verdict), Outcome::Finished(verdict.class))
    }
}

use seawall_core::{CarryRejection, Class, Outcome, Reason, Rejection, Verdict};

/// What the outcome of a call means.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the other side answered, or a layer refused: there is no third")]
pub enum Cause {
    /// The other side answered, and the environment's classifier judged it so.
    Answered(Verdict),
    /// A layer further in refused or cut the call.
    Rejected(Rejection),
}

impl Cause {
    /// The name as it stands in headers: a class (`failure`), or the reason of a rejection (`circuit_open`).
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Answered(verdict) => Outcome::Finished(verdict.class).as_str(),
            Self::Rejected(rejection) => rejection.reason().as_str(),
        }
    }

    /// The cause of an error, which may carry a rejection.
    pub(crate) fn of_error<Err: CarryRejection>(error: &Err, classify: impl FnOnce(&Err::Remote) -> Verdict) -> Self {
        match error.split() {
            Ok(remote) => Self::Answered(classify(remote)),
            Err(rejection) => Self::Rejected(*rejection),
        }
    }
}

/// Which outcomes are not good enough, so that an alternative answers.
///
/// Any `Fn(Cause, Result<&Response, &Error>) -> bool` is one, where the error is the stack's, rejections included:
///
/// ```
/// use seawall_core::{Error, Reason, Rejection, Pattern};
/// use seawall_fallback::{Cause, FallbackWhen};
///
/// let only_an_open_circuit = |cause: Cause, _: Result<&(), &Error<()>>| {
///     matches!(cause, Cause::Rejected(rejection) if rejection.reason() == Reason::CircuitOpen)
/// };
/// let open = Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen);
/// assert!(only_an_open_circuit.applies(Cause::Rejected(open), Err(&Error::Rejected(open))));
/// ```
pub trait FallbackWhen<Res, Err> {
    /// Whether an alternative is to answer.
    fn applies(&self, cause: Cause, outcome: Result<&Res, &Err>) -> bool;
}

/// The default: failures, overload, and refusals by layers. Not what is the caller's own doing: answers judged as
/// [`Class::Ignored`], a quota that is used up, a call that weighs too much.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ByClass;

impl<Res, Err> FallbackWhen<Res, Err> for ByClass {
    #[inline]
    fn applies(&self, cause: Cause, _: Result<&Res, &Err>) -> bool {
        match cause {
            Cause::Answered(verdict) => matches!(verdict.class, Class::Failure | Class::Overload),
            Cause::Rejected(rejection) => !matches!(rejection.reason(), Reason::RateLimited | Reason::TooHeavy),
        }
    }
}

impl<F, Res, Err> FallbackWhen<Res, Err> for F
where
    F: for<'a> Fn(Cause, Result<&'a Res, &'a Err>) -> bool,
{
    #[inline]
    fn applies(&self, cause: Cause, outcome: Result<&Res, &Err>) -> bool {
        self(cause, outcome)
    }
}

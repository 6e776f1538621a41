use crate::{Reason, Rejection};

/// What an answer says about the other side.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// It works.
    Success,
    /// It is broken.
    Failure,
    /// It says that it has too much to do. Not a failure by default: a breaker that opens on it turns a short overload
    /// into a long outage.
    Overload,
    /// Nothing: the caller's own mistake, or a call that never reached it.
    Ignored,
}

/// How a call ended. Every call that was admitted ends in exactly one of these.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered.
    Finished(Class),
    /// A timeout cut it, further in or further out.
    TimedOut,
    /// The deadline that it brought along passed: it had as much time as its caller had left, which says little about the
    /// other side.
    DeadlineExceeded,
    /// Its future was dropped before it had an answer: its caller has gone.
    Cancelled,
    /// The service panicked.
    Panicked,
}

impl Outcome {
    /// The name as it stands in metrics: `timed_out`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished(Class::Success) => "success",
            Self::Finished(Class::Failure) => "failure",
            Self::Finished(Class::Overload) => "overload",
            Self::Finished(Class::Ignored) => "ignored",
            Self::TimedOut => "timed_out",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
        }
    }

    /// How a call ended that a layer further in refused or cut: it never counts against the other side, except that a
    /// call cut by a timeout, or at its deadline, counts as that.
    #[inline]
    pub const fn of_rejection(rejection: &Rejection) -> Self {
        match rejection.reason() {
            Reason::DeadlineExceeded => Self::DeadlineExceeded,
            reason if reason.is_timeout() => Self::TimedOut,
            _ => Self::Finished(Class::Ignored),
        }
    }
}

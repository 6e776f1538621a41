use std::fmt;

use crate::Rejection;

/// Any error, as tower's `Buffer` and many clients give it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a whole stack: the service's own, or a rejection by one of the layers. It does not nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller tells the two apart; there is no third")]
pub enum Error<E> {
    /// The service answered with an error of its own.
    Inner(E),
    /// A layer refused or cut the call.
    Rejected(Rejection),
}

impl<E> Error<E> {
    /// The rejection, if a layer refused or cut the call.
    pub const fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Inner(_) => None,
            Self::Rejected(rejection) => Some(rejection),
        }
    }

    /// The service's own error, if it was that.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }
}

impl<E> From<Rejection> for Error<E> {
    #[inline]
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Rejected(rejection) => rejection.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inner(error) => error.source(),
            Self::Rejected(_) => None,
        }
    }
}

/// What layers ask of a service's error: to carry a rejection, and to tell it from a failure over there.
///
/// [`Error`] and [`BoxError`] do. For an error type of your own:
///
/// ```
/// use seawall_core::{CarryRejection, Rejection};
///
/// enum MyError {
///     Disk(std::io::Error),
///     Rejected(Rejection),
/// }
///
/// impl From<Rejection> for MyError {
///     fn from(rejection: Rejection) -> Self {
///         Self::Rejected(rejection)
///     }
/// }
///
/// impl CarryRejection for MyError {
///     type Remote = std::io::Error;
///
///     fn split(&self) -> Result<&std::io::Error, &Rejection> {
///         match self {
///             Self::Disk(error) => Ok(error),
///             Self::Rejected(rejection) => Err(rejection),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a seawall rejection",
    label = "the error of the service under a seawall layer",
    note = "put `WrapErrorLayer` innermost, or use the layer's `.protect(service)`, which does",
    note = "under axum, whose services have no errors, put `RespondLayer` of seawall-http outermost as well"
)]
pub trait CarryRejection: From<Rejection> {
    /// What the other side answered with; classifiers see this.
    type Remote: ?Sized;

    /// The other side's error, or the rejection of a layer.
    ///
    /// # Errors
    /// The rejection, when a layer refused or cut the call.
    fn split(&self) -> Result<&Self::Remote, &Rejection>;
}

impl<E> CarryRejection for Error<E> {
    type Remote = E;

    #[inline]
    fn split(&self) -> Result<&E, &Rejection> {
        match self {
            Self::Inner(error) => Ok(error),
            Self::Rejected(rejection) => Err(rejection),
        }
    }
}

impl CarryRejection for BoxError {
    type Remote = dyn std::error::Error + Send + Sync;

    fn split(&self) -> Result<&Self::Remote, &Rejection> {
        self.downcast_ref::<Rejection>().map_or(Ok(&**self), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pattern, Reason};

    #[test]
    fn a_boxed_rejection_is_told_from_a_boxed_failure() {
        let rejection = Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull);

        let refused = BoxError::from(rejection);
        let failed: BoxError = "disk".into();

        assert_eq!(refused.split().err(), Some(&rejection));
        assert_eq!(failed.split().map(ToString::to_string).ok(), Some("disk".to_owned()));
    }

    #[test]
    fn the_text_is_that_of_the_cause_and_the_source_not_again_the_cause() {
        let error = Error::Inner(std::io::Error::other("disk"));

        assert_eq!(error.to_string(), "disk");
        assert!(std::error::Error::source(&error).is_none());
    }
}

use std::{fmt, time::Duration};

use seawall_core::{CarryRejection, Rejection, Span};

/// The service's error, and that of its fallback where it failed too. Both are kept as they are.
///
/// It carries rejections as the service's error does: layers outside see that one. It takes no more room than that where
/// the fallback cannot fail.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FallbackError<E, F> {
    primary: E,
    fallback: Option<F>,
}

impl<E, F> FallbackError<E, F> {
    /// An error of the service, for which no alternative stood in.
    #[inline]
    pub const fn new(primary: E) -> Self {
        Self { primary, fallback: None }
    }

    /// With the error of the alternative, which failed as well.
    #[must_use]
    pub fn with_fallback(mut self, fallback: F) -> Self {
        self.fallback = Some(fallback);
        self
    }

    /// The service's error.
    pub const fn primary(&self) -> &E {
        &self.primary
    }

    /// How the alternative failed, if one was asked and did.
    pub const fn fallback(&self) -> Option<&F> {
        self.fallback.as_ref()
    }

    /// Both.
    pub fn into_parts(self) -> (E, Option<F>) {
        (self.primary, self.fallback)
    }
}

impl<E: From<Rejection>, F> From<Rejection> for FallbackError<E, F> {
    #[inline]
    fn from(rejection: Rejection) -> Self {
        Self::new(rejection.into())
    }
}

impl<E: CarryRejection, F> CarryRejection for FallbackError<E, F> {
    type Remote = E::Remote;

    #[inline]
    fn split(&self) -> Result<&E::Remote, &Rejection> {
        self.primary.split()
    }
}

impl<E: fmt::Display, F: fmt::Display> fmt::Display for FallbackError<E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.primary.fmt(f)?;
        self.fallback.as_ref().map_or(Ok(()), |fallback| write!(f, "; its fallback failed too: {fallback}"))
    }
}

impl<E: std::error::Error, F: fmt::Debug + fmt::Display> std::error::Error for FallbackError<E, F> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.primary.source()
    }
}

/// Settings of the last good responses that make no sense.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LastGoodError {
    /// Nothing could be kept.
    #[error("max_entries is 0; allowed are 1 and more")]
    MaxEntries,
    /// Nothing is as light as that.
    #[error("max_weight is 0; allowed are 1 and more")]
    MaxWeight,
    /// Everything would be too old at once.
    #[error("max_age is {}; allowed is any time above 0s", Span::exact(*max_age))]
    MaxAge {
        /// The value given.
        max_age: Duration,
    },
}

seawall_core::debug_as_text!(LastGoodError);

/// [`Bounds`](crate::Bounds) that make no sense.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BoundsError {
    /// Nothing is done in no time.
    #[error("limit is 0s; allowed is any time above 0s")]
    Limit,
    /// The share is not above 0 and at most 1.
    #[error("share is {share}; allowed are numbers above 0, up to 1")]
    Share {
        /// The value given.
        share: f64,
    },
    /// Nobody could be helped out.
    #[error("places is 0; allowed are 1 and more")]
    Places,
}

seawall_core::debug_as_text!(BoundsError);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use seawall_core::Error;

    use super::*;

    #[test]
    fn an_error_beside_a_fallback_that_cannot_fail_takes_no_more_room() {
        type Plain = Error<std::io::Error>;

        assert_eq!(size_of::<FallbackError<Plain, Infallible>>(), size_of::<Plain>());
    }

    #[test]
    fn the_text_tells_both_errors() {
        let alone = FallbackError::<_, &str>::new("down");

        assert_eq!(alone.to_string(), "down");
        assert_eq!(alone.with_fallback("empty").to_string(), "down; its fallback failed too: empty");
    }
}

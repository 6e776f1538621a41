use std::time::Duration;

use crate::BoundsError;

/// How many calls one alternative helps out at the same time, unless told otherwise.
const PLACES: u32 = 10;
/// How long it may take, unless told otherwise: the caller has waited for the service already.
const LIMIT: Duration = Duration::from_secs(1);

/// How long an alternative may take, and for how many calls at the same time. What helps out must not become the next
/// thing that hangs, nor take down what it leans on.
///
/// ```
/// use seawall_fallback::Bounds;
/// use std::time::Duration;
///
/// let half_of_what_is_left = Bounds::new(Duration::from_millis(200))?.with_share(0.5)?.with_places(50)?;
/// assert_eq!(half_of_what_is_left.places(), 50);
/// assert_eq!(Bounds::new(Duration::ZERO).unwrap_err().to_string(), "limit is 0s; allowed is any time above 0s");
/// # Ok::<(), seawall_fallback::BoundsError>(())
/// ```
///
/// # Source
/// Hystrix's fallback semaphore, of ten.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Bounds {
    limit: Duration,
    share: f64,
    places: u32,
}

impl Bounds {
    /// At most `limit` for each call, less where the [inherited deadline](seawall_core::inherited_deadline) is nearer, and
    /// ten calls at the same time. [`Duration::MAX`]: the deadline alone.
    ///
    /// # Errors
    /// `limit` is 0.
    pub const fn new(limit: Duration) -> Result<Self, BoundsError> {
        if limit.is_zero() {
            return Err(BoundsError::Limit);
        }
        Ok(Self { limit, share: 1.0, places: PLACES })
    }

    /// At most this share of the time that is left until the inherited deadline, so that something is left for the next
    /// alternative. Above 0, up to 1; default 1.
    ///
    /// # Errors
    /// A share outside its range.
    pub fn with_share(mut self, share: f64) -> Result<Self, BoundsError> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(BoundsError::Share { share });
        }
        self.share = share;
        Ok(self)
    }

    /// At most so many calls at the same time; one more is not helped out. 1 and more, default 10.
    ///
    /// # Errors
    /// `places` is 0.
    pub const fn with_places(mut self, places: u32) -> Result<Self, BoundsError> {
        if places == 0 {
            return Err(BoundsError::Places);
        }
        self.places = places;
        Ok(self)
    }

    /// How many calls are helped out at the same time.
    pub const fn places(&self) -> u32 {
        self.places
    }

    /// How long a call may be helped out that has `left` until its deadline.
    pub(crate) fn slice(&self, left: Option<Duration>) -> Duration {
        left.map_or(self.limit, |left| left.mul_f64(self.share).min(self.limit))
    }
}

impl Default for Bounds {
    /// A second each, ten calls at the same time.
    fn default() -> Self {
        Self { limit: LIMIT, share: 1.0, places: PLACES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_of_limit_and_share_of_what_is_left_counts() {
        let bounds = Bounds::new(Duration::from_secs(2)).unwrap().with_share(0.5).unwrap();
        let slice = |left: u64| bounds.slice(Some(Duration::from_secs(left)));

        assert_eq!((slice(3), slice(5)), (Duration::from_millis(1_500), Duration::from_secs(2)));
        assert_eq!(bounds.slice(None), Duration::from_secs(2));
        assert_eq!(bounds.slice(Some(Duration::MAX)), Duration::from_secs(2));
    }

    #[test]
    fn bounds_that_make_no_sense_are_refused() {
        let bounds = Bounds::new(Duration::MAX).unwrap();

        assert_eq!(Bounds::new(Duration::ZERO), Err(BoundsError::Limit));
        assert_eq!(bounds.with_places(0), Err(BoundsError::Places));
        for share in [0.0, -0.5, 1.001, f64::NAN] {
            assert!(matches!(bounds.with_share(share), Err(BoundsError::Share { .. })), "{share}");
        }
    }

    #[test]
    fn the_defaults_are_these() {
        let bounds = Bounds::new(Duration::from_secs(1)).unwrap();

        assert_eq!(format!("{bounds:?}"), "Bounds { limit: 1s, share: 1.0, places: 10 }");
        assert_eq!(Bounds::default(), bounds);
    }
}

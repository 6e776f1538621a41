use crate::{BulkheadError, places::MAX_LIMIT};

/// Resilience4j's default, and close to what one instance of a service usually keeps busy.
const DEFAULT_MAX_CONCURRENT: u32 = 25;

/// How many calls a [`Bulkhead`](crate::Bulkhead) lets through at once.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, BulkheadError};
///
/// assert_eq!(BulkheadConfig::new(8)?.max_concurrent(), 8);
/// assert_eq!(BulkheadConfig::new(0), Err(BulkheadError::MaxConcurrent { max_concurrent: 0 }));
/// # Ok::<(), BulkheadError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawBulkhead", into = "RawBulkhead"))]
pub struct BulkheadConfig {
    max_concurrent: u32,
}

impl BulkheadConfig {
    /// `max_concurrent` places, at least 1. Anything above 2³¹ − 1 is as good as no limit and is taken as that.
    ///
    /// # Errors
    /// [`BulkheadError::MaxConcurrent`] when it is 0: a bulkhead that lets nothing through is a closed one.
    pub fn new(max_concurrent: usize) -> Result<Self, BulkheadError> {
        let limit = u32::try_from(max_concurrent).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        if limit == 0 {
            return Err(BulkheadError::MaxConcurrent { max_concurrent });
        }
        Ok(Self { max_concurrent: limit })
    }

    /// The number of places. Default 25.
    pub const fn max_concurrent(&self) -> u32 {
        self.max_concurrent
    }
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self { max_concurrent: DEFAULT_MAX_CONCURRENT }
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawBulkhead {
    pub(crate) max_concurrent: usize,
}

#[cfg(feature = "serde")]
impl Default for RawBulkhead {
    fn default() -> Self {
        BulkheadConfig::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<BulkheadConfig> for RawBulkhead {
    fn from(config: BulkheadConfig) -> Self {
        Self { max_concurrent: usize::try_from(config.max_concurrent).unwrap_or(usize::MAX) }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawBulkhead> for BulkheadConfig {
    type Error = BulkheadError;

    fn try_from(raw: RawBulkhead) -> Result<Self, BulkheadError> {
        Self::new(raw.max_concurrent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_this() {
        assert_eq!(format!("{:?}", BulkheadConfig::default()), "BulkheadConfig { max_concurrent: 25 }");
    }

    #[test]
    fn the_largest_limit_is_as_good_as_none() {
        assert_eq!(BulkheadConfig::new(usize::MAX).map(|config| config.max_concurrent()), Ok(MAX_LIMIT));
    }
}

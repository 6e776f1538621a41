use std::time::Duration;

use crate::{builder::BreakerConfigBuilder, error::BreakerConfigError};

/// Over which results the ratios are taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Window {
    /// The last so many results, exactly. 1 to 65,535; each takes 8 to 16 bytes. [`Window::Time`] holds any number
    /// of them.
    Calls(u32),
    /// The results of so many seconds of the clock, the current one included. Whole seconds, 1 s to 1 h; each takes 8 to
    /// 16 bytes per core.
    Time(#[cfg_attr(feature = "serde", serde(with = "humantime_serde"))] Duration),
}

/// What a call counts as that brought neither an answer nor a failure.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CountAs {
    /// A success.
    Success,
    /// A success that took too long, however long it took.
    Slow,
    /// A failure.
    Failure,
    /// No result at all; a probe gives its place back, however often that happens.
    Nothing,
}

/// Valid settings of a [`Breaker`](crate::Breaker): the defaults, or what [`BreakerConfig::builder`] has checked.
///
/// ```
/// use seawall_circuit_breaker::{BreakerConfig, Window};
/// use std::time::Duration;
///
/// let config = BreakerConfig::builder()
///     .window(Window::Calls(100))
///     .failure_ratio(0.3)
///     .slow_after(Duration::from_millis(800))
///     .open_for(Duration::from_secs(2))
///     .build()?;
/// assert_eq!(config.window(), Window::Calls(100));
///
/// let error = BreakerConfig::builder().probes(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "probes is 0; allowed are 1 to 255");
/// # Ok::<(), seawall_circuit_breaker::BreakerConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "BreakerConfigBuilder", into = "BreakerConfigBuilder"))]
pub struct BreakerConfig {
    pub(crate) valid: BreakerConfigBuilder,
}

impl BreakerConfig {
    /// Settings to change; each starts with its default.
    pub fn builder() -> BreakerConfigBuilder {
        BreakerConfigBuilder::default()
    }

    /// The same settings, to change some of them.
    pub fn to_builder(&self) -> BreakerConfigBuilder {
        self.valid.clone()
    }

    /// Over which results the ratios are taken.
    pub const fn window(&self) -> Window {
        self.valid.window
    }
}

impl TryFrom<BreakerConfigBuilder> for BreakerConfig {
    type Error = BreakerConfigError;

    fn try_from(builder: BreakerConfigBuilder) -> Result<Self, BreakerConfigError> {
        builder.build()
    }
}

impl From<BreakerConfig> for BreakerConfigBuilder {
    fn from(config: BreakerConfig) -> Self {
        config.valid
    }
}

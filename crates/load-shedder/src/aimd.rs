use std::time::Duration;

use crate::{LimitAlgorithm, LimitRange, LoadShedderError, Sampling, Window};

/// How an [`Aimd`] limit moves.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Raw", into = "Raw"))]
pub struct AimdConfig {
    range: LimitRange,
    backoff_ratio: f64,
    timeout: Duration,
    sampling: Sampling,
}

impl AimdConfig {
    /// A limit within `range`. Default: 20 to 200, first 20.
    #[must_use]
    pub const fn with_range(mut self, range: LimitRange) -> Self {
        self.range = range;
        self
    }

    /// What a drop multiplies the limit with. Allowed: .5 to .99, default .9.
    ///
    /// # Errors
    /// [`LoadShedderError::BackoffRatio`] outside that range.
    pub fn with_backoff_ratio(mut self, backoff_ratio: f64) -> Result<Self, LoadShedderError> {
        if !(0.5..=0.99).contains(&backoff_ratio) {
            return Err(LoadShedderError::BackoffRatio { backoff_ratio });
        }
        self.backoff_ratio = backoff_ratio;
        Ok(self)
    }

    /// A longer latency counts as a drop. Allowed: any time above zero; default 5 s.
    ///
    /// # Errors
    /// [`LoadShedderError::Timeout`] when it is zero.
    pub const fn with_timeout(mut self, timeout: Duration) -> Result<Self, LoadShedderError> {
        if timeout.is_zero() {
            return Err(LoadShedderError::Timeout { timeout });
        }
        self.timeout = timeout;
        Ok(self)
    }

    /// What of a window's samples counts as its latency, and when a window ends. Default: the mean, of at most 1,000.
    #[must_use]
    pub const fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }
}

impl Default for AimdConfig {
    fn default() -> Self {
        Self {
            range: LimitRange::of_constants(20, 20, 200),
            backoff_ratio: 0.9,
            timeout: Duration::from_secs(5),
            sampling: Sampling::default(),
        }
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    min_limit: u32,
    initial_limit: u32,
    max_limit: u32,
    backoff_ratio: f64,
    #[serde(with = "humantime_serde")]
    timeout: Duration,
    sampling: Sampling,
}

#[cfg(feature = "serde")]
impl Default for Raw {
    fn default() -> Self {
        AimdConfig::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<AimdConfig> for Raw {
    fn from(config: AimdConfig) -> Self {
        let AimdConfig { range, backoff_ratio, timeout, sampling } = config;
        Self {
            min_limit: range.min(),
            initial_limit: range.initial(),
            max_limit: range.max(),
            backoff_ratio,
            timeout,
            sampling,
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Raw> for AimdConfig {
    type Error = LoadShedderError;

    fn try_from(raw: Raw) -> Result<Self, LoadShedderError> {
        Self::default()
            .with_range(LimitRange::new(raw.min_limit, raw.initial_limit, raw.max_limit)?)
            .with_sampling(raw.sampling)
            .with_backoff_ratio(raw.backoff_ratio)?
            .with_timeout(raw.timeout)
    }
}

/// Additive increase, multiplicative decrease: one more while calls come back in time and at least half the limit is
/// used, a tenth less when one does not. It learns of an overload only when calls are lost to it; kept for comparison.
///
/// # Source
/// Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989; constants as in
/// Netflix' concurrency-limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aimd {
    config: AimdConfig,
    limit: f64,
}

impl Aimd {
    /// The limit before anything is known.
    pub fn new(config: AimdConfig) -> Self {
        Self { limit: config.range.initial().into(), config }
    }
}

impl LimitAlgorithm for Aimd {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn sampling(&self) -> Sampling {
        self.config.sampling
    }

    fn update(&mut self, window: &Window) {
        let late = window.latency() > Window::of_one(self.config.timeout, 0, false).mean;
        let next = if window.dropped > 0 || late {
            (self.limit * self.config.backoff_ratio).floor()
        } else if 2.0 * f64::from(window.max_in_flight) >= self.limit {
            self.limit + 1.0
        } else {
            self.limit
        };
        self.limit = self.config.range.clamp(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_server_teaches_nothing() {
        let mut aimd = Aimd::new(AimdConfig::default());

        for _ in 0..1_000 {
            aimd.update(&Window::of_one(Duration::from_millis(1), 3, false));
        }

        assert_eq!(aimd, Aimd::new(AimdConfig::default()));
    }

    #[test]
    fn a_decrease_that_is_none_is_refused() {
        for ratio in [0.0, 1.0, f64::NAN] {
            assert!(AimdConfig::default().with_backoff_ratio(ratio).is_err());
        }
    }
}

use std::time::Duration;

use crate::{LoadShedderError, WindowSize};

/// As many samples as the tally of one core can hold, with room for those that come while a window closes.
const MOST_SAMPLES: u32 = 50_000;
/// Where every call is quicker than what is left out, nothing is learnt.
const LONGEST_LEFT_OUT: Duration = Duration::from_secs(1);

/// What of a window's samples an algorithm takes for the latency, and when a window ends: a setting of
/// [`Aimd`](crate::Aimd), [`Vegas`](crate::Vegas) and [`Gradient2`](crate::Gradient2), and for algorithms of your own the
/// answer to [`LimitAlgorithm::sampling`](crate::LimitAlgorithm::sampling).
///
/// A quantile costs each call that is timed one more atomic addition, and each core 3.8 kB; the mean costs what it costs
/// without.
///
/// ```
/// use seawall_load_shedder::{LoadShedder, Sampling, Vegas, VegasConfig, WindowSize};
/// use std::time::Duration;
///
/// // As Netflix' `WindowedLimit` has it, with a percentile window.
/// let sampling = Sampling::default()
///     .with_quantile(0.9)?
///     .with_window(WindowSize { full: 50_000, enough: 10, at_most: Duration::from_secs(1) })?
///     .with_least_latency(Duration::from_micros(100))?;
/// let shedder = LoadShedder::with_algorithm(Vegas::new(VegasConfig::default().with_sampling(sampling)));
/// assert_eq!(shedder.limit(), 20);
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
///
/// # Source
/// `WindowedLimit` and its sample windows in Netflix' concurrency-limits.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Raw", into = "Raw"))]
pub struct Sampling {
    quantile: Option<f64>,
    least_latency: Duration,
    window: WindowSize,
}

impl Sampling {
    /// The latency that this share of a window's samples do not exceed, in place of their mean: .5 for the median, which a
    /// few dear calls do not move, .9 or .99 for a limit that heeds the slow ones. Allowed: .01 to .999. Default: the mean.
    ///
    /// It is within 1.6% of one of the samples, from 1 µs to 18 minutes. Of a window with fewer than 1 ÷ (1 − quantile) samples
    /// it is the slowest: ask for windows of more.
    ///
    /// # Errors
    /// [`LoadShedderError::Quantile`] outside that range.
    pub fn with_quantile(mut self, quantile: f64) -> Result<Self, LoadShedderError> {
        if !(0.01..=0.999).contains(&quantile) {
            return Err(LoadShedderError::Quantile { quantile });
        }
        self.quantile = Some(quantile);
        Ok(self)
    }

    /// When a window ends. Allowed: 1 ≤ `enough` ≤ `full` ≤ 50,000, and any time. Default: with 1,000 samples, or after a
    /// second once there are 10.
    ///
    /// # Errors
    /// [`LoadShedderError::Window`] outside that range.
    pub const fn with_window(mut self, window: WindowSize) -> Result<Self, LoadShedderError> {
        let WindowSize { full, enough, .. } = window;
        if enough == 0 || enough > full || full > MOST_SAMPLES {
            return Err(LoadShedderError::Window { full, enough });
        }
        self.window = window;
        Ok(self)
    }

    /// Calls that took less are no samples: what a cache or a check at the door answers says nothing of the server behind it.
    /// Allowed: up to 1 s. Default: 0 s, every call is one.
    ///
    /// # Errors
    /// [`LoadShedderError::LeastLatency`] above a second.
    pub fn with_least_latency(mut self, least_latency: Duration) -> Result<Self, LoadShedderError> {
        if least_latency > LONGEST_LEFT_OUT {
            return Err(LoadShedderError::LeastLatency { least_latency });
        }
        self.least_latency = least_latency;
        Ok(self)
    }

    /// The share of samples, or `None` for their mean.
    pub const fn quantile(&self) -> Option<f64> {
        self.quantile
    }

    /// When a window ends.
    pub const fn window(&self) -> WindowSize {
        self.window
    }

    /// The latency below which a call is no sample.
    pub const fn least_latency(&self) -> Duration {
        self.least_latency
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            quantile: None,
            least_latency: Duration::ZERO,
            window: WindowSize { full: 1_000, enough: 10, at_most: Duration::from_secs(1) },
        }
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    #[serde(skip_serializing_if = "Option::is_none")]
    quantile: Option<f64>,
    #[serde(with = "humantime_serde")]
    least_latency: Duration,
    full: u32,
    enough: u32,
    #[serde(with = "humantime_serde")]
    at_most: Duration,
}

#[cfg(feature = "serde")]
impl Default for Raw {
    fn default() -> Self {
        Sampling::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<Sampling> for Raw {
    fn from(sampling: Sampling) -> Self {
        let Sampling { quantile, least_latency, window: WindowSize { full, enough, at_most } } = sampling;
        Self { quantile, least_latency, full, enough, at_most }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Raw> for Sampling {
    type Error = LoadShedderError;

    fn try_from(raw: Raw) -> Result<Self, LoadShedderError> {
        let Raw { quantile, least_latency, full, enough, at_most } = raw;
        let sampling =
            Self::default().with_window(WindowSize { full, enough, at_most })?.with_least_latency(least_latency)?;
        quantile.map_or(Ok(sampling), |quantile| sampling.with_quantile(quantile))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        for quantile in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
            let refused = Sampling::default().with_quantile(quantile).unwrap_err();
            assert!(refused.to_string().ends_with("allowed are 0.01 to 0.999"), "{refused}");
        }
        for (full, enough) in [(0, 0), (10, 0), (10, 11), (50_001, 10)] {
            let window = WindowSize { full, enough, at_most: Duration::MAX };
            assert_eq!(Sampling::default().with_window(window), Err(LoadShedderError::Window { full, enough }));
        }
        let least_latency = Duration::from_millis(1_001);
        assert_eq!(
            Sampling::default().with_least_latency(least_latency),
            Err(LoadShedderError::LeastLatency { least_latency })
        );
    }
}

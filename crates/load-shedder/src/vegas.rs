use crate::{LimitAlgorithm, LimitRange, LoadShedderError, Sampling, Window};

/// The base latency is forgotten after this many times the limit in samples and this many windows, and taken from the next
/// window.
const DEFAULT_PROBE_MULTIPLIER: u32 = 30;
/// A queue of up to so many times the logarithm of the limit is too short, one above the other too long.
const SHORT_QUEUE: f64 = 3.0;
const LONG_QUEUE: f64 = 6.0;
/// Steps of the golden ratio spread what would otherwise keep time with the load.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// How a [`Vegas`] limit moves.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Raw", into = "Raw"))]
pub struct VegasConfig {
    range: LimitRange,
    smoothing: f64,
    probe_multiplier: u32,
    sampling: Sampling,
}

impl VegasConfig {
    /// A limit within `range`. Default: 1 to 1,000, first 20.
    #[must_use]
    pub const fn with_range(mut self, range: LimitRange) -> Self {
        self.range = range;
        self
    }

    /// How much of a new limit is taken over at once. Allowed: .001 to 1, default 1.
    ///
    /// # Errors
    /// [`LoadShedderError::Smoothing`] outside that range.
    pub fn with_smoothing(mut self, smoothing: f64) -> Result<Self, LoadShedderError> {
        if !(0.001..=1.0).contains(&smoothing) {
            return Err(LoadShedderError::Smoothing { smoothing });
        }
        self.smoothing = smoothing;
        Ok(self)
    }

    /// The base latency is measured anew after so many times the limit in samples, and so many windows at least, or after half of
    /// that. Allowed: 1 to 10,000, default 30.
    ///
    /// # Errors
    /// [`LoadShedderError::ProbeMultiplier`] outside that range.
    pub const fn with_probe_multiplier(mut self, probe_multiplier: u32) -> Result<Self, LoadShedderError> {
        if probe_multiplier == 0 || probe_multiplier > 10_000 {
            return Err(LoadShedderError::ProbeMultiplier { probe_multiplier });
        }
        self.probe_multiplier = probe_multiplier;
        Ok(self)
    }

    /// What of a window's samples counts as its latency, and when a window ends. Default: the mean, of at most 1,000.
    #[must_use]
    pub const fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }
}

impl Default for VegasConfig {
    fn default() -> Self {
        Self {
            range: LimitRange::of_constants(1, 20, 1_000),
            smoothing: 1.0,
            probe_multiplier: DEFAULT_PROBE_MULTIPLIER,
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
    smoothing: f64,
    probe_multiplier: u32,
    sampling: Sampling,
}

#[cfg(feature = "serde")]
impl Default for Raw {
    fn default() -> Self {
        VegasConfig::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<VegasConfig> for Raw {
    fn from(config: VegasConfig) -> Self {
        let VegasConfig { range, smoothing, probe_multiplier, sampling } = config;
        Self {
            min_limit: range.min(),
            initial_limit: range.initial(),
            max_limit: range.max(),
            smoothing,
            probe_multiplier,
            sampling,
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Raw> for VegasConfig {
    type Error = LoadShedderError;

    fn try_from(raw: Raw) -> Result<Self, LoadShedderError> {
        Self::default()
            .with_range(LimitRange::new(raw.min_limit, raw.initial_limit, raw.max_limit)?)
            .with_sampling(raw.sampling)
            .with_smoothing(raw.smoothing)?
            .with_probe_multiplier(raw.probe_multiplier)
    }
}

/// Reckons the queue in the server, limit × (1 − shortest ÷ current latency), and keeps it between three and six times
/// the logarithm of the limit. A base measured under load becomes the base; kept for comparison.
///
/// ```
/// use seawall_load_shedder::{LimitAlgorithm, Vegas, VegasConfig, Window};
///
/// let mut vegas = Vegas::new(VegasConfig::default());
/// vegas.update(&Window::new(100, 10e6, 1.0, 20));
/// vegas.update(&Window::new(100, 10e6, 1.0, 20));
/// assert_eq!(vegas.limit().round(), 28.0);
/// ```
///
/// # Source
/// Brakmo, O'Malley and Peterson, "TCP Vegas", SIGCOMM 1994; constants as in Netflix' concurrency-limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vegas {
    config: VegasConfig,
    limit: f64,
    base: Option<f64>,
    samples: f64,
    /// Between a half and one of the probe's gap.
    jitter: f64,
}

impl Vegas {
    /// The limit before anything is known.
    pub fn new(config: VegasConfig) -> Self {
        Self { limit: config.range.initial().into(), config, base: None, samples: 0.0, jitter: 0.5 }
    }

    fn base_is_old(&mut self, samples: u32) -> bool {
        self.samples += f64::from(samples);
        // Were windows not counted, one that holds more than that would only ever be taken for the base of the next.
        let lifetime = f64::from(self.config.probe_multiplier) * self.limit.max(f64::from(samples));
        let old = self.samples > self.jitter * lifetime;
        if old {
            self.samples = 0.0;
            self.jitter = 0.5 + (self.jitter - 0.5 + GOLDEN / 2.0) % 0.5;
        }
        old
    }
}

impl LimitAlgorithm for Vegas {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn sampling(&self) -> Sampling {
        self.config.sampling
    }

    fn update(&mut self, window: &Window) {
        let latency = window.latency();
        let step = self.limit.log10().max(1.0);
        if window.is_mostly_dropped() {
            // How long callers wait: no base.
            self.limit = self.config.range.clamp(self.limit - self.config.smoothing * step);
            return;
        }
        if self.base_is_old(window.samples) {
            self.base = None;
        }
        let Some(base) = self.base.filter(|base| latency >= *base) else {
            self.base = Some(latency);
            return;
        };
        let queue = (self.limit * (1.0 - base / latency)).ceil();
        let next = if window.dropped > 0 {
            self.limit - step
        } else if 2.0 * f64::from(window.max_in_flight) < self.limit {
            return;
        } else if queue <= step {
            self.limit + LONG_QUEUE * step
        } else if queue < SHORT_QUEUE * step {
            self.limit + step
        } else if queue > LONG_QUEUE * step {
            self.limit - step
        } else {
            return;
        };
        self.limit = self.config.range.clamp(self.limit + self.config.smoothing * (next - self.limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_stands_where_the_queue_is_short_but_not_empty() {
        // 16 workers of 10 ms: with more under way latency grows in proportion.
        let mut vegas = Vegas::new(VegasConfig::default().with_probe_multiplier(10_000).unwrap());
        vegas.update(&Window::new(100, 10e6, 1.0, 8));
        for _ in 0..200 {
            let latency = 10e6 * (vegas.limit() / 16.0).max(1.0);
            vegas.update(&Window::new(100, latency, 1.0, 1_000));
        }

        let queue = vegas.limit() - 16.0;
        let step = vegas.limit().log10();
        assert!((SHORT_QUEUE * step - 1.0..=LONG_QUEUE * step + 1.0).contains(&queue), "{vegas:?}");
    }

    #[test]
    fn windows_of_more_samples_than_a_base_lives_for_move_the_limit_too() {
        let mut vegas = Vegas::new(VegasConfig::default());

        for _ in 0..10 {
            vegas.update(&Window::new(1_000, 10e6, 1.0, 1_000));
        }

        assert!(vegas.limit() > 60.0, "{vegas:?}");
    }

    #[test]
    fn a_base_is_measured_anew_after_as_many_windows_as_the_multiplier_or_half_of_them() {
        let mut vegas = Vegas::new(VegasConfig::default().with_probe_multiplier(20).unwrap());
        vegas.update(&Window::new(1_000, 10e6, 1.0, 1));

        let lives = (1..100).find(|_| {
            vegas.update(&Window::new(1_000, 20e6, 1.0, 1));
            vegas.base == Some(20e6)
        });

        assert_eq!(lives, Some(10), "{vegas:?}");
    }

    #[test]
    fn a_base_lives_for_as_many_samples_as_the_limit_times_the_multiplier_or_half_of_them_where_windows_have_fewer() {
        let range = LimitRange::of_constants(1, 100, 1_000);
        let mut vegas = Vegas::new(VegasConfig::default().with_range(range).with_probe_multiplier(20).unwrap());
        vegas.update(&Window::new(10, 10e6, 1.0, 1));

        let lives = (1..1_000).find(|_| {
            vegas.update(&Window::new(10, 20e6, 1.0, 1));
            vegas.base == Some(20e6)
        });

        assert_eq!(lives, Some(100), "more than 1,000 samples: {vegas:?}");
    }

    #[test]
    fn drops_lower_the_limit_and_numbers_that_are_none_keep_it_within_its_range() {
        let mut vegas = Vegas::new(VegasConfig::default());
        for latency in [0.0, f64::NAN, f64::INFINITY, -1.0] {
            for _ in 0..100 {
                vegas.update(&Window::new(10, latency, f64::NAN, 0).with_dropped(1));
                assert!((1.0..=1_000.0).contains(&vegas.limit()), "{vegas:?}");
            }
        }
        assert!(vegas.limit() < 20.0);
    }
}

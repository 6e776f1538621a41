use crate::{LimitAlgorithm, LimitRange, LoadShedderError, Sampling, Window};

/// The long average starts as the plain mean of this many windows.
const WARM_UP: u32 = 10;
/// A long average above this many times the latency of the hour is out of date, and sinks faster.
const STALE: f64 = 2.0;
const STALE_DECAY: f64 = 0.95;
/// One window leaves this part of the limit at least, before smoothing.
const STEEPEST: f64 = 0.5;

/// How a [`Gradient2`] limit moves.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Raw", into = "Raw"))]
pub struct Gradient2Config {
    range: LimitRange,
    smoothing: f64,
    tolerance: f64,
    long_window: u32,
    queue_size: u32,
    sampling: Sampling,
}

impl Gradient2Config {
    /// A limit within `range`. Default: 20 to 200, first 20.
    #[must_use]
    pub const fn with_range(mut self, range: LimitRange) -> Self {
        self.range = range;
        self
    }

    /// How much of a new limit is taken over at once. Allowed: .001 to 1, default .2.
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

    /// The latency may be so many times the long average before the limit sinks. Allowed: 1 to 10, default 1.5.
    ///
    /// # Errors
    /// [`LoadShedderError::Tolerance`] outside that range.
    pub fn with_tolerance(mut self, tolerance: f64) -> Result<Self, LoadShedderError> {
        if !(1.0..=10.0).contains(&tolerance) {
            return Err(LoadShedderError::Tolerance { tolerance });
        }
        self.tolerance = tolerance;
        Ok(self)
    }

    /// The span of the long average, in windows. Allowed: 10 to 1,000,000, default 600.
    ///
    /// # Errors
    /// [`LoadShedderError::LongWindow`] outside that range.
    pub const fn with_long_window(mut self, long_window: u32) -> Result<Self, LoadShedderError> {
        if long_window < 10 || long_window > 1_000_000 {
            return Err(LoadShedderError::LongWindow { long_window });
        }
        self.long_window = long_window;
        Ok(self)
    }

    /// How many calls may queue in the server. Allowed: 1 to 1,000, default 4.
    ///
    /// # Errors
    /// [`LoadShedderError::QueueSize`] outside that range.
    pub const fn with_queue_size(mut self, queue_size: u32) -> Result<Self, LoadShedderError> {
        if queue_size == 0 || queue_size > 1_000 {
            return Err(LoadShedderError::QueueSize { queue_size });
        }
        self.queue_size = queue_size;
        Ok(self)
    }

    /// What of a window's samples counts as its latency, and when a window ends. Default: the mean, of at most 1,000.
    #[must_use]
    pub const fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }
}

impl Default for Gradient2Config {
    fn default() -> Self {
        Self {
            range: LimitRange::of_constants(20, 20, 200),
            smoothing: 0.2,
            tolerance: 1.5,
            long_window: 600,
            queue_size: 4,
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
    tolerance: f64,
    long_window: u32,
    queue_size: u32,
    sampling: Sampling,
}

#[cfg(feature = "serde")]
impl Default for Raw {
    fn default() -> Self {
        Gradient2Config::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<Gradient2Config> for Raw {
    fn from(config: Gradient2Config) -> Self {
        let Gradient2Config { range, smoothing, tolerance, long_window, queue_size, sampling } = config;
        Self {
            min_limit: range.min(),
            initial_limit: range.initial(),
            max_limit: range.max(),
            smoothing,
            tolerance,
            long_window,
            queue_size,
            sampling,
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Raw> for Gradient2Config {
    type Error = LoadShedderError;

    fn try_from(raw: Raw) -> Result<Self, LoadShedderError> {
        Self::default()
            .with_range(LimitRange::new(raw.min_limit, raw.initial_limit, raw.max_limit)?)
            .with_sampling(raw.sampling)
            .with_smoothing(raw.smoothing)?
            .with_tolerance(raw.tolerance)?
            .with_long_window(raw.long_window)?
            .with_queue_size(raw.queue_size)
    }
}

/// Compares the latency of each window with a long average of it. A lasting overload becomes the average, and the limit follows
/// it up to the highest: set that to what the server bears. Kept for comparison.
///
/// A window in which calls were cut never raises the limit, whatever their latencies say: timeouts that last become the average,
/// too. Of a window in which a part was cut it keeps the other part, and what may queue, so that few lost callers do not bring
/// it down: with a queue of 4, one call in a hundred at a limit of 400. A window in which most were cut halves it, before smoothing,
/// and says nothing of the latency.
///
/// ```
/// use seawall_load_shedder::{Gradient2, Gradient2Config, LimitAlgorithm, Window};
///
/// let mut gradient2 = Gradient2::new(Gradient2Config::default());
/// for _ in 0..100 {
///     gradient2.update(&Window::new(100, 50e6, 1.0, 1_000).with_dropped(30));
/// }
/// assert_eq!(gradient2.limit(), 20.0, "the lowest");
/// ```
///
/// # Source
/// The algorithm of that name in Netflix' concurrency-limits, which does not look at what was cut: its issue 137.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gradient2 {
    config: Gradient2Config,
    limit: f64,
    long: f64,
    windows: u32,
}

impl Gradient2 {
    /// The limit before anything is known.
    pub fn new(config: Gradient2Config) -> Self {
        Self { limit: config.range.initial().into(), config, long: 0.0, windows: 0 }
    }

    /// Adds to the long average and returns it.
    fn average(&mut self, latency: f64) -> f64 {
        if self.windows < WARM_UP {
            let before = f64::from(self.windows);
            self.windows = self.windows.saturating_add(1);
            self.long = (self.long * before + latency) / (before + 1.0);
        } else {
            let factor = 2.0 / (f64::from(self.config.long_window) + 1.0);
            self.long = self.long * (1.0 - factor) + latency * factor;
        }
        self.long
    }
}

impl LimitAlgorithm for Gradient2 {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn sampling(&self) -> Sampling {
        self.config.sampling
    }

    fn update(&mut self, window: &Window) {
        if window.is_mostly_dropped() {
            // How long callers wait, which in the average would look steady.
            self.limit = self.config.range.clamp(self.limit * (1.0 - self.config.smoothing * (1.0 - STEEPEST)));
            return;
        }
        let latency = window.latency();
        let long = self.average(latency);
        if long / latency > STALE {
            self.long *= STALE_DECAY;
        }
        if f64::from(window.max_in_flight) < self.limit / 2.0 {
            return;
        }
        let gradient = (self.config.tolerance * long / latency).min(window.kept()).clamp(STEEPEST, 1.0);
        let highest = if window.dropped == 0 { f64::INFINITY } else { self.limit };
        let next = (self.limit * gradient + f64::from(self.config.queue_size)).min(highest);
        let smoothed = self.limit * (1.0 - self.config.smoothing) + next * self.config.smoothing;
        self.limit = self.config.range.clamp(smoothed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: f64 = 1e6;

    fn starting_at(limit: u32) -> Gradient2 {
        Gradient2::new(Gradient2Config::default().with_range(LimitRange::of_constants(2, limit, 1_000)))
    }

    /// The limit after so many windows, all of whose limit is used and of whose calls a part is cut, in hundredths.
    fn after(mut gradient2: Gradient2, windows: u32, cut: u32) -> f64 {
        for _ in 0..windows {
            gradient2.update(&Window::new(100, 50.0 * MS, 1.0, 1_000).with_dropped(cut));
        }
        gradient2.limit()
    }

    #[test]
    fn a_part_of_timeouts_that_lasts_brings_the_limit_down_however_steady_it_looks() {
        for cut in [20, 35, 50] {
            let limit = after(starting_at(200), 200, cut);

            // Where as much is cut as may queue.
            let stands = 400.0 / f64::from(cut);
            assert!((limit - stands).abs() < 1.0, "{cut} in 100: {limit}");
        }
    }

    #[test]
    fn no_window_with_timeouts_raises_the_limit_and_few_of_them_do_not_lower_it() {
        assert!((after(starting_at(100), 100, 1) - 100.0).abs() < 1e-9);
        assert!(after(starting_at(100), 100, 0) > 150.0);
    }

    #[test]
    fn a_window_of_timeouts_leaves_nine_tenths_of_the_limit() {
        for cut in [51, 100] {
            assert!((after(starting_at(100), 1, cut) - 90.0).abs() < 1e-9, "{cut} in 100");
        }
    }

    /// Feeds so many windows of a latency, all of whose limit is used.
    fn feed(gradient2: &mut Gradient2, windows: u32, millis: f64) {
        for _ in 0..windows {
            gradient2.update(&Window::new(100, millis * MS, 1.0, 1_000));
        }
    }

    /// Whether one window of this latency lowers the limit.
    fn is_lowered_by(gradient2: &mut Gradient2, millis: f64) -> bool {
        let before = gradient2.limit();
        feed(gradient2, 1, millis);
        gradient2.limit() < before
    }

    #[test]
    fn a_server_that_became_quick_is_soon_no_longer_measured_by_how_slow_it_was() {
        let mut gradient2 = starting_at(100);
        feed(&mut gradient2, 20, 100.0);
        assert!(!is_lowered_by(&mut { gradient2 }, 40.0), "quicker than it was: {gradient2:?}");

        feed(&mut gradient2, 50, 10.0);

        // A twelfth of the long window.
        assert!(is_lowered_by(&mut gradient2, 40.0), "four times as slow as it has become: {gradient2:?}");
    }

    #[test]
    fn how_long_callers_wait_in_windows_of_timeouts_is_not_taken_for_the_servers_latency() {
        for known in [5, 20] {
            let mut gradient2 = starting_at(100);
            feed(&mut gradient2, known, 10.0);
            for _ in 0..5 {
                gradient2.update(&Window::new(100, 10_000.0 * MS, 1.0, 1_000).with_dropped(51));
            }

            assert!(is_lowered_by(&mut gradient2, 40.0), "after {known} windows: {gradient2:?}");
        }
    }

    #[test]
    fn a_window_however_slow_leaves_half_of_the_limit_before_smoothing() {
        let mut gradient2 = starting_at(100);
        for _ in 0..20 {
            gradient2.update(&Window::new(100, 10.0 * MS, 1.0, 49));
        }
        assert!((gradient2.limit() - 100.0).abs() < 1e-9, "less than half was in use: {gradient2:?}");

        gradient2.update(&Window::new(100, 10_000.0 * MS, 1.0, 50));

        assert!((gradient2.limit() - (0.8 * 100.0 + 0.2 * (50.0 + 4.0))).abs() < 1e-9, "{gradient2:?}");
    }
}

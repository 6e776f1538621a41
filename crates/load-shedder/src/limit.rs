use std::time::Duration;

use crate::{LoadShedderError, Sampling};

/// The largest limit that a shedder can have: 16 bits of its word.
pub(crate) const MAX_LIMIT: u32 = 65_535;

/// 31 years, in nanoseconds.
const LONGEST: f64 = 1e18;

/// What a limit may be: lowest, first and highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRange {
    min: u32,
    initial: u32,
    max: u32,
}

impl LimitRange {
    /// A range in which `1 ≤ min ≤ initial ≤ max ≤ 65,535`. A limit of 0 could never learn that the server has
    /// recovered.
    ///
    /// # Errors
    /// [`LoadShedderError::Limits`] otherwise.
    pub const fn new(min: u32, initial: u32, max: u32) -> Result<Self, LoadShedderError> {
        if 1 <= min && min <= initial && initial <= max && max <= MAX_LIMIT {
            Ok(Self { min, initial, max })
        } else {
            Err(LoadShedderError::Limits { min, initial, max })
        }
    }

    pub(crate) const fn of_constants(min: u32, initial: u32, max: u32) -> Self {
        Self { min, initial, max }
    }

    /// The lowest limit.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The limit before anything is known.
    pub const fn initial(&self) -> u32 {
        self.initial
    }

    /// The highest limit.
    pub const fn max(&self) -> u32 {
        self.max
    }

    pub(crate) fn clamp(&self, limit: f64) -> f64 {
        // A comparison with NaN is false: it becomes the lowest limit.
        if limit > f64::from(self.max) {
            self.max.into()
        } else if limit > f64::from(self.min) {
            limit
        } else {
            self.min.into()
        }
    }
}

/// What a number of calls in a row showed of the server.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Window {
    /// How many calls.
    pub samples: u32,
    /// Their mean latency, from admission to completion, in nanoseconds.
    pub mean: f64,
    /// The variance of their latencies over the square of the mean: 1 for exponential ones, 0 for equal ones.
    pub relative_variance: f64,
    /// The most calls that were under way at once.
    pub max_in_flight: u32,
    /// How many of them were cut by a timeout, or by a caller who had waited longer than the mean.
    pub dropped: u32,
    /// The latency, in nanoseconds, of the [quantile](Sampling::with_quantile) that the algorithm asks for; `None` when it asks
    /// for none, and of a probe.
    pub quantile: Option<f64>,
    /// How many calls did some work per second since the window before: samples that were not cut, not calls that a layer
    /// further in refused or that failed quickly. `None` when that is not known, as after a probe, or while not all are timed.
    pub throughput: Option<f64>,
}

impl Window {
    /// The window of a single call.
    #[expect(clippy::cast_precision_loss, reason = "a latency of 104 days is off by a nanosecond")]
    pub const fn of_one(latency: Duration, in_flight: u32, dropped: bool) -> Self {
        Self {
            samples: 1,
            mean: latency.as_nanos() as f64,
            relative_variance: 0.0,
            max_in_flight: in_flight,
            dropped: dropped as u32,
            quantile: None,
            throughput: None,
        }
    }

    /// The window of many calls.
    pub const fn new(samples: u32, mean: f64, relative_variance: f64, max_in_flight: u32) -> Self {
        Self { samples, mean, relative_variance, max_in_flight, dropped: 0, quantile: None, throughput: None }
    }

    /// The same, but so many of the calls were cut.
    #[must_use]
    pub const fn with_dropped(mut self, dropped: u32) -> Self {
        self.dropped = dropped;
        self
    }

    /// The same, but so many calls did some work per second.
    #[must_use]
    pub const fn with_throughput(mut self, per_second: f64) -> Self {
        self.throughput = Some(per_second);
        self
    }

    /// The same, with the latency at the quantile that was asked for, in nanoseconds.
    #[must_use]
    pub const fn with_quantile(mut self, nanos: f64) -> Self {
        self.quantile = Some(nanos);
        self
    }

    /// The latency at the quantile that was asked for, or the mean, as a number that can be reckoned with: what is none counts
    /// as a nanosecond.
    pub fn latency(&self) -> f64 {
        let latency = self.quantile.unwrap_or(self.mean);
        if latency > 1.0 { latency.min(LONGEST) } else { 1.0 }
    }

    /// The part of the calls that was not cut.
    pub(crate) fn kept(&self) -> f64 {
        1.0 - f64::from(self.dropped) / f64::from(self.samples.max(1))
    }

    /// Whether most calls were cut: then the mean says how long callers wait, not how long the server takes.
    pub(crate) const fn is_mostly_dropped(&self) -> bool {
        self.dropped > self.samples / 2
    }
}

/// When a window ends: after `full` samples, or after `at_most` once there are `enough`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a rule with three parts; a fourth would be another rule")]
pub struct WindowSize {
    /// This many samples close a window whatever the time.
    pub full: u32,
    /// This many close it when its time is over.
    pub enough: u32,
    /// The time after which `enough` samples will do.
    pub at_most: Duration,
}

/// A look at the server under less load: the limit is lowered, and the next calls that are admitted under it are
/// followed to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a limit and a number of calls")]
pub struct Probe {
    /// The limit while the calls of the probe are admitted.
    pub limit: u32,
    /// How many calls.
    pub calls: u32,
}

/// Finds out how many calls a server should have under way: the decision behind a [`LoadShedder`](crate::LoadShedder).
///
/// Fed once per window, never per call. It has no clock and takes no lock; what it says at the edges (no samples, zero
/// latency, numbers that are none) is within its range.
pub trait LimitAlgorithm: Send + 'static {
    /// The limit; the shedder rounds it up, and to 1 at least.
    fn limit(&self) -> f64;

    /// The limit about which [`limit`](Self::limit) is varied to learn: what is shown to people. Default: the same.
    fn steady_limit(&self) -> f64 {
        self.limit()
    }

    /// The latency without queueing, where it measures one and has. Default: `None`. What is shown to people.
    fn base_latency(&self) -> Option<Duration> {
        None
    }

    /// What of a window's samples it takes for the latency: asked when a shedder is built, and after
    /// [`adjust`](crate::LoadShedder::adjust). Default: their mean.
    fn sampling(&self) -> Sampling {
        Sampling::default()
    }

    /// How long the next window should be. Default: as [`sampling`](Self::sampling) says, which is at least 10 samples, and a
    /// second unless there are 1,000.
    fn window_size(&self) -> WindowSize {
        self.sampling().window()
    }

    /// How long a window may take at the least while less than half of the limit is in use. Where windows fill sooner, only one
    /// call in 2, 4 and so on up to 64 is timed; all are again with the call that brings half of the limit into use, and when
    /// a window takes four times as long. Default: nothing, and every call is timed.
    fn resting_window(&self) -> Duration {
        Duration::ZERO
    }

    /// Learns from a window.
    fn update(&mut self, window: &Window);

    /// Whether to look at the server under less load next. Asked after each window while no probe runs.
    fn probe(&self) -> Option<Probe> {
        None
    }

    /// Learns from a probe; `None` when it came to nothing.
    fn probed(&mut self, probe: Option<&Window>) {
        let _ = probe;
    }
}

/// An algorithm that is chosen while running.
impl<T: LimitAlgorithm + ?Sized> LimitAlgorithm for Box<T> {
    fn limit(&self) -> f64 {
        T::limit(self)
    }

    fn steady_limit(&self) -> f64 {
        T::steady_limit(self)
    }

    fn base_latency(&self) -> Option<Duration> {
        T::base_latency(self)
    }

    fn sampling(&self) -> Sampling {
        T::sampling(self)
    }

    fn window_size(&self) -> WindowSize {
        T::window_size(self)
    }

    fn resting_window(&self) -> Duration {
        T::resting_window(self)
    }

    fn update(&mut self, window: &Window) {
        T::update(self, window);
    }

    fn probe(&self) -> Option<Probe> {
        T::probe(self)
    }

    fn probed(&mut self, probe: Option<&Window>) {
        T::probed(self, probe);
    }
}

use std::time::Duration;

use crate::{LimitAlgorithm, LimitRange, Probe, Window, WindowSize};

/// From 1 to 10,000 calls, beginning with 16.
const DEFAULT_RANGE: LimitRange = LimitRange::of_constants(1, 16, 10_000);
/// The fewest calls that a mean is taken of.
const MIN_SAMPLES: f64 = 24.0;
/// Calls per unit of relative variance and limit that a mean needs to be known to a third of the allowed queueing.
const WINDOW_PER_VARIANCE: f64 = 4.48;
const PROBE_PER_VARIANCE: f64 = 3.43;
/// More calls than this in one window or probe are of no use.
const MAX_SAMPLES: f64 = 50_000.0;
/// Variances beyond this size would only make windows endless.
const MAX_VARIANCE: f64 = 1_000.0;
/// The square root of the limit, times this, may queue in the server.
const HEADROOM: f64 = 1.35;
/// How much of a new limit or mean is taken over at once.
const SMOOTHING: f64 = 0.3;
/// A limit that was reached to this part counts as wanted in full.
const PRESSED: f64 = 0.9;
/// This many windows in a row without queueing, under pressure, and the limit grows by leaps.
const CLEAN_WINDOWS: u32 = 5;
const LEAP: f64 = 1.4;
/// A probe falls due after this many times its own size, at the widest gap.
const PROBES_APART: f64 = 80.0;
const FIRST_GAP: f64 = 0.1;
/// A limit that sank to this part of the one at the last probe calls for another.
const SUNK: f64 = 0.7;
/// A limit that rose as far is taken as probed at this part of itself.
const FOLLOWED: f64 = 0.9;
/// What a window of timeouts leaves of the limit.
const CUT: f64 = 0.7;
/// Half the limit gives more than this much more throughput: the limit is past the peak.
const PAST_PEAK: f64 = 1.05;

/// Keeps as many calls under way as the server can use: at the knee of its latency curve.
///
/// Little's law gives the throughput, limit ÷ latency. While it grows with the limit, latency stands still; past the
/// knee latency grows instead. So the latency of each window is compared with a base, the latency at half the limit,
/// and the limit moves to where the difference is that of a short queue, √limit.
///
/// - The base is measured by probes: for a moment the limit is halved, and the calls admitted then are followed to their
///   end, the slow ones too. A server that is half idle by itself gives the base for nothing.
/// - Windows and probes are as long as the spread of the latencies demands.
/// - While windows show no queueing the limit grows by leaps (slow start); it never grows while less than half of it is
///   used.
/// - A window of timeouts says nothing of the latency and cuts the limit: were they taken for it, a server that answers
///   nobody in time would look steady.
/// - Where half the limit gives more throughput (lock convoys, thrashing), the allowed queue shrinks.
///
/// ```
/// use seawall_load_shedder::{Knee, LimitAlgorithm, Probe, Window};
///
/// let mut knee = Knee::default();
/// assert_eq!(knee.limit(), 16.0);
/// knee.update(&Window::new(36, 10e6, 1.0, 16));
/// assert_eq!(knee.probe(), Some(Probe { limit: 8, calls: 30 }));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Knee {
    range: LimitRange,
    limit: f64,
    /// The latency without queueing, in nanoseconds, and the weight of what is known of it, in calls.
    base: Option<f64>,
    base_weight: f64,
    /// The variance of the latencies over the square of their mean.
    variance: f64,
    /// The part of the headroom that this server can bear.
    headroom: f64,
    /// How far apart probes are, as a part of the widest gap.
    gap: f64,
    /// Logarithm of the throughput at half the limit over that at the limit, smoothed.
    half_over_full: f64,
    clean_windows: u32,
    /// The limit at the last probe, followed upwards.
    limit_probed: f64,
    samples_since_probe: f64,
    last_mean: Option<f64>,
    probe_due: bool,
}

impl Default for Knee {
    fn default() -> Self {
        Self::new(DEFAULT_RANGE)
    }
}

impl Knee {
    /// A limit within `range`, at its first value. Default: 1 to 10,000, first 16.
    pub fn new(range: LimitRange) -> Self {
        let limit = f64::from(range.initial());
        Self {
            range,
            limit,
            base: None,
            base_weight: 0.0,
            variance: 0.5,
            headroom: 1.0,
            gap: FIRST_GAP,
            half_over_full: 0.0,
            clean_windows: 1_000,
            limit_probed: limit,
            samples_since_probe: 0.0,
            last_mean: None,
            probe_due: false,
        }
    }

    /// The range of the limit.
    pub const fn range(&self) -> LimitRange {
        self.range
    }

    /// Changes the range; the limit moves into it at once and what was learnt stays.
    pub fn set_range(&mut self, range: LimitRange) {
        self.range = range;
        self.limit = range.clamp(self.limit);
    }

    /// The latency without queueing, once it is known.
    pub fn base_latency(&self) -> Option<Duration> {
        self.base.map(|nanos| Duration::from_secs_f64(nanos.clamp(0.0, 1e18) / 1e9))
    }

    fn calls_for(&self, per_variance: f64) -> f64 {
        (per_variance * self.variance * self.limit).max(self.limit).clamp(MIN_SAMPLES, MAX_SAMPLES)
    }

    /// Moves the limit by what a window under load shows against `base`.
    fn follow(&mut self, base: f64, mean: f64, max_in_flight: f64) {
        let headroom = HEADROOM * self.headroom;
        let root = self.limit.sqrt();
        let ratio = base / mean;
        let pressed = max_in_flight >= (PRESSED * self.limit).floor();
        if ratio > 1.0 - 0.5 * headroom / root {
            self.clean_windows = self.clean_windows.saturating_add(pressed.into());
        } else {
            self.clean_windows = 0;
        }
        let mut target = self.limit * ratio.clamp(0.5, 1.0) + headroom * root;
        if !pressed {
            target = target.min(self.limit);
        }
        let mut next = self.limit + SMOOTHING * (target - self.limit);
        if self.clean_windows > CLEAN_WINDOWS {
            next = next.max(LEAP * self.limit);
        }
        self.limit = self.range.clamp(next);
    }
}

impl LimitAlgorithm for Knee {
    fn limit(&self) -> f64 {
        self.limit
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 24 and 50,000")]
    fn window_size(&self) -> WindowSize {
        WindowSize {
            full: self.calls_for(WINDOW_PER_VARIANCE) as u32,
            enough: self.limit.max(MIN_SAMPLES) as u32,
            at_most: Duration::from_secs(1),
        }
    }

    fn update(&mut self, window: &Window) {
        let mean = window.latency();
        let variance = if window.relative_variance.is_finite() { window.relative_variance } else { MAX_VARIANCE };
        self.variance = (self.variance + 0.1 * (variance - self.variance)).clamp(0.0, MAX_VARIANCE);
        self.samples_since_probe += f64::from(window.samples);
        self.probe_due = false;
        if window.is_mostly_dropped() {
            self.clean_windows = 0;
            self.limit = self.range.clamp(CUT * self.limit);
            return;
        }
        if f64::from(window.max_in_flight) < self.limit / 2.0 {
            // Idle enough: this is the unloaded latency.
            self.base = Some(self.base.map_or(mean, |base| base + SMOOTHING * (mean - base)));
            return;
        }
        self.last_mean = Some(mean);
        let Some(base) = self.base else {
            self.probe_due = true;
            return;
        };
        self.follow(base, mean, window.max_in_flight.into());
        self.probe_due = self.samples_since_probe > PROBES_APART * self.gap * self.calls_for(PROBE_PER_VARIANCE)
            || self.limit < SUNK * self.limit_probed;
        if self.limit * SUNK > self.limit_probed {
            self.limit_probed = FOLLOWED * self.limit;
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 65,535")]
    fn probe(&self) -> Option<Probe> {
        self.probe_due.then(|| Probe {
            limit: (self.limit / 2.0).max(1.0) as u32,
            calls: self.calls_for(PROBE_PER_VARIANCE) as u32,
        })
    }

    fn probed(&mut self, probe: Option<&Window>) {
        self.probe_due = false;
        self.samples_since_probe = 0.0;
        self.limit_probed = self.limit;
        let Some(probe) = probe.filter(|probe| !probe.is_mostly_dropped()) else { return };
        let (mean, samples) = (probe.latency(), f64::from(probe.samples.max(1)));
        let known = self.base.filter(|base| (mean / base).ln().abs() <= 3.0 * (self.variance / samples).sqrt() + 0.1);
        if let Some(base) = known {
            self.base = Some(base + samples / (samples + self.base_weight) * (mean - base));
            self.base_weight = (self.base_weight + samples).min(1.5 * samples);
            self.gap = (2.0 * self.gap).min(1.0);
        } else {
            self.base = Some(mean);
            self.base_weight = samples;
            self.gap = FIRST_GAP;
        }
        if let Some(last) = self.last_mean {
            self.half_over_full += 0.4 * ((0.5 * last / mean).ln() - self.half_over_full);
            self.headroom = if self.half_over_full > PAST_PEAK.ln() && self.limit > 6.0 {
                (0.8 * self.headroom).max(0.25)
            } else {
                (1.15 * self.headroom).min(1.0)
            };
        }
    }
}

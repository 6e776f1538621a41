use std::time::Duration;

use crate::{LimitAlgorithm, LimitRange, Probe, Window, WindowSize, headroom::Headroom};

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
/// As good as any number of them: before anything else is known, and when a better base shows that there was no queue.
const CLEAN: u32 = 1_000;
const LEAP: f64 = 1.4;
/// At the start windows may queue as far as is allowed before the leaps, which are wider, end.
const FIRST_LEAP: f64 = 2.0;
/// A probe falls due after this many times its own size, at the widest gap.
const PROBES_APART: f64 = 80.0;
const FIRST_GAP: f64 = 0.25;
/// A base known from fewer than this part of the calls that the limit asks for is too coarse to be followed.
const COARSE: f64 = 0.5;
/// A window that is quicker than the base by this, over the square root of the limit, is not so by chance.
const TOO_HIGH: f64 = 2.0;
/// A probe goes below the limit by so many times what may queue, but not below the half: above the knee of a limit that
/// is right, and far enough down that one that is too high is not taken for right.
const PROBE_DEPTH: f64 = 1.5;
const DEEPEST: f64 = 0.5;
/// Every other probe of a low limit goes down to this part only, to see whether a little less would be more.
const SHALLOW: f64 = 0.75;
/// Probes above this part see that by themselves.
const SHALLOW_ENOUGH: f64 = 0.65;
/// A limit that sank to this part of the one at the last probe calls for another.
const SUNK: f64 = 0.7;
/// A limit that rose as far is taken as probed at this part of itself.
const FOLLOWED: f64 = 0.9;
/// What a window of timeouts leaves of the limit.
const CUT: f64 = 0.7;

/// Keeps as many calls under way as the server can use: at the knee of its latency curve.
///
/// Little's law gives the throughput, limit ÷ latency. While it grows with the limit, latency stands still; past the
/// knee latency grows instead. So the latency of each window is compared with a base, the latency below the knee, and the
/// limit moves to where the difference is that of a short queue, √limit.
///
/// - The base is measured by probes: for a moment the limit is lowered, by no more than is needed to get below the knee,
///   and the calls admitted then are followed to their end, the slow ones too. A server that is half idle by itself gives
///   the base for nothing.
/// - Windows and probes are as long as the spread of the latencies demands. A base that is too coarse for the limit is
///   measured anew before it is followed down.
/// - While windows show no queueing the limit grows by leaps (slow start); it never grows while less than half of it is
///   used.
/// - A window of timeouts says nothing of the latency and cuts the limit: were they taken for it, a server that answers
///   nobody in time would look steady.
/// - Where a lower limit gives more throughput (lock convoys, thrashing), the allowed queue shrinks; where a little less
///   costs much of it (pipelines), it grows.
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
    headroom: Headroom,
    /// How far apart probes are, as a part of the widest gap.
    gap: f64,
    clean_windows: u32,
    /// The limit has grown by nothing but leaps.
    starting: bool,
    /// The limit at the last probe, followed upwards.
    limit_probed: f64,
    samples_since_probe: f64,
    last_mean: Option<f64>,
    probes: u32,
    due: Option<Depth>,
}

/// How far a probe lowers the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Depth {
    part: f64,
    /// Too little to see the base.
    shallow: bool,
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
            headroom: Headroom::default(),
            gap: FIRST_GAP,
            clean_windows: CLEAN,
            starting: true,
            limit_probed: limit,
            samples_since_probe: 0.0,
            last_mean: None,
            probes: 0,
            due: None,
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

    /// How many calls may queue.
    fn allowed(&self) -> f64 {
        HEADROOM * self.headroom.factor() * self.limit.sqrt()
    }

    fn is_base_coarse(&self) -> bool {
        self.base_weight < COARSE * self.calls_for(PROBE_PER_VARIANCE)
    }

    /// Moves the limit by what a window under load shows against `base`.
    fn follow(&mut self, base: f64, mean: f64, max_in_flight: f64) {
        let mut ratio = base / mean;
        if ratio > 1.0 + TOO_HIGH / self.limit.sqrt() {
            // Nothing is quicker under load: the base was measured while the server stood still, or is out of date.
            self.base = Some(mean);
            self.base_weight = 0.0;
            ratio = 1.0;
        }
        let pressed = max_in_flight >= (PRESSED * self.limit).floor();
        let clean = ratio > 1.0 - 0.5 * self.allowed() / self.limit;
        self.clean_windows = if clean { self.clean_windows.saturating_add(pressed.into()) } else { 0 };
        let mut target = self.limit * ratio.clamp(0.5, 1.0) + self.allowed();
        if !pressed {
            target = target.min(self.limit);
        }
        // The last leap may have gone too far by half: it is taken back at once.
        let smoothing = if self.starting && !clean { 1.0 } else { SMOOTHING };
        self.starting &= clean;
        let mut next = self.limit + smoothing * (target - self.limit);
        if self.clean_windows > CLEAN_WINDOWS {
            next = next.max(if self.starting { FIRST_LEAP } else { LEAP } * self.limit);
        }
        self.limit = self.range.clamp(next);
    }

    /// Whether a probe is due after a window, and how deep it goes.
    fn next_probe(&self) -> Option<Depth> {
        let sunk = self.limit < SUNK * self.limit_probed;
        // Leaps need no base as exact as that; what stops them does.
        let coarse = self.clean_windows == 0 && self.is_base_coarse();
        let over = self.samples_since_probe > PROBES_APART * self.gap * self.calls_for(PROBE_PER_VARIANCE);
        if !(sunk || coarse || over) {
            return None;
        }
        let part = (1.0 - PROBE_DEPTH * HEADROOM / self.limit.sqrt()).max(DEEPEST);
        let shallow = part < SHALLOW_ENOUGH && !sunk && !self.is_base_coarse() && self.probes % 2 == 1;
        Some(Depth { part: if shallow { SHALLOW } else { part }, shallow })
    }

    /// Takes the mean of a probe's calls for the base, or into it.
    fn learn_base(&mut self, mean: f64, samples: f64) {
        let was_coarse = self.is_base_coarse();
        let known = self.base.filter(|base| (mean / base).ln().abs() <= 3.0 * (self.variance / samples).sqrt() + 0.1);
        let base = if let Some(base) = known {
            let next = base + samples / (samples + self.base_weight) * (mean - base);
            self.base_weight = (self.base_weight + samples).min(1.5 * samples);
            self.gap = (2.0 * self.gap).min(1.0);
            next
        } else {
            self.base_weight = samples;
            self.gap = FIRST_GAP;
            mean
        };
        self.base = Some(base);
        // What stopped the leaps was the base, not a queue.
        let no_queue = |last: f64| base / last > 1.0 - 0.5 * self.allowed() / self.limit;
        if was_coarse && self.last_mean.is_some_and(no_queue) {
            self.clean_windows = CLEAN;
            self.starting = true;
        }
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
        self.due = None;
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
        self.headroom.full(self.limit, mean);
        let Some(base) = self.base else {
            self.due = Some(Depth { part: DEEPEST, shallow: false });
            return;
        };
        self.follow(base, mean, window.max_in_flight.into());
        self.due = self.next_probe();
        if self.limit * SUNK > self.limit_probed {
            self.limit_probed = FOLLOWED * self.limit;
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 65,535")]
    fn probe(&self) -> Option<Probe> {
        self.due.map(|depth| Probe {
            limit: (depth.part * self.limit).max(1.0) as u32,
            calls: self.calls_for(PROBE_PER_VARIANCE) as u32,
        })
    }

    fn probed(&mut self, probe: Option<&Window>) {
        let depth = self.due.take().unwrap_or(Depth { part: DEEPEST, shallow: false });
        self.probes = self.probes.wrapping_add(1);
        self.samples_since_probe = 0.0;
        self.limit_probed = self.limit;
        let Some(probe) = probe.filter(|probe| !probe.is_mostly_dropped()) else { return };
        let (mean, samples) = (probe.latency(), f64::from(probe.samples.max(1)));
        if !depth.shallow {
            self.learn_base(mean, samples);
        }
        let little_less = depth.shallow || depth.part > SHALLOW_ENOUGH;
        self.headroom.less(depth.part, self.limit, mean, little_less, !depth.shallow);
    }
}

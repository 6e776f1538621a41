use std::time::Duration;

use crate::{
    LimitAlgorithm, LimitRange, Probe, Window, WindowSize,
    first_leaps::{self, FirstLeaps},
    headroom::Headroom,
    sway::Sway,
};

/// From 1 to 10,000 calls, beginning with 16.
const DEFAULT_RANGE: LimitRange = LimitRange::of_constants(1, 16, 10_000);
/// While it is not half in use the base is looked at so often, where there are calls enough.
const RESTING_WINDOW: Duration = Duration::from_millis(2);
/// The fewest calls that a mean is taken of.
const MIN_SAMPLES: f64 = 24.0;
/// Calls per unit of relative variance and limit that a mean needs to be known to a third of the allowed queueing.
const WINDOW_PER_VARIANCE: f64 = 4.48;
const PROBE_PER_VARIANCE: f64 = 3.43;
/// More calls than this in one window or probe are of no use.
const MAX_SAMPLES: f64 = 50_000.0;
/// Variances beyond this size would only make windows endless.
const MAX_VARIANCE: f64 = 1_000.0;
/// The square root of the limit, times this, may queue in the server at first.
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
/// At the start leaps are wider and end only with a window that is slower than the base, of which
/// [`LEAPT_TOO_FAR`](crate::first_leaps::LEAPT_TOO_FAR) is left: a full server's latency doubles with its limit, so that
/// neither base nor window need be known well, and windows have so many calls per unit of relative variance only.
const FIRST_LEAP: f64 = 2.0;
const LEAP_PER_VARIANCE: f64 = 64.0;
/// The limit is taken back at once to what the window shows, but for a window that shows less than this part.
const LEAST_LEFT: f64 = 0.1;
/// A probe falls due after this many times its own size, at the widest gap: each one that bears out the base widens it.
const PROBES_APART: f64 = 320.0;
const FIRST_GAP: f64 = 0.125;
/// A base known from fewer than this part of the calls that the limit asks for is too coarse to be followed.
const COARSE: f64 = 0.5;
/// A window that is quicker than the base by this, over the square root of the limit, is not so by chance, if this many
/// are in a row: where few calls are dear, a window or two may have seen none of them.
const TOO_HIGH: f64 = 2.0;
const QUICK_WINDOWS: u32 = 3;
/// A probe goes below the limit by so many times what may queue, but not below the half: above the knee of a limit that
/// is right, and far enough down that one that is too high is not taken for right.
const PROBE_DEPTH: f64 = 1.5;
const DEEPEST: f64 = 0.5;
/// At least down to this part, while nobody knows how right the limit is.
const COARSE_DEPTH: f64 = 0.75;
/// After a leap that went too far the limit may still be too high for a probe to see the base: one that is slower than what
/// was known by so many times lowers the limit instead. But not for ever: the server may have become slower.
const DOUBTFUL: f64 = 2.0;
const MOST_DOUBTS: u32 = 3;
/// Lower limits do not sway: one call more or less would be half of them.
const LEAST_SWAYING: f64 = 2.5;
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
/// - While windows show no queueing the limit grows by leaps (slow start); it never grows while it is not used.
/// - A window of timeouts says nothing of the latency and cuts the limit: were they taken for it, a server that answers
///   nobody in time would look steady.
/// - The limit in force sways: up and down by a part of the allowed queue. Where the lower half has more throughput (lock
///   convoys, thrashing), the allowed queue shrinks; elsewhere it grows, by a quarter at most.
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
    sway: Sway,
    /// How far apart probes are, as a part of the widest gap.
    gap: f64,
    clean_windows: u32,
    quick_windows: u32,
    doubts: u32,
    /// The limit was in use in the last window: one that began while it was not shows less than the limit asks for.
    was_in_use: bool,
    /// The limit has grown by nothing but leaps.
    starting: bool,
    first_leaps: FirstLeaps,
    /// The limit at the last probe, followed upwards.
    limit_probed: f64,
    samples_since_probe: f64,
    last_mean: Option<f64>,
    /// The part of the limit that the probe which is due goes down to.
    due: Option<f64>,
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
            sway: Sway::default(),
            gap: FIRST_GAP,
            clean_windows: CLEAN,
            quick_windows: 0,
            doubts: 0,
            was_in_use: true,
            starting: true,
            first_leaps: FirstLeaps::default(),
            limit_probed: limit,
            samples_since_probe: 0.0,
            last_mean: None,
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

    /// Whether the limit is near enough to where it should be that a little more or less says something.
    fn sways(&self) -> bool {
        !self.starting && self.base_weight > 0.0 && self.clean_windows <= CLEAN_WINDOWS && self.limit > LEAST_SWAYING
    }

    /// How steep throughput is around the limit, from the windows in which that was in use all the time.
    fn learn_slope(&mut self, in_force: f64, pressed: bool, window: &Window) {
        if !(pressed && self.sways()) {
            self.sway.stop();
        } else if let Some(slope) = self.sway.window(in_force, window) {
            self.headroom.tilt(slope);
        }
    }

    fn is_base_coarse(&self) -> bool {
        self.base_weight < COARSE * self.calls_for(PROBE_PER_VARIANCE)
    }

    /// At the start: the mean of the windows at this limit, or nothing while they are too few to tell a full server from
    /// chance. What is known of the base is bettered by them.
    fn judge_leap(&mut self, base: f64, mean: f64, samples: f64) -> Option<f64> {
        let seen = self.first_leaps.judge(base, self.base_weight, self.variance, (mean, samples))?;
        if let Some(better) = seen.base {
            self.base = Some(better);
            self.base_weight += seen.samples;
        }
        Some(seen.mean)
    }

    /// Moves the limit by what a window under the limit `in_force` shows against `base`; up only if that was in use all the
    /// time.
    fn follow(&mut self, base: f64, mean: f64, in_force: f64, pressed: bool) {
        let ratio = base / mean;
        self.quick_windows = if self.is_too_high(ratio) { self.quick_windows.saturating_add(1) } else { 0 };
        if self.quick_windows >= QUICK_WINDOWS {
            // Nothing is quicker under load: the base was measured while the server stood still, or is out of date.
            self.base = Some(mean);
            self.base_weight = 0.0;
        }
        let no_queue = 1.0 - 0.5 * self.allowed() / self.limit;
        let clean = ratio > if self.starting { no_queue.min(first_leaps::LEAPT_TOO_FAR) } else { no_queue };
        self.clean_windows = if clean { self.clean_windows.saturating_add(pressed.into()) } else { 0 };
        let leapt_too_far = self.starting && !clean;
        let (smoothing, least) = if leapt_too_far { (1.0, LEAST_LEFT) } else { (SMOOTHING, 0.5) };
        let mut target = in_force * ratio.clamp(least, 1.0) + self.allowed();
        if !pressed {
            target = target.min(self.limit);
        }
        if self.base_weight <= 0.0 && !leapt_too_far {
            // The base is being measured anew: until then only the leap itself is taken back.
            target = target.max(self.limit);
        }
        let mut next = self.limit + smoothing * (target - self.limit);
        if pressed && self.clean_windows > CLEAN_WINDOWS {
            next = next.max(if self.starting { FIRST_LEAP } else { LEAP } * self.limit);
        }
        if leapt_too_far {
            // The base was good enough for leaps only.
            self.base_weight = 0.0;
            self.starting = false;
        }
        self.limit = self.range.clamp(next);
    }

    /// Whether the base is so much slower than calls under load that it cannot be right.
    fn is_too_high(&self, base_over_mean: f64) -> bool {
        base_over_mean > 1.0 + TOO_HIGH / self.limit.sqrt()
    }

    /// The part of the limit that a probe goes down to, if one is due after a window.
    fn next_probe(&self) -> Option<f64> {
        let sunk = self.limit < SUNK * self.limit_probed;
        // Leaps need no base as exact as that; what stops them does.
        let coarse = self.clean_windows == 0 && self.is_base_coarse();
        let over = self.samples_since_probe > PROBES_APART * self.gap * self.calls_for(PROBE_PER_VARIANCE);
        if !(sunk || coarse || over) {
            return None;
        }
        let deepest_of = if self.is_base_coarse() { COARSE_DEPTH } else { 1.0 };
        Some((1.0 - PROBE_DEPTH * HEADROOM / self.limit.sqrt()).clamp(DEEPEST, deepest_of))
    }

    /// Whether a probe went not deep enough to see the base; then the limit goes down to what it shows.
    fn doubts(&mut self, mean: f64, part: f64) -> bool {
        let doubtful = |base: &f64| {
            self.base_weight <= 0.0
                && mean > DOUBTFUL * base
                && !self.headroom.is_busy_below(self.let_in(part), self.limit, self.allowed(), mean)
        };
        let Some(base) = self.base.filter(doubtful) else {
            self.doubts = 0;
            return false;
        };
        self.doubts = self.doubts.saturating_add(1);
        if self.doubts > MOST_DOUBTS {
            self.doubts = 0;
            return false;
        }
        self.limit = self.range.clamp(self.limit.min(self.let_in(part) * base / mean + self.allowed()));
        true
    }

    /// How many calls a probe at `part` of the limit lets in.
    fn let_in(&self, part: f64) -> f64 {
        (part * self.limit).max(1.0).floor()
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
        // What stopped the leaps was the base, not a queue; unless the last window missed what the probe has seen.
        let no_queue =
            |last: f64| base / last > 1.0 - 0.5 * self.allowed() / self.limit && !self.is_too_high(base / last);
        if was_coarse && self.last_mean.is_some_and(no_queue) {
            self.clean_windows = CLEAN;
            self.starting = true;
        }
    }
}

/// A relative variance that can be reckoned with.
fn variance_of(window: &Window) -> f64 {
    // A comparison with NaN is false: it becomes the largest.
    if window.relative_variance < MAX_VARIANCE { window.relative_variance.max(0.0) } else { MAX_VARIANCE }
}

impl LimitAlgorithm for Knee {
    fn limit(&self) -> f64 {
        if self.sways() { self.range.clamp(self.sway.around(self.limit, self.allowed())) } else { self.limit }
    }

    fn steady_limit(&self) -> f64 {
        self.limit
    }

    fn base_latency(&self) -> Option<Duration> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a latency in nanoseconds")]
        self.base.map(|nanos| Duration::from_nanos(nanos as u64))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 24 and 50,000")]
    fn window_size(&self) -> WindowSize {
        let full = self.calls_for(WINDOW_PER_VARIANCE);
        let leap = (LEAP_PER_VARIANCE * self.variance).max(self.limit).max(MIN_SAMPLES);
        WindowSize {
            full: if self.starting { full.min(leap) } else { full } as u32,
            enough: self.limit.max(MIN_SAMPLES) as u32,
            at_most: Duration::from_secs(1),
        }
    }

    /// What is not half in use only shows the base.
    fn resting_window(&self) -> Duration {
        RESTING_WINDOW
    }

    fn update(&mut self, window: &Window) {
        let mean = window.latency();
        self.variance += 0.1 * (variance_of(window) - self.variance);
        self.samples_since_probe += f64::from(window.samples);
        self.due = None;
        let in_force = self.limit();
        let in_use = f64::from(window.max_in_flight) >= (PRESSED * in_force).floor();
        let pressed = std::mem::replace(&mut self.was_in_use, in_use) && in_use;
        if window.is_mostly_dropped() {
            self.clean_windows = 0;
            self.first_leaps = FirstLeaps::default();
            self.limit = self.range.clamp(CUT * self.limit);
            self.sway.stop();
            return;
        }
        if f64::from(window.max_in_flight) < self.limit / 2.0 {
            // Idle enough: this is the unloaded latency.
            self.base = Some(self.base.map_or(mean, |base| base + SMOOTHING * (mean - base)));
            return;
        }
        self.last_mean = Some(mean);
        self.headroom.full(self.limit, in_force, mean);
        self.learn_slope(in_force, pressed, window);
        let Some(base) = self.base else {
            self.due = Some(DEEPEST);
            return;
        };
        let seen =
            if self.starting { self.judge_leap(base, mean, f64::from(window.samples.max(1))) } else { Some(mean) };
        if let Some(mean) = seen {
            self.follow(base, mean, in_force, pressed);
        }
        self.due = self.next_probe();
        if self.limit * SUNK > self.limit_probed {
            self.limit_probed = FOLLOWED * self.limit;
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 65,535")]
    fn probe(&self) -> Option<Probe> {
        self.due.map(|part| Probe { limit: self.let_in(part) as u32, calls: self.calls_for(PROBE_PER_VARIANCE) as u32 })
    }

    fn probed(&mut self, probe: Option<&Window>) {
        let part = self.due.take().unwrap_or(DEEPEST);
        self.samples_since_probe = 0.0;
        self.limit_probed = self.limit;
        let Some(probe) = probe.filter(|probe| !probe.is_mostly_dropped()) else {
            // What windows show will have to do until somebody can be followed.
            self.base = self.base.or(self.last_mean);
            return;
        };
        let (mean, samples) = (probe.latency(), f64::from(probe.samples.max(1)));
        // Only a probe waits for those that take longest.
        self.variance = self.variance.max(variance_of(probe));
        if self.doubts(mean, part) {
            return;
        }
        self.learn_base(mean, samples);
    }
}

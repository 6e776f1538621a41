use std::time::Duration;

use seawall_core::Timestamp;

use crate::{
    LimitAlgorithm, Probe, Window, WindowSize, limit::MAX_LIMIT, limiter::UNTIMED, tally::Sample, word::Ended,
};

/// A probe that nobody can join, or whose last calls do not come back, is given up after this many times the latency.
const PATIENCE: f64 = 8.0;
/// But not before this time: calls that come back late keep nobody out.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// Nor before this one: a probe that gathers keeps out all who find no room below its limit, and where what is inside goes
/// on for long, as streams do, that is everybody.
const LEAST_GATHERING: Duration = Duration::from_millis(20);
/// After a probe that nobody could join the next one begins after so many times what it waited, and after each further one
/// after twice as many, up to this often: what they keep out together is a thirtieth of the time at first, and less than a
/// thousandth in the end.
const APART: u32 = 32;
const MOST_DOUBLINGS: u32 = 5;
/// After the latency is known to be hopeless: as if a call took this long.
const MOST_PATIENCE: f64 = 60e9;
/// The part of a probe's calls that must be back when its time is up: the last of a thousand lognormal ones are a twentieth
/// of the mean, so that those that run late are waited for as long as may be.
const ENOUGH: f64 = 0.99;
/// Given up this often in a row, a probe is judged by whoever came back: better a low base than none.
const LAST_ATTEMPT: u32 = 3;

/// What runs between windows: the algorithm, and the probe if one is under way. Behind the shedder's lock.
#[derive(Debug)]
pub(crate) struct Control<A> {
    pub(crate) algorithm: A,
    /// When the current window was opened, and how long it was to be.
    pub(crate) opened_at: Timestamp,
    pub(crate) window_size: WindowSize,
    phase: Phase,
    /// The number of the current probe; tickets of earlier ones mean nothing.
    epoch: u32,
    cohort: Cohort,
    /// When the current phase of a probe is given up.
    give_up_at: Timestamp,
    given_up: u32,
    /// How many probes in a row nobody could join to the end, and until when none begins for that.
    in_vain: u32,
    not_before: Timestamp,
    last_mean: f64,
    mean_before: f64,
    /// The call with whose end the last window closed, and when: never, when a probe has come in between.
    pub(crate) closed: Ended,
    pub(crate) closed_at: Timestamp,
    /// The first call whose sample counts in the current window; nothing, where not all calls are timed.
    pub(crate) counts_from: Option<Ended>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// No probe runs.
    Normal,
    /// The limit is that of the probe; calls that are admitted join its cohort.
    Gathering { limit: u32 },
    /// The cohort is complete, and not back yet.
    Returning,
}

/// What became of a call that was admitted while a probe gathered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It belongs to the probe, which takes more.
    Gathering,
    /// It completed the probe.
    Last,
    /// The probe had become complete in between.
    Late,
}

/// The calls of one probe.
#[derive(Debug, Default)]
struct Cohort {
    wanted: u32,
    joined: u32,
    back: u32,
    samples: u32,
    dropped: u32,
    sum: f64,
    squares: f64,
}

impl<A: LimitAlgorithm> Control<A> {
    pub(crate) fn new(algorithm: A) -> Self {
        Self {
            opened_at: Timestamp::ZERO,
            window_size: algorithm.window_size(),
            algorithm,
            phase: Phase::Normal,
            epoch: 0,
            cohort: Cohort::default(),
            give_up_at: Timestamp::MAX,
            given_up: 0,
            in_vain: 0,
            not_before: Timestamp::ZERO,
            last_mean: f64::MAX,
            mean_before: f64::MAX,
            closed: Ended::from_bits(0),
            closed_at: Timestamp::MAX,
            counts_from: None,
        }
    }

    /// The limit in force, and whether a probe gathers its calls.
    pub(crate) fn limit(&self) -> (u32, bool) {
        match self.phase {
            Phase::Gathering { limit } => (limit.clamp(1, MAX_LIMIT), true),
            Phase::Normal | Phase::Returning => (rounded_up(self.algorithm.limit()).clamp(1, MAX_LIMIT), false),
        }
    }

    /// Learns from a window, and begins a probe if one is due.
    pub(crate) fn update(&mut self, window: &Window, now: Timestamp) {
        self.mean_before = std::mem::replace(&mut self.last_mean, window.mean);
        self.algorithm.update(window);
        if self.phase == Phase::Returning && now >= self.give_up_at {
            self.judge_late();
        }
        if self.phase == Phase::Normal && now >= self.not_before {
            if let Some(Probe { limit, calls }) = self.algorithm.probe() {
                self.phase = Phase::Gathering { limit };
                // 0 is the epoch of calls that belong to no probe.
                self.epoch = self.epoch.saturating_add(1) % UNTIMED;
                self.epoch = self.epoch.max(1);
                self.cohort = Cohort { wanted: calls.max(1), ..Cohort::default() };
                self.give_up_at = now.saturating_add(self.gathers_for());
            }
        }
    }

    /// Takes a call that was admitted while a probe gathers.
    pub(crate) fn join(&mut self, now: Timestamp) -> Joined {
        if !self.is_gathering() {
            return Joined::Late;
        }
        self.cohort.joined = self.cohort.joined.saturating_add(1);
        if self.cohort.joined < self.cohort.wanted {
            self.give_up_at = now.saturating_add(self.gathers_for());
            return Joined::Gathering;
        }
        self.in_vain = 0;
        self.give_up_at = now.saturating_add(patience(self.last_mean).max(LEAST_PATIENCE));
        self.phase = Phase::Returning;
        Joined::Last
    }

    /// The number of the current probe, never 0.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// When the current phase of the probe is given up.
    pub(crate) const fn give_up_at(&self) -> Timestamp {
        self.give_up_at
    }

    /// A call that joined the probe of `epoch` is back, with its latency if that counts; whether that ended the probe.
    pub(crate) fn back(&mut self, epoch: u32, sample: Option<Sample>) -> bool {
        if epoch != self.epoch || self.phase == Phase::Normal {
            return false;
        }
        self.cohort.back = self.cohort.back.saturating_add(1);
        if let Some(sample) = sample {
            self.cohort.record(sample);
        }
        let ended = self.phase == Phase::Returning && self.cohort.back >= self.cohort.wanted;
        if ended {
            self.judge();
        }
        ended
    }

    /// Gives up a probe for which nobody came in for too long: those inside may never leave.
    pub(crate) fn give_up_gathering(&mut self, now: Timestamp) {
        if self.is_gathering() && now >= self.give_up_at {
            let apart = APART.saturating_mul(1 << self.in_vain.min(MOST_DOUBLINGS));
            self.not_before = now.saturating_add(self.gathers_for().saturating_mul(apart));
            self.in_vain = self.in_vain.saturating_add(1);
            self.abandon();
        }
    }

    /// Whether a probe gathers its calls.
    pub(crate) const fn is_gathering(&self) -> bool {
        matches!(self.phase, Phase::Gathering { .. })
    }

    /// How long a probe gathers without that anybody joins. The window in which a few long calls ended says nothing of the
    /// others: the quicker one of two counts.
    fn gathers_for(&self) -> Duration {
        patience(self.last_mean.min(self.mean_before)).max(LEAST_GATHERING)
    }

    /// The time is up and some are not back.
    fn judge_late(&mut self) {
        let last_attempt = self.given_up.saturating_add(1) >= LAST_ATTEMPT;
        if self.cohort.has_back(ENOUGH) || (last_attempt && self.cohort.samples > 0) {
            self.judge();
        } else {
            self.given_up = self.given_up.saturating_add(1);
            self.abandon();
        }
    }

    fn abandon(&mut self) {
        self.phase = Phase::Normal;
        self.algorithm.probed(None);
    }

    fn judge(&mut self) {
        self.given_up = 0;
        self.phase = Phase::Normal;
        self.algorithm.probed(self.cohort.window().as_ref());
    }
}

fn patience(mean: f64) -> Duration {
    Duration::from_secs_f64((PATIENCE * mean).clamp(0.0, MOST_PATIENCE) / 1e9)
}

impl Cohort {
    #[expect(clippy::cast_precision_loss, reason = "a latency of 104 days is off by a nanosecond")]
    fn record(&mut self, sample: Sample) {
        let nanos = sample.nanos as f64;
        self.dropped = self.dropped.saturating_add(sample.dropped.into());
        self.samples = self.samples.saturating_add(1);
        self.sum += nanos;
        self.squares += nanos * nanos;
    }

    fn has_back(&self, part: f64) -> bool {
        f64::from(self.back) >= part * f64::from(self.wanted)
    }

    fn window(&self) -> Option<Window> {
        if self.samples == 0 {
            return None;
        }
        let samples = f64::from(self.samples);
        let mean = (self.sum / samples).max(1.0);
        let relative_variance = (self.squares / samples / (mean * mean) - 1.0).max(0.0);
        Some(Window::new(self.samples, mean, relative_variance, self.joined).with_dropped(self.dropped))
    }
}

/// In place of `f64::ceil`, which is a call on processors that may not know how to round. What is no number is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn rounded_up(limit: f64) -> u32 {
    let whole = limit as u32;
    whole.saturating_add((f64::from(whole) < limit).into())
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    /// Wants one probe of so many calls and keeps what it showed.
    struct Curious {
        calls: u32,
        seen: Vec<Option<Window>>,
    }

    impl LimitAlgorithm for Curious {
        fn limit(&self) -> f64 {
            100.0
        }

        fn update(&mut self, _: &Window) {}

        fn probe(&self) -> Option<Probe> {
            self.seen.is_empty().then_some(Probe { limit: 50, calls: self.calls })
        }

        fn probed(&mut self, probe: Option<&Window>) {
            self.seen.push(probe.copied());
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO.saturating_add(Duration::from_secs(seconds))
    }

    /// A probe of 1,000 calls of which so many are back after 10 ms each.
    fn with_back(back: u32) -> Control<Curious> {
        let mut control = Control::new(Curious { calls: 1_000, seen: Vec::new() });
        control.update(&Window::new(100, 10e6, 1.0, 100), at(0));
        assert_eq!(control.limit(), (50, true));
        for _ in 0..1_000 {
            control.join(at(1));
        }
        for _ in 0..back {
            control.back(control.epoch(), Some(Sample { nanos: 10_000_000, dropped: false }));
        }
        control
    }

    #[test]
    fn a_probe_waits_for_the_last_of_its_calls() {
        let mut control = with_back(999);
        assert_eq!(control.algorithm.seen, []);

        let ended = control.back(control.epoch(), Some(Sample { nanos: 10_010_000_000, dropped: false }));

        assert!(ended);
        assert_eq!(control.algorithm.seen.len(), 1);
        assert!(control.algorithm.seen[0].is_some_and(|seen| seen.samples == 1_000 && (seen.mean - 20e6).abs() < 1.0));
    }

    #[test]
    fn a_probe_whose_time_is_up_is_judged_by_nearly_all_of_its_calls_or_not_at_all() {
        for (back, judged) in [(990, true), (989, false)] {
            let mut control = with_back(back);
            control.update(&Window::new(100, 10e6, 1.0, 100), at(1));
            assert_eq!(control.algorithm.seen, [], "a second is not over");

            control.update(&Window::new(100, 10e6, 1.0, 100), at(2));

            let samples = control.algorithm.seen.first().map(|seen| seen.map(|seen| seen.samples));
            assert_eq!(samples, Some(judged.then_some(back)));
        }
    }
}

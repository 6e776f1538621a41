use std::time::Duration;

use seawall_core::{
    Class, Outcome, Timestamp,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{
    builder::BreakerConfigBuilder,
    change::Cause,
    config::CountAs,
    figures::Figures,
    mark::Mark,
    recovery::{self, Finding, Recovery},
};

/// The thresholds of a running breaker. Each is a word of its own that can change at any time; none guards other memory,
/// so all accesses are relaxed.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Whether of a success only that it is one matters: nothing is slow, and nobody counts failures in a row.
    plain: AtomicBool,
    /// Latency above which a call is slow, in nanoseconds; [`NEVER`] when nothing is.
    slow_after: AtomicU64,
    /// Age from which on a cancelled call counts; [`NEVER`] when none does.
    cancelled_after: AtomicU64,
    consecutive_failures: AtomicU32,
    min_calls: AtomicU32,
    failure_ratio: AtomicU64,
    slow_ratio: AtomicU64,
    probes: AtomicU32,
    probes_at_once: AtomicU32,
    /// How many successes close it, or one of the marks below.
    recovery: AtomicU32,
    stable_for: AtomicU64,
    ramp: AtomicU64,
    enforce: AtomicU64,
    /// In nanoseconds, or [`FOLLOWS`].
    max_probe_age: AtomicU64,
    open_for: AtomicU64,
    pushback: AtomicU64,
    overload: AtomicU8,
    cancelled: AtomicU8,
}

const NEVER: u64 = u64::MAX;

/// Mark of a probe age that nobody has set: it is what a slow call is, or the open time.
const FOLLOWS: u64 = 0;
/// No probe is given up on sooner because of that: one second.
pub(crate) const SHORTEST_PROBE_AGE: u64 = 1_000_000_000;

/// What probes are tested against where no share of failures opens.
const EVEN: f64 = 0.5;

/// Marks among numbers of successes, which are 1 to 255.
const TESTED: u32 = 0;
const BY_RATIO: u32 = u32::MAX;

fn nanos(time: Duration) -> u64 {
    Timestamp::ZERO.saturating_add(time).as_nanos()
}

const fn code(count_as: CountAs) -> u8 {
    match count_as {
        CountAs::Nothing => 0,
        CountAs::Success => 1,
        CountAs::Slow => 2,
        CountAs::Failure => 3,
    }
}

/// `slow`: whether the latency makes it so.
const fn mark_of(code: u8, slow: bool) -> Option<Mark> {
    match code {
        1 => Some(Mark::new(false, slow)),
        2 => Some(Mark::Slow),
        3 => Some(Mark::new(true, slow)),
        _ => None,
    }
}

/// How a round of probes ended.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Close,
    Open(Cause),
}

impl Settings {
    pub(crate) fn new(config: &BreakerConfigBuilder) -> Self {
        let settings = Self {
            plain: AtomicBool::new(false),
            slow_after: AtomicU64::new(NEVER),
            cancelled_after: AtomicU64::new(NEVER),
            consecutive_failures: AtomicU32::new(0),
            min_calls: AtomicU32::new(1),
            failure_ratio: AtomicU64::new(0),
            slow_ratio: AtomicU64::new(0),
            probes: AtomicU32::new(1),
            probes_at_once: AtomicU32::new(1),
            recovery: AtomicU32::new(TESTED),
            stable_for: AtomicU64::new(0),
            ramp: AtomicU64::new(0),
            enforce: AtomicU64::new(0),
            max_probe_age: AtomicU64::new(FOLLOWS),
            open_for: AtomicU64::new(0),
            pushback: AtomicU64::new(0),
            overload: AtomicU8::new(0),
            cancelled: AtomicU8::new(0),
        };
        settings.set(config);
        settings
    }

    /// Not by two threads at once: the ledger is locked.
    pub(crate) fn set(&self, config: &BreakerConfigBuilder) {
        let counts = config.cancelled != CountAs::Nothing;
        self.cancelled_after.store(if counts { nanos(config.counted_cancel_age()) } else { NEVER }, Relaxed);
        self.consecutive_failures.store(config.consecutive_failures.unwrap_or(0), Relaxed);
        self.min_calls.store(config.min_calls, Relaxed);
        // No ratio is above 1, so 2 is never reached.
        self.failure_ratio.store(config.failure_ratio.unwrap_or(2.0).to_bits(), Relaxed);
        self.slow_ratio.store(config.slow_ratio.to_bits(), Relaxed);
        self.probes.store(config.probes, Relaxed);
        self.probes_at_once.store(config.most_at_once(), Relaxed);
        let recovery = match config.recovery {
            Recovery::Tested => TESTED,
            Recovery::ByRatio => BY_RATIO,
            Recovery::BySuccesses(successes) => successes,
        };
        self.recovery.store(recovery, Relaxed);
        self.stable_for.store(nanos(config.stable_for), Relaxed);
        self.ramp.store(nanos(config.ramp), Relaxed);
        self.enforce.store(config.enforce.to_bits(), Relaxed);
        self.max_probe_age.store(config.max_probe_age.map_or(FOLLOWS, nanos), Relaxed);
        self.open_for.store(nanos(config.open_for), Relaxed);
        self.pushback.store(config.pushback.map_or(0, nanos), Relaxed);
        self.overload.store(code(config.overload), Relaxed);
        self.set_slow_after(config.slow_after);
        self.cancelled.store(code(config.cancelled), Relaxed);
    }

    /// Not by two threads at once: the ledger is locked.
    pub(crate) fn set_slow_after(&self, latency: Option<Duration>) {
        let latency = latency.map_or(NEVER, nanos);
        self.slow_after.store(latency, Relaxed);
        self.plain.store(latency == NEVER && self.consecutive_failures() == 0, Relaxed);
    }

    /// Whether of a success only that it is one matters.
    #[inline]
    pub(crate) fn are_plain(&self) -> bool {
        self.plain.load(Relaxed)
    }

    /// Whether the age of a call that is given up on matters.
    #[inline]
    pub(crate) fn counts_cancelled(&self) -> bool {
        self.cancelled_after.load(Relaxed) != NEVER
    }

    /// Whether a call that took `latency` nanoseconds is slow.
    #[inline]
    pub(crate) fn is_slow(&self, latency: u64) -> bool {
        latency > self.slow_after.load(Relaxed)
    }

    /// Whether a success is fast however long it took.
    #[inline]
    pub(crate) fn ignores_latency(&self) -> bool {
        self.slow_after.load(Relaxed) == NEVER
    }

    /// The latency above which a call is slow.
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        match self.slow_after.load(Relaxed) {
            NEVER => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// What a call counts as that ended with `outcome` after `latency` nanoseconds.
    #[inline]
    pub(crate) fn mark(&self, outcome: Outcome, latency: u64) -> Option<Mark> {
        let slow = self.is_slow(latency);
        match outcome {
            Outcome::Finished(Class::Success) => Some(Mark::new(false, slow)),
            Outcome::Finished(Class::Overload) => mark_of(self.overload.load(Relaxed), slow),
            Outcome::Finished(Class::Failure) | Outcome::TimedOut | Outcome::Panicked => Some(Mark::new(true, slow)),
            Outcome::Cancelled | Outcome::DeadlineExceeded if latency >= self.cancelled_after.load(Relaxed) => {
                mark_of(self.cancelled.load(Relaxed), slow)
            }
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures.load(Relaxed)
    }

    #[inline]
    pub(crate) fn min_calls(&self) -> u64 {
        self.min_calls.load(Relaxed).into()
    }

    pub(crate) fn probes(&self) -> u64 {
        self.probes.load(Relaxed).into()
    }

    /// How many probes may be under way at the same time.
    pub(crate) fn probes_at_once(&self) -> u64 {
        self.probes_at_once.load(Relaxed).into()
    }

    /// How long after closing all calls are admitted again.
    pub(crate) fn ramp(&self) -> u64 {
        self.ramp.load(Relaxed)
    }

    /// Whether all refusals are carried out.
    #[inline]
    pub(crate) fn enforces_all(&self) -> bool {
        self.enforce.load(Relaxed) == 1.0_f64.to_bits()
    }

    /// The share of refusals that is carried out.
    pub(crate) fn enforce(&self) -> f64 {
        f64::from_bits(self.enforce.load(Relaxed))
    }

    pub(crate) fn max_probe_age(&self) -> u64 {
        match (self.max_probe_age.load(Relaxed), self.slow_after.load(Relaxed)) {
            (FOLLOWS, NEVER) => self.open_for.load(Relaxed).max(SHORTEST_PROBE_AGE),
            (FOLLOWS, slow_after) => slow_after.max(SHORTEST_PROBE_AGE),
            (age, _) => age,
        }
    }

    /// The longest wait that the other side may ask for; 0 when it may not.
    pub(crate) fn pushback(&self) -> u64 {
        self.pushback.load(Relaxed)
    }

    /// Whether these results, of which there are enough, open the circuit.
    pub(crate) fn judge(&self, figures: &Figures) -> Option<Cause> {
        let threshold = f64::from_bits(self.failure_ratio.load(Relaxed));
        if let Some(measured) = figures.failure_ratio().filter(|measured| *measured >= threshold) {
            return Some(Cause::FailureRatio { measured, threshold });
        }
        let threshold = f64::from_bits(self.slow_ratio.load(Relaxed));
        figures
            .slow_ratio()
            .filter(|measured| *measured >= threshold)
            .map(|measured| Cause::SlowRatio { measured, threshold })
    }

    /// Whether what opens the circuit is clearly above its threshold, or somebody wants the threshold plain.
    pub(crate) fn is_clear(&self, figures: &Figures, minimum: u64) -> bool {
        let clearly = |bad, ratio: &AtomicU64| {
            let threshold = f64::from_bits(ratio.load(Relaxed));
            threshold <= 1.0 && recovery::is_clearly_above(bad, figures, minimum, threshold)
        };
        !self.is_tested() || clearly(figures.failures, &self.failure_ratio) || clearly(figures.slow, &self.slow_ratio)
    }

    /// Whether rounds are judged by a sequential test.
    pub(crate) fn is_tested(&self) -> bool {
        self.recovery.load(Relaxed) == TESTED
    }

    /// The thresholds of failures and of slow calls; above 1 for none.
    pub(crate) fn ratios(&self) -> [f64; 2] {
        [&self.failure_ratio, &self.slow_ratio].map(|ratio| f64::from_bits(ratio.load(Relaxed)))
    }

    /// Whether a ratio is at least half of its threshold.
    pub(crate) fn is_near(&self, figures: &Figures) -> bool {
        let near = |measured: Option<f64>, ratio: &AtomicU64| {
            measured.is_some_and(|measured| 2.0 * measured >= f64::from_bits(ratio.load(Relaxed)))
        };
        near(figures.failure_ratio(), &self.failure_ratio) || near(figures.slow_ratio(), &self.slow_ratio)
    }

    /// After so long without opening, the open time starts again.
    pub(crate) fn stable_for(&self) -> u64 {
        self.stable_for.load(Relaxed)
    }

    /// The verdict on a round of probes; `None` while there is none yet.
    pub(crate) fn judge_round(&self, figures: &Figures) -> Option<Verdict> {
        match self.recovery.load(Relaxed) {
            TESTED => self.test_round(figures, self.probes()),
            BY_RATIO if figures.calls < self.min_calls().min(self.probes()) => None,
            BY_RATIO => Some(self.judge_ended(figures)),
            required => self.judge_successes(figures, required.into()),
        }
    }

    fn judge_successes(&self, figures: &Figures, required: u64) -> Option<Verdict> {
        // None is counted in both.
        let bad = figures.failures.saturating_add(figures.slow);
        if figures.calls.saturating_sub(bad) >= required {
            Some(Verdict::Close)
        } else if bad > self.probes().saturating_sub(required) {
            Some(Verdict::Open(Cause::ProbesFailed))
        } else {
            None
        }
    }

    /// The verdict by ratio on a round that has ended.
    pub(crate) fn judge_ended(&self, figures: &Figures) -> Verdict {
        let any_failure_opens = self.has_no_failure_ratio() && figures.failures > 0;
        if any_failure_opens || self.judge(figures).is_some() {
            Verdict::Open(Cause::ProbesFailed)
        } else {
            Verdict::Close
        }
    }

    /// The verdict on a round whose last probes hang, which are among the failures of `figures`.
    pub(crate) fn judge_given_up(&self, figures: &Figures) -> Verdict {
        // So many successes would have closed it before.
        if self.counts_successes() { Verdict::Open(Cause::ProbesHung) } else { self.judge_ended(figures) }
    }

    /// The verdict on a round that stays without some of its results, as their callers have given up: no more can come.
    pub(crate) fn judge_used_up(&self, figures: &Figures) -> Verdict {
        if figures.calls == 0 || self.counts_successes() {
            return Verdict::Open(Cause::ProbesHung);
        }
        let found = if self.is_tested() { self.test_round(figures, figures.calls) } else { None };
        found.unwrap_or_else(|| self.judge_ended(figures))
    }

    /// Whether a round is judged by its successes.
    pub(crate) fn counts_successes(&self) -> bool {
        !matches!(self.recovery.load(Relaxed), TESTED | BY_RATIO)
    }

    fn has_no_failure_ratio(&self) -> bool {
        f64::from_bits(self.failure_ratio.load(Relaxed)) > 1.0
    }

    fn test_round(&self, figures: &Figures, probes: u64) -> Option<Verdict> {
        let failing = if self.has_no_failure_ratio() {
            if figures.failures > 0 { Finding::Bad } else { recovery::test(0, figures.calls, probes, EVEN) }
        } else {
            let threshold = f64::from_bits(self.failure_ratio.load(Relaxed));
            recovery::test(figures.failures, figures.calls, probes, threshold)
        };
        let threshold = f64::from_bits(self.slow_ratio.load(Relaxed));
        let slow = recovery::test(figures.slow, figures.calls, probes, threshold);
        match (failing, slow) {
            (Finding::Bad, _) | (_, Finding::Bad) => Some(Verdict::Open(Cause::ProbesFailed)),
            (Finding::Well, Finding::Well) => Some(Verdict::Close),
            _ => None,
        }
    }
}

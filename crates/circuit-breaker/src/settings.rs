use std::time::Duration;

use seawall_core::{
    Class, Outcome, Timestamp,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{builder::BreakerConfigBuilder, change::Cause, config::CountAs, figures::Figures, mark::Mark};

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
    required_successes: AtomicU32,
    max_probe_age: AtomicU64,
    pushback: AtomicU64,
    overload: AtomicU8,
    cancelled: AtomicU8,
}

const NEVER: u64 = u64::MAX;

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
            required_successes: AtomicU32::new(0),
            max_probe_age: AtomicU64::new(NEVER),
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
        self.required_successes.store(config.required_successes.unwrap_or(0), Relaxed);
        self.max_probe_age.store(nanos(config.max_probe_age), Relaxed);
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
            Outcome::Cancelled if latency >= self.cancelled_after.load(Relaxed) => {
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

    pub(crate) fn max_probe_age(&self) -> u64 {
        self.max_probe_age.load(Relaxed)
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

    /// The verdict on a round of probes; `None` while there is none yet.
    pub(crate) fn judge_round(&self, figures: &Figures) -> Option<Verdict> {
        let probes = self.probes();
        let required = u64::from(self.required_successes.load(Relaxed));
        if required != 0 {
            return if figures.calls.saturating_sub(figures.failures) >= required {
                Some(Verdict::Close)
            } else if figures.failures > probes.saturating_sub(required) {
                Some(Verdict::Open(Cause::ProbesFailed))
            } else {
                None
            };
        }
        if figures.calls < self.min_calls().min(probes) {
            return None;
        }
        let any_failure_opens = f64::from_bits(self.failure_ratio.load(Relaxed)) > 1.0 && figures.failures > 0;
        if any_failure_opens || self.judge(figures).is_some() {
            return Some(Verdict::Open(Cause::ProbesFailed));
        }
        Some(Verdict::Close)
    }
}

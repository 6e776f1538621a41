use std::time::Duration;

use crate::{HealthError, RecoveryAction};

/// What a check is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckKind {
    /// A failure means that this process must be started anew. Only for what a restart mends: a process that asks its
    /// database here restarts with every outage of the database.
    Liveness,
    /// A failure means that no work is to be sent to this process. Not for what all instances share: they would all
    /// leave at once.
    Readiness,
    /// Until it has passed once, the process is starting and is neither ready nor judged alive.
    Startup,
    /// A failure is shown and acted upon, and changes no probe.
    Info,
}

impl CheckKind {
    /// The name as it stands in answers: `readiness`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
            Self::Info => "info",
        }
    }
}

/// How one check is run and judged.
///
/// # Examples
/// ```
/// use seawall_health::{CheckConfig, CheckKind, RecoveryAction};
/// use std::time::Duration;
///
/// let config = CheckConfig::database().with_interval(Duration::from_secs(10));
/// assert_eq!((config.timeout, config.failures), (Duration::from_secs(5), 2));
/// assert_eq!((config.kind, config.action), (CheckKind::Info, Some(RecoveryAction::OpenCircuit)));
/// ```
#[derive(Copy, Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckConfig {
    /// What it is for.
    pub kind: CheckKind,
    /// From the start of one run to the start of the next. More than 0; default 10 s.
    pub interval: Duration,
    /// The same until the first pass, so that a process which starts is found out to be ready without waiting for a
    /// whole interval. More than 0; default: as [`interval`](Self::interval).
    pub starting_interval: Option<Duration>,
    /// How long a run may take; [`Duration::ZERO`] asks for an answer at once. Less than
    /// [`interval`](Self::interval); default 2 s.
    pub timeout: Duration,
    /// Failures in a row after which the check fails. At least 1; default 3.
    pub failures: u32,
    /// Passes in a row after which a failing check passes again. The first pass of all suffices by itself. At least 1;
    /// default 2, so that one lucky run does not end an outage.
    pub successes: u32,
    /// How much of the interval is left to chance, so that instances started together do not check together: each is
    /// shorter by up to that share. 0 to 1; default 0.1.
    pub jitter: f64,
    /// The wait before the first run. Default 0.
    pub initial_delay: Duration,
    /// What is done about a failure. Default: nothing.
    pub action: Option<RecoveryAction>,
}

/// How many intervals may pass without a run being completed before a check is stuck.
pub(crate) const STALE_INTERVALS: u32 = 3;

impl CheckConfig {
    /// A check of that kind, every 10 s, cut after 2 s, failing after 3 failures.
    pub const fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            interval: Duration::from_secs(10),
            starting_interval: None,
            timeout: Duration::from_secs(2),
            failures: 3,
            successes: 2,
            jitter: 0.1,
            initial_delay: Duration::ZERO,
            action: None,
        }
    }

    /// The application itself: every 10 s, cut after 2 s; after 3 failures the instance is to be removed from the pool.
    pub const fn application() -> Self {
        Self::new(CheckKind::Readiness).with_action(RecoveryAction::RemoveFromPool)
    }

    /// A database: every 30 s, cut after 5 s; after 2 failures the circuit before it is to be opened. It changes no
    /// probe, since all instances share the database.
    pub const fn database() -> Self {
        Self::new(CheckKind::Info)
            .with_interval(Duration::from_secs(30))
            .with_timeout(Duration::from_secs(5))
            .with_failures(2)
            .with_action(RecoveryAction::OpenCircuit)
    }

    /// A cache: every 15 s, cut after 1 s; after 5 failures it is to be bypassed. It changes no probe.
    pub const fn cache() -> Self {
        Self::new(CheckKind::Info)
            .with_interval(Duration::from_secs(15))
            .with_timeout(Duration::from_secs(1))
            .with_failures(5)
            .with_action(RecoveryAction::BypassCache)
    }

    /// Disk space: every 60 s, cut after 1 s; the first reading below the limit (10% free by default, see
    /// [`Watermark`](crate::Watermark)) alerts and cleans up. It changes no probe.
    pub const fn disk_space() -> Self {
        Self::new(CheckKind::Info)
            .with_interval(Duration::from_secs(60))
            .with_timeout(Duration::from_secs(1))
            .with_failures(1)
            .with_successes(1)
            .with_action(RecoveryAction::AlertAndCleanUp)
    }

    /// Memory: every 10 s, answered at once; the first reading above the limit (90% used by default, see
    /// [`Watermark`](crate::Watermark)) asks for a graceful restart. It changes no probe: the restart drains first.
    pub const fn memory() -> Self {
        Self::new(CheckKind::Info)
            .with_timeout(Duration::ZERO)
            .with_failures(1)
            .with_successes(1)
            .with_action(RecoveryAction::RestartGracefully)
    }

    /// Of another kind.
    #[must_use]
    pub const fn with_kind(mut self, kind: CheckKind) -> Self {
        self.kind = kind;
        self
    }

    /// With that time from run to run.
    #[must_use]
    pub const fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// With that time from run to run until the first pass.
    #[must_use]
    pub const fn with_starting_interval(mut self, interval: Duration) -> Self {
        self.starting_interval = Some(interval);
        self
    }

    /// With that time for a run.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Failing after that many failures in a row.
    #[must_use]
    pub const fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Passing again after that many passes in a row.
    #[must_use]
    pub const fn with_successes(mut self, successes: u32) -> Self {
        self.successes = successes;
        self
    }

    /// With that share of the interval left to chance.
    #[must_use]
    pub const fn with_jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// With that wait before the first run.
    #[must_use]
    pub const fn with_initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// With that to be done about a failure.
    #[must_use]
    pub const fn with_action(mut self, action: RecoveryAction) -> Self {
        self.action = Some(action);
        self
    }

    /// Checks every setting, and those that depend on each other.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), HealthError> {
        if self.interval.is_zero() {
            return Err(HealthError::Interval);
        }
        if self.starting_interval.is_some_and(|interval| interval.is_zero()) {
            return Err(HealthError::StartingInterval);
        }
        if self.timeout >= self.interval {
            return Err(HealthError::Timeout { timeout: self.timeout, interval: self.interval });
        }
        if self.failures == 0 {
            return Err(HealthError::Threshold { field: "failures" });
        }
        if self.successes == 0 {
            return Err(HealthError::Threshold { field: "successes" });
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(HealthError::Jitter { jitter: self.jitter });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_the_five_rows_of_the_table() {
        let row = |it: CheckConfig| (it.interval.as_secs(), it.timeout.as_secs(), it.failures, it.action);

        assert_eq!(row(CheckConfig::application()), (10, 2, 3, Some(RecoveryAction::RemoveFromPool)));
        assert_eq!(row(CheckConfig::database()), (30, 5, 2, Some(RecoveryAction::OpenCircuit)));
        assert_eq!(row(CheckConfig::cache()), (15, 1, 5, Some(RecoveryAction::BypassCache)));
        assert_eq!(row(CheckConfig::disk_space()), (60, 1, 1, Some(RecoveryAction::AlertAndCleanUp)));
        assert_eq!(row(CheckConfig::memory()), (10, 0, 1, Some(RecoveryAction::RestartGracefully)));
        for preset in [
            CheckConfig::application(),
            CheckConfig::database(),
            CheckConfig::cache(),
            CheckConfig::disk_space(),
            CheckConfig::memory(),
        ] {
            assert_eq!(preset.validate(), Ok(()));
        }
    }

    #[test]
    fn only_the_application_check_decides_on_work() {
        assert_eq!(CheckConfig::application().kind, CheckKind::Readiness);
        for shared in [CheckConfig::database(), CheckConfig::cache(), CheckConfig::disk_space(), CheckConfig::memory()]
        {
            assert_eq!(shared.kind, CheckKind::Info);
        }
    }

    #[test]
    fn the_defaults_are_these() {
        assert_eq!(
            format!("{:?}", CheckConfig::new(CheckKind::Liveness)),
            "CheckConfig { kind: Liveness, interval: 10s, starting_interval: None, timeout: 2s, failures: 3, \
             successes: 2, jitter: 0.1, initial_delay: 0ns, action: None }"
        );
    }

    #[test]
    fn every_nonsense_is_named_with_field_value_and_range() {
        let good = CheckConfig::application();
        let texts = [
            (good.with_interval(Duration::ZERO), "interval is 0s; allowed is any time above 0s"),
            (good.with_starting_interval(Duration::ZERO), "starting_interval is 0s; allowed is any time above 0s"),
            (good.with_timeout(Duration::from_secs(10)), "timeout is 10s; allowed is less than interval, which is 10s"),
            (good.with_failures(0), "failures is 0; allowed are 1 to 4294967295"),
            (good.with_successes(0), "successes is 0; allowed are 1 to 4294967295"),
            (good.with_jitter(1.5), "jitter is 1.5; allowed are 0 to 1"),
            (good.with_jitter(f64::NAN), "jitter is NaN; allowed are 0 to 1"),
            (good.with_jitter(-0.1), "jitter is -0.1; allowed are 0 to 1"),
        ];

        for (config, text) in texts {
            assert_eq!(config.validate().map_err(|error| error.to_string()), Err(text.to_owned()));
        }
    }
}

use std::time::Duration;

use crate::PoolConfigError;

/// What waiting callers are told of a failed connect.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The failure itself, at once, when no connection is open whose return they could wait for; so is everybody who
    /// comes until the next connect is due. Nobody waits for seconds on a server that refuses.
    #[default]
    Report,
    /// Nothing: connects are tried again until the caller's time is up. The timeout then carries the last failure.
    KeepTrying,
}

/// The settings of a pool. The defaults are production figures; a pool checks them once, when it is made.
///
/// # Examples
/// ```
/// use seawall_pool::PoolConfig;
/// use std::time::Duration;
///
/// let config = PoolConfig::new().with_max(10).with_acquire_timeout(Duration::from_secs(2));
/// assert_eq!(config.idle_timeout, Duration::from_secs(30));
/// assert!(config.validate().is_ok());
/// assert_eq!(config.with_max(0).validate().unwrap_err().to_string(), "max is 0; allowed are 1 to 1000000");
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Connections at most, those being opened included. Range 1 to 1,000,000; default 20.
    pub max: usize,
    /// Idle connections that are kept open, and opened without being asked for. At most [`max`](Self::max); default 0:
    /// a pool that nobody uses costs the server nothing.
    pub min_idle: usize,
    /// Callers that may wait for a connection to come back. Callers beyond are refused at once. Those who wait for a
    /// connection that is being opened or checked do not count. Default 1,000; 0 lets nobody wait for a return.
    pub max_waiters: usize,
    /// How long a caller waits, unless its deadline is nearer. More than 0; default 5 s, the whole time of a usual
    /// call: who waits longer gives its connection to a caller that has gone.
    pub acquire_timeout: Duration,
    /// How long opening one connection may take. More than 0; default 3 s: shorter than the wait, so that who waits
    /// hears that connecting is what failed.
    pub connect_timeout: Duration,
    /// How long a check may take. More than 0; default 1 s.
    pub check_timeout: Duration,
    /// A connection that lay idle for longer is checked before it is handed out. Default 1 s: a round trip per second
    /// and idle connection at most, none on a busy pool. [`Duration::ZERO`] checks always, [`Duration::MAX`] never.
    pub check_after: Duration,
    /// A connection that lay idle for that long is closed, down to [`min_idle`](Self::min_idle). More than 0; default
    /// 30 s.
    pub idle_timeout: Duration,
    /// A connection that was opened that long ago is closed when nobody uses it. Each one's life is shortened by up to
    /// a tenth at random, so that connections opened together do not end together. More than
    /// [`idle_timeout`](Self::idle_timeout); default 30 min, so that servers that join take their share;
    /// [`Duration::MAX`] for no end.
    pub max_lifetime: Duration,
    /// How often a connection is handed out before it is closed. At least 1; default [`u32::MAX`]: no end.
    pub max_uses: u32,
    /// Connects under way at most. At least 1; default 4: a restarted server is not met by all at once.
    pub connect_concurrency: usize,
    /// The wait after a failed connect, doubled with each further failure up to
    /// [`max_connect_backoff`](Self::max_connect_backoff), and shortened at random by up to a half. More than 0;
    /// default 100 ms.
    pub connect_backoff: Duration,
    /// The longest wait between two connects that fail. At least [`connect_backoff`](Self::connect_backoff); default
    /// 5 s.
    pub max_connect_backoff: Duration,
    /// What waiting callers are told of a failed connect. Default: [`ConnectFailure::Report`].
    pub on_connect_failure: ConnectFailure,
}

/// As many connections as no machine has.
const MOST: usize = 1_000_000;

impl PoolConfig {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            max: 20,
            min_idle: 0,
            max_waiters: 1_000,
            acquire_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            check_timeout: Duration::from_secs(1),
            check_after: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(30),
            max_lifetime: Duration::from_secs(30 * 60),
            max_uses: u32::MAX,
            connect_concurrency: 4,
            connect_backoff: Duration::from_millis(100),
            max_connect_backoff: Duration::from_secs(5),
            on_connect_failure: ConnectFailure::Report,
        }
    }

    /// With that many connections at most.
    #[must_use]
    pub const fn with_max(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// With that many idle connections kept open.
    #[must_use]
    pub const fn with_min_idle(mut self, min_idle: usize) -> Self {
        self.min_idle = min_idle;
        self
    }

    /// With that many callers at most that wait for a return.
    #[must_use]
    pub const fn with_max_waiters(mut self, max_waiters: usize) -> Self {
        self.max_waiters = max_waiters;
        self
    }

    /// With that wait for a caller.
    #[must_use]
    pub const fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// With that time for one connect.
    #[must_use]
    pub const fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// With that time for one check.
    #[must_use]
    pub const fn with_check_timeout(mut self, timeout: Duration) -> Self {
        self.check_timeout = timeout;
        self
    }

    /// With checks for connections that lay idle for longer than `idle`.
    #[must_use]
    pub const fn with_check_after(mut self, idle: Duration) -> Self {
        self.check_after = idle;
        self
    }

    /// With that end of idle connections.
    #[must_use]
    pub const fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// With that end of all connections.
    #[must_use]
    pub const fn with_max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = lifetime;
        self
    }

    /// With that many uses of one connection.
    #[must_use]
    pub const fn with_max_uses(mut self, uses: u32) -> Self {
        self.max_uses = uses;
        self
    }

    /// With that many connects at the same time.
    #[must_use]
    pub const fn with_connect_concurrency(mut self, connects: usize) -> Self {
        self.connect_concurrency = connects;
        self
    }

    /// With waits between failing connects that grow from `first` to `longest`.
    #[must_use]
    pub const fn with_connect_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.connect_backoff = first;
        self.max_connect_backoff = longest;
        self
    }

    /// With that answer to callers when a connect fails.
    #[must_use]
    pub const fn with_connect_failure(mut self, answer: ConnectFailure) -> Self {
        self.on_connect_failure = answer;
        self
    }

    /// Checks every setting, and those that depend on each other.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), PoolConfigError> {
        if !(1..=MOST).contains(&self.max) {
            return Err(PoolConfigError::Max { max: self.max });
        }
        if self.min_idle > self.max {
            return Err(PoolConfigError::MinIdle { min_idle: self.min_idle, max: self.max });
        }
        let waits = [
            ("acquire_timeout", self.acquire_timeout),
            ("connect_timeout", self.connect_timeout),
            ("check_timeout", self.check_timeout),
            ("idle_timeout", self.idle_timeout),
            ("connect_backoff", self.connect_backoff),
        ];
        if let Some((field, _)) = waits.into_iter().find(|(_, wait)| wait.is_zero()) {
            return Err(PoolConfigError::NoTime { field });
        }
        if self.max_lifetime <= self.idle_timeout && self.max_lifetime != Duration::MAX {
            return Err(PoolConfigError::MaxLifetime {
                max_lifetime: self.max_lifetime,
                idle_timeout: self.idle_timeout,
            });
        }
        if self.max_uses == 0 {
            return Err(PoolConfigError::Zero { field: "max_uses" });
        }
        if self.connect_concurrency == 0 {
            return Err(PoolConfigError::Zero { field: "connect_concurrency" });
        }
        if self.max_connect_backoff < self.connect_backoff {
            return Err(PoolConfigError::MaxConnectBackoff {
                max_connect_backoff: self.max_connect_backoff,
                connect_backoff: self.connect_backoff,
            });
        }
        Ok(())
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_these() {
        let config = PoolConfig::new();

        assert_eq!(
            format!("{config:?}"),
            "PoolConfig { max: 20, min_idle: 0, max_waiters: 1000, acquire_timeout: 5s, connect_timeout: 3s, \
             check_timeout: 1s, check_after: 1s, idle_timeout: 30s, max_lifetime: 1800s, max_uses: 4294967295, \
             connect_concurrency: 4, connect_backoff: 100ms, max_connect_backoff: 5s, on_connect_failure: Report }"
        );
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(PoolConfig::default(), config);
    }

    #[test]
    fn every_nonsense_is_named_with_field_value_and_range() {
        let good = PoolConfig::new();
        let zero = Duration::ZERO;
        let second = Duration::from_secs(1);
        let texts = [
            (good.with_max(0), "max is 0; allowed are 1 to 1000000"),
            (good.with_max(1_000_001), "max is 1000001; allowed are 1 to 1000000"),
            (good.with_min_idle(21), "min_idle is 21; allowed are 0 to max, which is 20"),
            (good.with_acquire_timeout(zero), "acquire_timeout is 0s; allowed is any time above 0s"),
            (good.with_connect_timeout(zero), "connect_timeout is 0s; allowed is any time above 0s"),
            (good.with_check_timeout(zero), "check_timeout is 0s; allowed is any time above 0s"),
            (good.with_idle_timeout(zero), "idle_timeout is 0s; allowed is any time above 0s"),
            (good.with_connect_backoff(zero, zero), "connect_backoff is 0s; allowed is any time above 0s"),
            (good.with_max_uses(0), "max_uses is 0; allowed is 1 or more"),
            (good.with_connect_concurrency(0), "connect_concurrency is 0; allowed is 1 or more"),
            (
                good.with_max_lifetime(Duration::from_secs(30)),
                "max_lifetime is 30s; allowed is more than idle_timeout, which is 30s",
            ),
            (
                good.with_connect_backoff(second * 2, second),
                "max_connect_backoff is 1s; allowed is connect_backoff, which is 2s, or more",
            ),
        ];

        for (config, text) in texts {
            assert_eq!(config.validate().map_err(|error| error.to_string()), Err(text.to_owned()));
        }
    }

    #[test]
    fn the_longest_times_are_allowed() {
        let config = PoolConfig::new()
            .with_acquire_timeout(Duration::MAX)
            .with_idle_timeout(Duration::MAX)
            .with_max_lifetime(Duration::MAX)
            .with_connect_backoff(Duration::MAX, Duration::MAX);

        assert_eq!(config.validate(), Ok(()));
    }
}

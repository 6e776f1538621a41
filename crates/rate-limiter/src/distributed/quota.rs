use std::time::Duration;

use crate::{Quota, QuotaError, keyed_quota::MAX_KEYS};

const DEFAULT_LEASE_FOR: Duration = Duration::from_millis(100);
/// Below it processes would do little but ask, above it an idle one keeps from others what it does not use.
pub(crate) const LEASE_FOR: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_MAX_KEYS: usize = 10_000;

/// What calls are told while the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[expect(clippy::exhaustive_enums, reason = "a call goes on or does not")]
pub enum IfGone {
    /// Each process admits its local share, the quota divided by the number of processes: the default.
    #[default]
    LocalShare,
    /// No call goes on that the store has not granted: what is leased is used up, and then all are refused.
    Refuse,
}

/// A [`Quota`] that several processes share, of each key.
///
/// The processes have it from a [`Store`](crate::Store): a call goes on by what its process has *leased* there ahead of
/// need, and waits for nothing. Where that is used up and the store has not yet said that the quota is, the call goes on
/// by the process's *local share*, which is settled with the store afterwards.
///
/// ```
/// use seawall_rate_limiter::{DistributedQuota, IfGone, Quota};
///
/// let quota = DistributedQuota::new(Quota::per_second(1_000)?.with_burst(200)?, 8)?.with_if_gone(IfGone::Refuse);
/// assert_eq!(quota.local_share(), Quota::every(std::time::Duration::from_millis(8))?.with_burst(25)?);
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawDistributedQuota", into = "RawDistributedQuota"))]
pub struct DistributedQuota {
    quota: Quota,
    processes: u32,
    local_share: Quota,
    lease_for: Duration,
    timeout: Duration,
    if_gone: IfGone,
    max_keys: usize,
}

impl DistributedQuota {
    /// The quota of each key for all `processes` together, at least 1. A number that is too high makes a process admit
    /// too little while the store is gone, one that is too low too much; while the store answers it changes next to
    /// nothing.
    ///
    /// The burst should cover what comes in a round trip to the store and a tenth of [`DistributedQuota::lease_for`]: a
    /// process that has all the demand cannot fetch more than one burst in that time.
    ///
    /// # Errors
    /// [`QuotaError::Processes`] when it is 0, and [`QuotaError::Period`] when a process would regain a call of its share
    /// in more than 292 years.
    pub fn new(quota: Quota, processes: u32) -> Result<Self, QuotaError> {
        let Some(burst) = quota.burst().checked_div(processes) else { return Err(QuotaError::Processes { processes }) };
        let interval = quota.interval().checked_mul(processes).unwrap_or(Duration::MAX);
        Ok(Self {
            quota,
            processes,
            local_share: Quota::every(interval)?.with_burst(burst.max(1))?,
            lease_for: DEFAULT_LEASE_FOR,
            timeout: DEFAULT_TIMEOUT,
            if_gone: IfGone::LocalShare,
            max_keys: DEFAULT_MAX_KEYS,
        })
    }

    /// The same with another quota, for as many processes.
    ///
    /// # Errors
    /// As [`DistributedQuota::new`].
    pub fn with_quota(self, quota: Quota) -> Result<Self, QuotaError> {
        let Self { quota, local_share, .. } = Self::new(quota, self.processes)?;
        Ok(Self { quota, local_share, ..self })
    }

    /// For how much of its expected demand a process leases ahead. Longer asks the store less often and keeps more from
    /// the other processes: it is asked about twice in this time for each key that is in use, up to ten times while the
    /// quota is used up. Allowed: 1 ms to 60 s. Default 100 ms.
    ///
    /// # Errors
    /// [`QuotaError::LeaseFor`] outside that range.
    pub fn with_lease_for(mut self, lease_for: Duration) -> Result<Self, QuotaError> {
        if lease_for < LEASE_FOR.0 || lease_for > LEASE_FOR.1 {
            return Err(QuotaError::LeaseFor { lease_for });
        }
        self.lease_for = lease_for;
        Ok(self)
    }

    /// After what time the store is taken to be gone that has not answered. A store that is slower than a tenth of it is
    /// asked earlier and for more. Allowed: any time above zero. Default 1 s.
    ///
    /// # Errors
    /// [`QuotaError::Timeout`] when it is zero.
    pub fn with_timeout(mut self, timeout: Duration) -> Result<Self, QuotaError> {
        if timeout.is_zero() {
            return Err(QuotaError::Timeout { timeout });
        }
        self.timeout = timeout;
        Ok(self)
    }

    /// What happens while the store is gone. Default [`IfGone::LocalShare`].
    #[must_use]
    pub const fn with_if_gone(mut self, if_gone: IfGone) -> Self {
        self.if_gone = if_gone;
        self
    }

    /// How many keys are told apart at one time; those beyond share one quota. A key that is not in use takes no room.
    /// Allowed: 1 to 16,777,216. Default 10,000.
    ///
    /// # Errors
    /// [`QuotaError::MaxKeys`] outside that range.
    pub const fn with_max_keys(mut self, max_keys: usize) -> Result<Self, QuotaError> {
        if max_keys == 0 || max_keys > MAX_KEYS {
            return Err(QuotaError::MaxKeys { max_keys });
        }
        self.max_keys = max_keys;
        Ok(self)
    }

    /// The quota of each key, of all processes together.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// How many processes share it.
    pub const fn processes(&self) -> u32 {
        self.processes
    }

    /// What each process admits by itself while the store is gone: the quota divided by the number of processes, its burst
    /// likewise but at least 1.
    pub const fn local_share(&self) -> Quota {
        self.local_share
    }

    /// For how much of its demand a process leases ahead.
    pub const fn lease_for(&self) -> Duration {
        self.lease_for
    }

    /// After what time a store is gone that has not answered.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What happens while the store is gone.
    pub const fn if_gone(&self) -> IfGone {
        self.if_gone
    }

    /// How many keys are told apart at one time.
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDistributedQuota {
    quota: Quota,
    processes: u32,
    #[serde(default = "default_lease_for", with = "humantime_serde")]
    lease_for: Duration,
    #[serde(default = "default_timeout", with = "humantime_serde")]
    timeout: Duration,
    #[serde(default)]
    if_gone: IfGone,
    #[serde(default = "default_max_keys")]
    max_keys: usize,
}

#[cfg(feature = "serde")]
const fn default_lease_for() -> Duration {
    DEFAULT_LEASE_FOR
}

#[cfg(feature = "serde")]
const fn default_timeout() -> Duration {
    DEFAULT_TIMEOUT
}

#[cfg(feature = "serde")]
const fn default_max_keys() -> usize {
    DEFAULT_MAX_KEYS
}

#[cfg(feature = "serde")]
impl From<DistributedQuota> for RawDistributedQuota {
    fn from(it: DistributedQuota) -> Self {
        let DistributedQuota { quota, processes, lease_for, timeout, if_gone, max_keys, .. } = it;
        Self { quota, processes, lease_for, timeout, if_gone, max_keys }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawDistributedQuota> for DistributedQuota {
    type Error = QuotaError;

    fn try_from(raw: RawDistributedQuota) -> Result<Self, QuotaError> {
        let RawDistributedQuota { quota, processes, lease_for, timeout, if_gone, max_keys } = raw;
        let quota = Self::new(quota, processes)?.with_lease_for(lease_for)?.with_timeout(timeout)?;
        quota.with_if_gone(if_gone).with_max_keys(max_keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota() -> DistributedQuota {
        DistributedQuota::new(Quota::per_second(10).unwrap().with_burst(12).unwrap(), 5).unwrap()
    }

    #[test]
    fn defaults_are_these() {
        let (whole, share) = (quota().quota(), quota().local_share());

        assert_eq!(
            format!("{:?}", quota()),
            format!(
                "DistributedQuota {{ quota: {whole:?}, processes: 5, local_share: {share:?}, lease_for: 100ms, timeout: 1s, \
                 if_gone: LocalShare, max_keys: 10000 }}"
            )
        );
    }

    #[test]
    fn the_local_shares_of_all_processes_are_the_quota_and_a_burst_of_one_is_not_divided() {
        assert_eq!((quota().local_share().interval(), quota().local_share().burst()), (Duration::from_millis(500), 2));

        let one = DistributedQuota::new(Quota::per_second(10).unwrap(), 5).unwrap();

        assert_eq!(one.local_share().burst(), 1);
    }

    #[test]
    fn what_cannot_work_is_not_built() {
        let second = Quota::per_second(1).unwrap();
        let longest = Quota::every(crate::quota::MAX_SPAN).unwrap();

        assert_eq!(DistributedQuota::new(second, 0), Err(QuotaError::Processes { processes: 0 }));
        assert!(matches!(DistributedQuota::new(longest, u32::MAX), Err(QuotaError::Interval { .. })));
        for lease_for in [Duration::ZERO, Duration::from_micros(999), Duration::from_secs(61), Duration::MAX] {
            assert_eq!(quota().with_lease_for(lease_for), Err(QuotaError::LeaseFor { lease_for }));
        }
        assert_eq!(quota().with_timeout(Duration::ZERO), Err(QuotaError::Timeout { timeout: Duration::ZERO }));
        assert_eq!(quota().with_max_keys(0), Err(QuotaError::MaxKeys { max_keys: 0 }));
        assert_eq!(quota().with_max_keys(usize::MAX), Err(QuotaError::MaxKeys { max_keys: usize::MAX }));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_as_it_is_written() {
        let text =
            r#"{"quota": {"calls": 5, "period": "1s"}, "processes": 3, "if_gone": "refuse", "lease_for": "20ms"}"#;
        let read: DistributedQuota = serde_json::from_str(text).unwrap();

        let built = DistributedQuota::new(Quota::per_second(5).unwrap(), 3).unwrap();
        assert_eq!(Ok(read), built.with_if_gone(IfGone::Refuse).with_lease_for(Duration::from_millis(20)));
        assert_eq!(serde_json::from_str::<DistributedQuota>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
    }
}

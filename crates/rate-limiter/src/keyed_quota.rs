use crate::{Quota, QuotaError};

const DEFAULT_MAX_KEYS: usize = 10_000;
/// 430 MB: a mistake, if it is more.
pub(crate) const MAX_KEYS: usize = 1 << 24;

/// A [`Quota`] that each key has to itself, and for how many keys there is room.
///
/// ```
/// use seawall_rate_limiter::{KeyedQuota, Quota};
///
/// let quota = KeyedQuota::new(Quota::per_second(10)?).with_max_keys(1_000_000)?;
/// assert_eq!(quota.max_keys(), 1_000_000);
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawKeyedQuota", into = "RawKeyedQuota"))]
pub struct KeyedQuota {
    quota: Quota,
    max_keys: usize,
}

impl KeyedQuota {
    /// The given quota for each key, and room for 10,000 keys.
    pub const fn new(quota: Quota) -> Self {
        Self { quota, max_keys: DEFAULT_MAX_KEYS }
    }

    /// How many keys may have used some of their quota at one time and still be told apart. Takes 25.5 bytes a key, at
    /// once and for good. Allowed: 1 to 16,777,216. Default 10,000. A key that has regained its whole burst takes no
    /// room, so this is the number of keys that are active within the time in which a burst is regained.
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

    /// The quota of each key.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// For how many keys there is room.
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }
}

impl From<Quota> for KeyedQuota {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeyedQuota {
    quota: Quota,
    #[serde(default = "default_max_keys")]
    max_keys: usize,
}

#[cfg(feature = "serde")]
const fn default_max_keys() -> usize {
    DEFAULT_MAX_KEYS
}

#[cfg(feature = "serde")]
impl From<KeyedQuota> for RawKeyedQuota {
    fn from(KeyedQuota { quota, max_keys }: KeyedQuota) -> Self {
        Self { quota, max_keys }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawKeyedQuota> for KeyedQuota {
    type Error = QuotaError;

    fn try_from(RawKeyedQuota { quota, max_keys }: RawKeyedQuota) -> Result<Self, QuotaError> {
        Self::new(quota).with_max_keys(max_keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_these() {
        let quota = Quota::per_second(10).unwrap();

        assert_eq!(
            format!("{:?}", KeyedQuota::new(quota)),
            format!("KeyedQuota {{ quota: {quota:?}, max_keys: 10000 }}")
        );
    }

    #[test]
    fn a_table_of_no_keys_or_of_all_memory_is_not_built() {
        let quota = KeyedQuota::new(Quota::per_second(10).unwrap());

        assert_eq!(quota.with_max_keys(0), Err(QuotaError::MaxKeys { max_keys: 0 }));
        assert_eq!(quota.with_max_keys(usize::MAX), Err(QuotaError::MaxKeys { max_keys: usize::MAX }));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_as_it_is_written() {
        let read: KeyedQuota = serde_json::from_str(r#"{"quota": {"calls": 5, "period": "1s"}}"#).unwrap();

        assert_eq!(read, KeyedQuota::new(Quota::per_second(5).unwrap()));
        assert_eq!(serde_json::from_str::<KeyedQuota>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
    }
}

use crate::{KeyedQuota, Quota, QuotaError};

/// One of several [`Quotas`](crate::Quotas): everybody's, or each key's, and by which name clients are told of it.
///
/// From a file, a list of them:
/// ```json
/// [{"name": "tenant", "keyed": {"quota": {"calls": 10, "period": "1s", "burst": 20}, "max_keys": 50000}},
///  {"name": "all", "shared": {"calls": 1000, "period": "1s", "burst": 100}}]
/// ```
///
/// ```
/// use seawall_rate_limiter::{OneQuota, Quota, Quotas};
///
/// let tenant = OneQuota::keyed(Quota::per_second(10)?).with_name("tenant")?;
/// let limiter = Quotas::from(vec![tenant, OneQuota::shared(Quota::per_second(1_000)?)]);
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawOneQuota", into = "RawOneQuota"))]
pub struct OneQuota {
    name: Option<Box<str>>,
    pub(crate) whose: Whose,
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    Everybodys(Quota),
    EachKeys(KeyedQuota),
}

impl OneQuota {
    /// One that all calls share, without a name.
    pub const fn shared(quota: Quota) -> Self {
        Self { name: None, whose: Whose::Everybodys(quota) }
    }

    /// One that each key has to itself, without a name.
    pub fn keyed(quota: impl Into<KeyedQuota>) -> Self {
        Self { name: None, whose: Whose::EachKeys(quota.into()) }
    }

    /// By which name clients, and metrics, are told of it. Allowed: printable ASCII, at least one. Default none: it is nobody's
    /// business. Two of one name cannot be told apart.
    ///
    /// # Errors
    /// [`QuotaError::Name`] for anything else.
    pub fn with_name(mut self, name: impl Into<Box<str>>) -> Result<Self, QuotaError> {
        let name = name.into();
        if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(QuotaError::Name { length: name.len() });
        }
        self.name = Some(name);
        Ok(self)
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The quota, of all or of each key.
    pub const fn quota(&self) -> Quota {
        match self.whose {
            Whose::Everybodys(quota) => quota,
            Whose::EachKeys(quota) => quota.quota(),
        }
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOneQuota {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared: Option<Quota>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyed: Option<KeyedQuota>,
}

#[cfg(feature = "serde")]
impl From<OneQuota> for RawOneQuota {
    fn from(OneQuota { name, whose }: OneQuota) -> Self {
        match whose {
            Whose::Everybodys(quota) => Self { name, shared: Some(quota), keyed: None },
            Whose::EachKeys(quota) => Self { name, shared: None, keyed: Some(quota) },
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawOneQuota> for OneQuota {
    type Error = QuotaError;

    fn try_from(RawOneQuota { name, shared, keyed }: RawOneQuota) -> Result<Self, QuotaError> {
        let quota = match (shared, keyed) {
            (Some(quota), None) => Self::shared(quota),
            (None, Some(quota)) => Self::keyed(quota),
            _ => return Err(QuotaError::Whose),
        };
        match name {
            Some(name) => quota.with_name(name),
            None => Ok(quota),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_header_can_hold_is_refused() {
        let named = |name: &str| OneQuota::shared(Quota::UNIT).with_name(name).map(|quota| quota.name().map(str::len));

        assert_eq!(named("per \"tenant\" ~"), Ok(Some(14)));
        assert_eq!(named(""), Err(QuotaError::Name { length: 0 }));
        assert_eq!(named("a\r\nb"), Err(QuotaError::Name { length: 4 }));
        assert_eq!(named("jährlich"), Err(QuotaError::Name { length: 9 }));
        assert_eq!(named("\u{7f}"), Err(QuotaError::Name { length: 1 }));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_list_is_read_as_it_is_written_and_nonsense_is_refused_by_name() {
        let text = r#"[{"name":"tenant","keyed":{"quota":{"calls":10,"period":"1s","burst":20},"max_keys":500}},
            {"shared":{"calls":1000,"period":"1m"}}]"#;
        let quotas: Vec<OneQuota> = serde_json::from_str(text).unwrap();
        let tenant = KeyedQuota::new(Quota::per_second(10).unwrap().with_burst(20).unwrap()).with_max_keys(500);
        let all = OneQuota::shared(Quota::per_minute(1_000).unwrap());
        assert_eq!(quotas, [OneQuota::keyed(tenant.unwrap()).with_name("tenant").unwrap(), all]);
        let written = serde_json::to_string(&quotas).unwrap();
        assert_eq!(serde_json::from_str::<Vec<OneQuota>>(&written).unwrap(), quotas);

        let error = |from: &str, to: &str| {
            serde_json::from_str::<Vec<OneQuota>>(&text.replace(from, to)).unwrap_err().to_string()
        };
        assert!(error("1000", "0").starts_with("calls is 0 in 60s; allowed are 1 to "), "{}", error("1000", "0"));
        assert!(error("500", "0").starts_with("max_keys is 0; allowed are 1 to "));
        assert!(error("tenant", "").starts_with("name of a quota holds 0 bytes"));
        assert!(error("keyed", "key").starts_with("unknown field `key`"));
        let both = r#""shared":{"calls":1,"period":"1s"},"keyed""#;
        let whose = "a quota is shared and keyed, or neither; allowed is one of the two";
        assert!(error(r#""keyed""#, both).starts_with(whose));
        assert!(error(r#"{"shared":{"calls":1000,"period":"1m"}}"#, "{}").starts_with(whose));
    }
}

use std::hash::Hash;

use crate::{KeyedQuota, Quota};

/// What a plan has to itself, and each tenant of it.
///
/// ```
/// use seawall_rate_limiter::{Plan, Quota};
///
/// let pro = Plan::new(Quota::per_second(500)?.with_burst(100)?, Quota::per_second(50)?.with_burst(10)?);
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Plan {
    pub(crate) quota: Quota,
    pub(crate) tenant: KeyedQuota,
}

impl Plan {
    /// A plan whose tenants have `quota` together, and each of them `tenant`.
    pub fn new(quota: Quota, tenant: impl Into<KeyedQuota>) -> Self {
        Self { quota, tenant: tenant.into() }
    }
}

/// A key that says on whose behalf a call is made: of which plan, and of it which tenant.
pub trait OfPlan {
    /// What tells tenants of one plan apart.
    type Tenant: Hash + ?Sized;

    /// The plan's name. One that is not known is the default plan.
    fn plan(&self) -> &str;

    /// The tenant.
    fn tenant(&self) -> &Self::Tenant;
}

/// The name of the plan, and the tenant.
impl<P: AsRef<str>, T: Hash> OfPlan for (P, T) {
    type Tenant = T;

    fn plan(&self) -> &str {
        self.0.as_ref()
    }

    fn tenant(&self) -> &T {
        &self.1
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written_and_nonsense_is_refused_by_name() {
        let text = r#"{"quota": {"calls": 500, "period": "1s", "burst": 100},
            "tenant": {"quota": {"calls": 50, "period": "1s"}, "max_keys": 1000}}"#;
        let plan: Plan = serde_json::from_str(text).unwrap();
        let tenant = KeyedQuota::new(Quota::per_second(50).unwrap()).with_max_keys(1_000).unwrap();
        assert_eq!(plan, Plan::new(Quota::per_second(500).unwrap().with_burst(100).unwrap(), tenant));
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);

        let error = |text: &str| serde_json::from_str::<Plan>(text).unwrap_err().to_string();
        assert!(error(&text.replace("500", "0")).starts_with("calls is 0 in 1s; allowed are 1 to "));
        assert!(error(&text.replace("1000", "0")).starts_with("max_keys is 0; allowed are 1 to "));
        assert!(error(&text.replace("tenant", "user")).starts_with("unknown field `user`"));
    }
}

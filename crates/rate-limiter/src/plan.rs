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

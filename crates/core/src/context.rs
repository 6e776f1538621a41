use crate::Timestamp;

/// How much a call matters when not all can be served. Higher is kept longer.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the four classes are the design: a fifth would change every threshold")]
pub enum Criticality {
    /// Goes first: batch work, prefetching.
    Sheddable = 0,
    /// May be answered in a degraded way.
    Degraded = 1,
    /// What says nothing.
    #[default]
    Default = 2,
    /// Goes last: payments, sign-in.
    Critical = 3,
}

impl Criticality {
    /// The name as it stands in headers and metrics: `sheddable`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::Degraded => "degraded",
            Self::Default => "default",
            Self::Critical => "critical",
        }
    }
}

/// What layers may want to know of a call, read lazily: a layer that does not ask parses no header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallContext {
    /// When the caller stops waiting.
    pub deadline: Option<Timestamp>,
    /// Whether that is the end of a total timeout further out, and not a time that the caller brought along.
    pub deadline_is_total: bool,
    /// How much the call matters. Default: [`Criticality::Default`].
    pub criticality: Criticality,
    /// Whether doing it twice does no harm; `None` when nobody knows, which differs from "no".
    pub idempotent: Option<bool>,
    /// How many places or tokens the call takes. Default 1.
    pub cost: u32,
    /// On whose behalf the call is made, as any number that tells tenants apart: a hash of an API key. 0, the default,
    /// for all of whom nothing is known: together they are one tenant.
    pub tenant: u64,
    /// Whether the call is let through whatever the load: health checks, administration. Default no.
    pub exempt: bool,
}

impl Default for CallContext {
    fn default() -> Self {
        Self {
            deadline: None,
            deadline_is_total: false,
            criticality: Criticality::Default,
            idempotent: None,
            cost: 1,
            tenant: 0,
            exempt: false,
        }
    }
}

impl CallContext {
    /// A call of which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A call on behalf of another, of which its deadline is known: [`inherited_deadline`](crate::inherited_deadline).
    #[inline]
    pub fn inherited() -> Self {
        Self {
            deadline: crate::inherited_deadline(),
            deadline_is_total: crate::inherit::inherits_total(),
            ..Self::default()
        }
    }

    /// The same call, with the [inherited deadline](crate::inherited_deadline) where that is earlier.
    #[must_use]
    #[inline]
    pub fn inheriting(mut self) -> Self {
        match (self.deadline, crate::inherited_deadline()) {
            (_, None) => {}
            (Some(own), Some(inherited)) if own <= inherited => {}
            (_, inherited) => {
                self.deadline = inherited;
                self.deadline_is_total = crate::inherit::inherits_total();
            }
        }
        self
    }

    /// With the time at which the caller stops waiting.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(deadline);
        self.deadline_is_total = false;
        self
    }

    /// With the end of a total timeout further out as its deadline.
    #[must_use]
    pub const fn with_total_deadline(mut self, end: Timestamp) -> Self {
        self.deadline = Some(end);
        self.deadline_is_total = true;
        self
    }

    /// With how much the call matters.
    #[must_use]
    pub const fn with_criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }

    /// With whether doing it twice does no harm.
    #[must_use]
    pub const fn with_idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = Some(idempotent);
        self
    }

    /// With how many places or tokens the call takes.
    #[must_use]
    pub const fn with_cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    /// With a number that tells on whose behalf the call is made.
    #[must_use]
    pub const fn with_tenant(mut self, tenant: u64) -> Self {
        self.tenant = tenant;
        self
    }

    /// Let through whatever the load.
    #[must_use]
    pub const fn with_exempt(mut self, exempt: bool) -> Self {
        self.exempt = exempt;
        self
    }
}

/// Reads the [`CallContext`] of a request. Any `Fn(&Request) -> CallContext` does, which begins with
/// [`CallContext::inherited`] where calls are made on behalf of others; `seawall-http` reads extensions and headers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot read a `{Req}`",
    note = "`seawall_http::env()` and the presets read HTTP requests: for others leave `env()` out, begin with `Client::empty()`, or give attributes of your own"
)]
pub trait Attributes<Req: ?Sized> {
    /// What is known of the call.
    fn context(&self, request: &Req) -> CallContext;
}

/// The default: nothing is known of any call but the deadline that it [inherits](crate::inherited_deadline).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct NoAttributes;

impl<Req: ?Sized> Attributes<Req> for NoAttributes {
    #[inline]
    fn context(&self, _: &Req) -> CallContext {
        CallContext::inherited()
    }
}

impl<F: Fn(&Req) -> CallContext, Req: ?Sized> Attributes<Req> for F {
    #[inline]
    fn context(&self, request: &Req) -> CallContext {
        self(request)
    }
}

//! How many requests each caller may send: one quota for all gateways together, in Redis where the cache is one.
//!
//! Who has an API key that is known has a quota by name. All others have that of the address they come from: a key that is
//! made up is worth nothing.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::Route;
use http::HeaderName;
use metrics::{counter, gauge};
use seawall::http::{QuotaName, RateLimitFields, RateLimitHeadersLayer, RespondLayer};
use seawall::rate_limiter::{DistributedKeyedGcra, DistributedQuota, DistributedRateLimiterLayer, Quota};
use seawall_core::{Clock as _, Env, MetricsObserver, MonotonicClock, Pattern, WrapErrorLayer};
use tower::layer::layer_fn;
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};

use super::{figures, peer};
use crate::config::ApiKeys;
use crate::link::{Instance, Role};
use crate::state::connect::Dial;
use crate::state::redis::quotas;
use crate::supervisor::Plan;

/// Holds a caller's key. Read by the gateway alone, and passed on to nobody.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Known callers of whom this many have room of their own, however their names fall together in the table.
const LEAST_KEYS: usize = 1_024;

/// Whose quota a request uses, a name without secrets: it stands in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Caller {
    Known(Arc<str>),
    /// By address.
    Stranger(Arc<str>),
}

impl Caller {
    fn of(request: &Request, known: &ApiKeys) -> Self {
        let key = request.headers().get(&API_KEY);
        if let Some(name) = key.and_then(|key| known.name_of(key.as_bytes())) {
            return Self::Known(Arc::clone(name));
        }
        let address = peer::read(request.headers());
        Self::Stranger(address.map_or_else(|| "anonymous".into(), |address| address.to_string().into()))
    }

    fn name(request: &Request) -> &str {
        match request.extensions().get() {
            Some(Self::Known(name) | Self::Stranger(name)) => name,
            None => "",
        }
    }
}

/// The quotas of callers of one kind, as one gateway holds them.
#[derive(Debug, Clone)]
struct Quotas {
    limiter: DistributedKeyedGcra,
    quota: Quota,
    name: &'static str,
}

impl Quotas {
    /// They are shared with the other gateways from here on.
    fn new(name: &'static str, rate: u32, max_keys: Option<usize>, instance: &Instance) -> anyhow::Result<Self> {
        let quota = Quota::per_second(rate)?.with_burst(rate)?;
        let mut shared = DistributedQuota::new(quota, Plan::count(Role::Gateway))?;
        if let Some(max_keys) = max_keys {
            shared = shared.with_max_keys(max_keys)?;
        }
        let limiter = DistributedKeyedGcra::new(shared);
        tokio::spawn(limiter.supply(quotas(Dial::new(instance.topology.clone()), name), MonotonicClock));
        Ok(Self { limiter, quota, name })
    }

    /// This service within its callers' quotas; answers tell how those stand.
    fn before<S>(
        &self,
        service: S,
        name: QuotaName,
    ) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + use<S>
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
    {
        let env = Env::new().with_observer(MetricsObserver::new(Pattern::RateLimiter, self.name));
        let limiter = DistributedRateLimiterLayer::with_env(self.limiter.clone(), Caller::name, env);
        let quotas = self.clone();
        let standing = move |request: &Request| {
            let (quotas, caller) = (quotas.clone(), Caller::name(request).to_owned());
            move || {
                let standing = quotas.limiter.standing(&caller, MonotonicClock.now());
                RateLimitFields::new().with(name, &quotas.quota, standing)
            }
        };
        ServiceBuilder::new()
            .map_response(|answer: http::Response<_>| answer.map(axum::body::Body::new))
            .layer(RateLimitHeadersLayer::new(standing))
            .layer(RespondLayer::new())
            .layer(limiter)
            .layer(WrapErrorLayer::new())
            .service(service)
    }
}

/// The quotas of all callers, as one gateway holds them.
#[derive(Debug, Clone)]
pub struct Limits {
    known: Arc<ApiKeys>,
    /// Apart from those of strangers, who are as many as they like.
    keys: Quotas,
    addresses: Quotas,
    gateway: String,
}

impl Limits {
    /// Of this gateway: a second's worth of requests may come at once.
    ///
    /// # Errors
    /// When the rate is none that a quota can have.
    pub fn new(instance: &Instance) -> anyhow::Result<Self> {
        let known = instance.options.api_keys.clone();
        let (rate, room) = (instance.options.api_rate, known.len().saturating_mul(2).max(LEAST_KEYS));
        Ok(Self {
            known: Arc::new(known),
            keys: Quotas::new("api-key", rate, Some(room), instance)?,
            addresses: Quotas::new("address", rate, None, instance)?,
            gateway: instance.name(),
        })
    }

    /// These routes, each request within its caller's quota; answers tell how that stands.
    ///
    /// # Errors
    /// Never: the quotas' names are constants that are allowed.
    pub fn before(&self, routes: Router) -> anyhow::Result<Router> {
        super::metrics::install();
        self.publish();
        let names = (QuotaName::new(self.keys.name)?, QuotaName::new(self.addresses.name)?);
        let limits = self.clone();
        Ok(routes.layer(layer_fn(move |route: Route| {
            let keys = limits.keys.before(route.clone(), names.0);
            let (addresses, known) = (limits.addresses.before(route, names.1), Arc::clone(&limits.known));
            service_fn(move |mut request: Request| {
                let caller = Caller::of(&request, &known);
                request.headers_mut().remove(&API_KEY);
                let is_known = matches!(caller, Caller::Known(_));
                request.extensions_mut().insert(caller);
                let (keys, addresses) = (keys.clone(), addresses.clone());
                async move { if is_known { keys.oneshot(request).await } else { addresses.oneshot(request).await } }
            })
        })))
    }

    /// `four_plane_api_quota_exchanges_total`, `…_failures_total`, `four_plane_api_quota_local`, `four_plane_api_keys` and
    /// `four_plane_api_addresses`, of this gateway: round trips to Redis, whether each gateway holds half of the quotas
    /// without it, and callers in use.
    fn publish(&self) {
        let label = [("instance", self.gateway.clone())];
        let exchanges = counter!("four_plane_api_quota_exchanges_total", &label);
        let failures = counter!("four_plane_api_quota_failures_total", &label);
        let local = gauge!("four_plane_api_quota_local", &label);
        let keys = gauge!("four_plane_api_keys", &label);
        let addresses = gauge!("four_plane_api_addresses", &label);
        let limits = self.clone();
        figures::before_scrape(move || {
            let (known, strangers) = (limits.keys.limiter.figures(), limits.addresses.limiter.figures());
            exchanges.absolute(known.exchanges.saturating_add(strangers.exchanges));
            failures.absolute(known.failures.saturating_add(strangers.failures));
            local.set(if known.is_gone || strangers.is_gone { 1.0 } else { 0.0 });
            let count = |keys| u32::try_from(keys).map_or(f64::from(u32::MAX), f64::from);
            keys.set(count(known.keys));
            addresses.set(count(strangers.keys));
        });
    }
}

//! How many requests each API key may send: one quota for all gateways together, in Redis where the cache is one.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use http::HeaderName;
use metrics::{counter, gauge};
use seawall::http::{QuotaName, RateLimitFields, RateLimitHeadersLayer, RespondLayer};
use seawall::rate_limiter::{DistributedKeyedGcra, DistributedQuota, DistributedRateLimiterLayer, Quota};
use seawall_core::{Clock as _, Env, MetricsObserver, MonotonicClock, Pattern, WrapErrorLayer};
use tower::ServiceBuilder;
use tower::util::MapRequestLayer;

use super::figures;
use crate::link::{Instance, Role};
use crate::state::connect::Dial;
use crate::state::redis::quotas;
use crate::supervisor::Plan;

/// Names the caller. Requests without one share the quota of all that have none.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The quota's name in `RateLimit` fields.
const NAME: &str = "api-key";

/// Whose quota a request uses. Not the key itself: keys are secrets, and this stands in Redis.
#[derive(Debug, Clone)]
struct Caller(Arc<str>);

impl Caller {
    fn of(request: &Request) -> Self {
        let Some(key) = request.headers().get(&API_KEY) else { return Self("anonymous".into()) };
        // Two halves of a hash that is the same in all gateways, of 128 bits together: nobody finds a key with that of
        // another one, and from the hash no key.
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, key.as_bytes()).hash(&mut hasher);
            hasher.finish()
        };
        Self(format!("{:016x}{:016x}", half(0), half(1)).into())
    }

    fn name(request: &Request) -> &str {
        request.extensions().get::<Self>().map_or("", |caller| &caller.0)
    }
}

/// The quotas of all keys, as one gateway holds them.
#[derive(Debug, Clone)]
pub struct Limits {
    limiter: DistributedKeyedGcra,
    quota: Quota,
    name: QuotaName,
    gateway: String,
}

impl Limits {
    /// Of this gateway: a second's worth of requests may come at once. They are shared with the others from here on.
    ///
    /// # Errors
    /// When the rate is none that a quota can have.
    pub fn new(instance: &Instance) -> anyhow::Result<Self> {
        let rate = instance.options.api_rate;
        let quota = Quota::per_second(rate)?.with_burst(rate)?;
        let limiter = DistributedKeyedGcra::new(DistributedQuota::new(quota, Plan::count(Role::Gateway))?);
        tokio::spawn(limiter.supply(quotas(Dial::new(instance.topology.clone())), MonotonicClock));
        Ok(Self { limiter, quota, name: QuotaName::new(NAME)?, gateway: instance.name() })
    }

    /// These routes, each request within its key's quota; answers tell how that stands.
    pub fn before(&self, routes: Router) -> Router {
        super::metrics::install();
        let env = Env::new().with_observer(MetricsObserver::new(Pattern::RateLimiter, NAME));
        let limiter = DistributedRateLimiterLayer::with_env(self.limiter.clone(), Caller::name, env);
        self.publish();
        let limits = self.clone();
        let standing = move |request: &Request| {
            let (limits, caller) = (limits.clone(), Caller::name(request).to_owned());
            move || {
                let standing = limits.limiter.standing(&caller, MonotonicClock.now());
                RateLimitFields::new().with(limits.name, &limits.quota, standing)
            }
        };
        let named = |mut request: Request| {
            let caller = Caller::of(&request);
            request.extensions_mut().insert(caller);
            request
        };
        routes.layer(
            ServiceBuilder::new()
                .layer(MapRequestLayer::new(named))
                .layer(RateLimitHeadersLayer::new(standing))
                .layer(RespondLayer::new())
                .layer(limiter)
                .layer(WrapErrorLayer::new()),
        )
    }

    /// `four_plane_api_quota_exchanges_total`, `…_failures_total`, `four_plane_api_quota_local` and `four_plane_api_keys`, of
    /// this gateway: round trips to Redis, whether each gateway holds half of the quota without it, and keys in use.
    fn publish(&self) {
        let label = [("instance", self.gateway.clone())];
        let exchanges = counter!("four_plane_api_quota_exchanges_total", &label);
        let failures = counter!("four_plane_api_quota_failures_total", &label);
        let (local, keys) = (gauge!("four_plane_api_quota_local", &label), gauge!("four_plane_api_keys", &label));
        let limiter = self.limiter.clone();
        figures::before_scrape(move || {
            let figures = limiter.figures();
            exchanges.absolute(figures.exchanges);
            failures.absolute(figures.failures);
            local.set(if figures.is_gone { 1.0 } else { 0.0 });
            keys.set(u32::try_from(figures.keys).map_or(f64::from(u32::MAX), f64::from));
        });
    }
}

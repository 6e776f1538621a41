//! A role as another one calls it: timeout, retry on another instance, circuit breaker and bulkhead, in this order.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use seawall::backoff_with_jitter::{Advice, IfUnknown, RetryConfig, RetryLayer};
use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};
use seawall::circuit_breaker::{BreakerConfig, CircuitBreakerLayer};
use seawall::http::HttpEnv;
use seawall::timeout::{AdaptiveConfig, TimeoutConfig, TimeoutLayer};
use seawall_core::{Class, Error, MetricsObserver, Pattern, Verdict, WrapErrorLayer};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use super::client::{CallError, Client};
use super::figures;
use super::instances::Instances;
use super::metrics::CallMetrics;
use crate::link::{Instance, Role};

/// An answer, or why there is none: the instances' failure, or a refusal on this side.
pub type Answer = Result<Response<Bytes>, Error<CallError>>;

/// How calls to one role are protected.
#[derive(Debug, Clone)]
pub struct Protection {
    /// A whole call, all attempts and waits included.
    pub total: Duration,
    /// One attempt: three times the 99th percentile, within these bounds. `None`: as long as the whole call.
    pub attempt: Option<(Duration, Duration)>,
    /// Which answers are worth another instance.
    pub retry: RetryOn,
    /// Calls under way at most.
    pub places: usize,
}

/// Which answers are worth another instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum RetryOn {
    /// None at all, and those that say that the instance failed.
    NoneOrFailure,
    /// None at all: what a gateway says, it has tried already.
    None,
}

/// The instances of one role behind one call; clones share all state.
#[derive(Clone)]
pub struct Upstream {
    service: BoxCloneSyncService<Request<Bytes>, Response<Bytes>, Error<CallError>>,
    metrics: CallMetrics,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}

/// The instances that a call has tried; all its attempts share it.
#[derive(Debug, Clone, Default)]
struct Tried(Arc<RwLock<Vec<SocketAddr>>>);

impl Upstream {
    /// The instances of a role, called by this instance and protected like this.
    ///
    /// # Errors
    /// When a time or the number of places is 0, or a floor above its ceiling.
    pub fn new(client: Client, caller: &Instance, role: Role, protection: &Protection) -> anyhow::Result<Self> {
        let name = role.name();
        let (instances, metrics) = (Instances::new(caller.topology.clone(), role), CallMetrics::new(caller, name));
        let env = seawall::http::env();
        let observed = |pattern| env.with_observer(MetricsObserver::new(pattern, name));
        let total = TimeoutConfig::total(protection.total)?;
        let attempt = match protection.attempt {
            None => TimeoutConfig::attempt(protection.total)?,
            Some((floor, ceiling)) => TimeoutConfig::adaptive(AdaptiveConfig::new(floor, ceiling)?),
        };
        let places = BulkheadConfig::new(protection.places)?;
        let retry_on = protection.retry;
        let when = move |verdict: Verdict, result: Result<&Response<Bytes>, &CallError>| match (result, retry_on) {
            (Ok(_), RetryOn::None) => Advice::Stop,
            _ if matches!(verdict.class, Class::Failure | Class::Overload) => Advice::IfIdempotent,
            _ => Advice::Stop,
        };
        let retry = RetryLayer::with_env(RetryConfig::new(IfUnknown::OnlyUnsent), env).with_when(when);
        let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), observed(Pattern::CircuitBreaker));
        figures::of_breaker(name, &breaker);
        figures::of_retry(name, &retry);
        let one = service_fn(move |request| attempt_once(client.clone(), instances.clone(), request));
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::with_env(total, observed(Pattern::Timeout)))
            .layer(retry)
            .layer(breaker)
            .layer(BulkheadLayer::with_env(places, observed(Pattern::Bulkhead)))
            .layer(TimeoutLayer::<HttpEnv>::with_env(attempt, env))
            .layer(WrapErrorLayer::new())
            .service(one);
        Ok(Self { service: BoxCloneSyncService::new(service), metrics })
    }

    /// Calls an instance, and others while that is worth it.
    ///
    /// # Errors
    /// That of the last attempt, or why there was none.
    pub async fn call(&self, mut request: Request<Bytes>) -> Answer {
        request.extensions_mut().insert(Tried::default());
        let answer = self.service.clone().oneshot(request).await;
        self.metrics.finished(answer.as_ref().is_ok_and(|answer| !answer.status().is_server_error()));
        answer
    }
}

/// One attempt, at an instance that this call has not tried yet.
async fn attempt_once(
    client: Client,
    instances: Instances,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, CallError> {
    let tried = request.extensions().get::<Tried>().cloned().unwrap_or_default();
    let address = instances.next(&tried.0.read().unwrap_or_else(PoisonError::into_inner));
    let address = address.ok_or(CallError::NoInstance { role: instances.role().name() })?;
    tried.0.write().unwrap_or_else(PoisonError::into_inner).push(address);
    client.send(address, request).await
}

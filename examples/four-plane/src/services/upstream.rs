//! A role as another one calls it: timeout, retry on another instance, circuit breaker, throttle of each instance,
//! bulkhead and the time that an attempt has, in this order. What is left of a call's time is told to the instance.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use seawall::backoff_with_jitter::{Advice, IfUnknown, RetryConfig, RetryLayer, RetryWhen as _};
use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};
use seawall::circuit_breaker::{BreakerConfig, CircuitBreakerLayer};
use seawall::http::{CarryInRequest, Http, HttpAdvice, HttpAttributes, HttpEnv, SendDeadlineLayer};
use seawall::load_shedder::{KeyedThrottleLayer, ThrottleConfig};
use seawall::timeout::{AdaptiveConfig, TimeoutConfig, TimeoutLayer};
use seawall_core::{
    Budget, Class, Classify, CostBudget, Env, Error, MetricsObserver, MonotonicClock, Pattern, Reason, Rejection,
    Verdict, WrapErrorLayer,
};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use super::client::{CallError, Client};
use super::figures;
use super::instances::Instances;
use super::metrics::{AttemptMetrics, CallMetrics};
use crate::link::{Instance, ProtectionMode, Role};

/// Calls that succeed at first pay for one retry that does not help: a tenth of them at most is lost on such.
const CALLS_PER_RETRY: u32 = 10;
/// How much earlier than the caller stops waiting an instance has to be done: what an answer takes back over loopback.
const RESERVE: Duration = Duration::from_millis(2);
/// Throttles are kept for so many instances, those that are gone included until they are forgotten.
const MAX_INSTANCES: usize = 64;

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
    /// Retries that have not helped, at most, until calls succeed again: so many are all that a role which fails as a whole
    /// gets on top, and as many calls may break at once when one instance goes. A tenth of the calls that a breaker lets
    /// through before it opens, which are five seconds' worth.
    pub retries: u32,
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

/// What the attempts of a call have tried; they share it.
#[derive(Debug, Clone, Default)]
struct Tried(Arc<Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    instances: RwLock<Vec<SocketAddr>>,
    /// Whether one was sent: what a breaker or a throttle refuses is none.
    sent: AtomicBool,
}

/// The instance that an attempt goes to; none when the role has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Chosen(Option<SocketAddr>);

impl Chosen {
    /// One that this call has not tried yet, and of whose calls none is held back while there is such a one.
    fn among(instances: &Instances, throttle: &InstanceThrottle, tried: &Tried) -> Self {
        let mut tried = tried.0.instances.write().unwrap_or_else(PoisonError::into_inner);
        let held_back = |address| throttle.gate(&Self(Some(address))).gate().reject_probability() > 0.0;
        let address = instances.next_with_room(&tried, |address| !held_back(address));
        tried.extend(address);
        Self(address)
    }

    fn of(request: &Request<Bytes>) -> &Self {
        static NOBODY: Chosen = Chosen(None);
        request.extensions().get().unwrap_or(&NOBODY)
    }
}

type InstanceThrottle = KeyedThrottleLayer<
    Chosen,
    fn(&Request<Bytes>) -> &Chosen,
    Env<MonotonicClock, ButForQuotas, HttpAttributes, MetricsObserver>,
>;

/// As HTTP says, but for one: that an API key has used up its quota says nothing of the gateway that tells it.
#[derive(Debug, Clone, Copy)]
struct ButForQuotas;

impl<B, E> Classify<Response<B>, E> for ButForQuotas {
    fn classify(&self, result: Result<&Response<B>, &E>) -> Verdict {
        match result {
            Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => Verdict::new(Class::Success),
            result => Http.classify(result),
        }
    }
}

impl Upstream {
    /// The instances of a role, called by this instance and protected like this.
    ///
    /// # Errors
    /// When a time or the number of places or retries is 0, or a floor above its ceiling.
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
            _ => HttpAdvice.advise(verdict, result),
        };
        // What one instance asks to be waited for says nothing of the next; and while none is to be called, the caller's
        // fallback answers at once.
        let tokens = protection.retries.saturating_mul(CALLS_PER_RETRY);
        let budget = Budget::from(CostBudget::new(tokens, CALLS_PER_RETRY, CALLS_PER_RETRY)?);
        let config = RetryConfig::new(IfUnknown::OnlyUnsent).with_max_hint(Duration::ZERO).with_budget(budget);
        let retry = RetryLayer::with_env(config, env).with_when(when);
        let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), observed(Pattern::CircuitBreaker));
        figures::of(name, &breaker);
        figures::of_retry(name, &retry);
        let bulkhead = BulkheadLayer::with_env(places, observed(Pattern::Bulkhead));
        let throttle: InstanceThrottle = KeyedThrottleLayer::with_env(
            MAX_INSTANCES,
            ThrottleConfig::default(),
            Chosen::of as fn(&Request<Bytes>) -> &Chosen,
            observed(Pattern::Throttle).with_classifier(ButForQuotas),
        )?;
        let throttles = throttle.clone();
        let choose = move |mut request: Request<Bytes>| {
            let tried = request.extensions().get::<Tried>().cloned().unwrap_or_default();
            request.extensions_mut().insert(Chosen::among(&instances, &throttles, &tried));
            request
        };
        let attempts = AttemptMetrics::new(caller, name);
        let one = service_fn(move |request| attempt_once(client.clone(), attempts.clone(), name, request));
        if caller.options.protection == ProtectionMode::Off {
            let service = ServiceBuilder::new()
                .layer(TimeoutLayer::with_env(total, observed(Pattern::Timeout)))
                .map_request(choose)
                .layer(WrapErrorLayer::new())
                .service(one);
            return Ok(Self { service: BoxCloneSyncService::new(service), metrics });
        }
        figures::of(name, &bulkhead);
        let attempt = TimeoutLayer::<HttpEnv>::with_env(attempt, env).with_carry(CarryInRequest);
        figures::of(&format!("{name}.attempt"), &attempt);
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::with_env(total, observed(Pattern::Timeout)).with_carry(CarryInRequest))
            .layer(retry)
            .layer(breaker)
            .map_err(without_wait_for_one)
            .map_request(choose)
            .layer(throttle)
            .layer(bulkhead)
            .layer(attempt)
            .layer(SendDeadlineLayer::new(RESERVE))
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

/// A refusal on behalf of one instance: another may have room at once.
fn without_wait_for_one(error: Error<CallError>) -> Error<CallError> {
    match error {
        Error::Rejected(rejection) if rejection.reason() == Reason::Throttled => {
            Error::Rejected(Rejection::new(rejection.pattern(), Reason::Throttled))
        }
        error => error,
    }
}

/// One attempt, at the instance that was chosen for it.
async fn attempt_once(
    client: Client,
    metrics: AttemptMetrics,
    role: &'static str,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, CallError> {
    let Chosen(address) = *Chosen::of(&request);
    let address = address.ok_or(CallError::NoInstance { role })?;
    // Relaxed: a call's attempts are made one after another by one task.
    let again = request.extensions().get::<Tried>().is_some_and(|tried| tried.0.sent.swap(true, Relaxed));
    metrics.sent(again);
    client.send(address, request).await
}

use std::time::Duration;

use seawall_backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer};
use seawall_bulkhead::{BulkheadConfig, BulkheadLayer};
use seawall_circuit_breaker::{BreakerConfig, CircuitBreakerLayer};
use seawall_core::{ClockScope, ClockScopeLayer, Env, MonotonicClock, ScopeBoundary, ScopeBoundaryLayer, WrapError};
use seawall_http::{AtBodyEnd, CarryInRequest, Http, HttpAttributes, HttpEnv, HttpReplay};
use seawall_timeout::{TimeoutConfig, TimeoutLayer};
use tower::{Service, util::BoxCloneSyncService};
use tower_layer::{Identity, Layer};

use crate::{Leak, StackError};

/// How long a call may take in all, unless told otherwise: the gateway's figure in the reference stack.
const TOTAL: Duration = Duration::from_secs(5);
/// How long one attempt may take, unless told otherwise: leaves room for two more.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How many calls may be under way, unless told otherwise.
const PLACES: usize = 100;

/// The environment of the layer that holds a place until the last byte of the body.
pub type BodyEnv =
    Env<MonotonicClock, Http, HttpAttributes, seawall_core::NoObserver, AtBodyEnd, seawall_core::ThreadEntropy>;

/// The client preset over HTTP.
pub type HttpClient = Client<
    TimeoutLayer<HttpEnv, CarryInRequest>,
    RetryLayer<HttpEnv, HttpReplay>,
    CircuitBreakerLayer<HttpEnv>,
    BulkheadLayer<BodyEnv>,
    TimeoutLayer<HttpEnv, CarryInRequest>,
>;

/// The layers before a service that is called, in the order that works: total timeout, retry, circuit breaker, bulkhead,
/// attempt timeout. The order is fixed; every part can be replaced or left out.
///
/// All of them share one clock reading. All services that it makes, and all its clones, share one state: make one per
/// dependency.
#[derive(Clone, Debug)]
pub struct Client<T, R, B, K, A> {
    total: T,
    retry: R,
    breaker: B,
    bulkhead: K,
    attempt: A,
    limits: Limits,
}

/// What the timeouts were set to, where they are known.
#[derive(Copy, Clone, Debug, Default)]
struct Limits {
    total: Option<Duration>,
    attempt: Option<Duration>,
}

impl Limits {
    const fn checked(self) -> Result<Self, StackError> {
        if let (Some(total), Some(attempt)) = (self.total, self.attempt) {
            if attempt.as_nanos() > total.as_nanos() {
                return Err(StackError::AttemptExceedsTotal { attempt, total });
            }
        }
        Ok(self)
    }
}

/// A service behind a [`Client`].
pub type ClientService<S, T, R, B, K, A> = ClockScope<
    <T as Layer<
        <R as Layer<<B as Layer<<K as Layer<<A as Layer<Innermost<S>>>::Service>>::Service>>::Service>>::Service,
    >>::Service,
>;

/// What the innermost layer sees of a service: its errors can carry rejections, and its time is its own.
pub type Innermost<S> = ScopeBoundary<WrapError<S>>;

/// The preset for calling an HTTP service: 5 s in all, 2 s per attempt, three attempts with full jitter on a 10% budget
/// and only what may be repeated, a circuit breaker over 10 s, 100 calls at once until their bodies end.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Service, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let connection = service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::default())) });
/// let mut client = seawall::client().protect(connection);
/// let answer = client.ready().await?.call(Request::new(Full::default())).await?;
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
pub fn client() -> HttpClient {
    let env = seawall_http::env();
    Client {
        total: TimeoutLayer::with_env(valid(TimeoutConfig::total(TOTAL)), env).with_carry(CarryInRequest),
        retry: RetryLayer::with_env(RetryConfig::new(IfUnknown::OnlyUnsent), env).with_replay(HttpReplay),
        breaker: CircuitBreakerLayer::with_env(BreakerConfig::default(), env),
        bulkhead: BulkheadLayer::with_env(valid(BulkheadConfig::new(PLACES)), env.with_settle(AtBodyEnd)),
        attempt: TimeoutLayer::with_env(valid(TimeoutConfig::attempt(ATTEMPT)), env).with_carry(CarryInRequest),
        limits: Limits { total: Some(TOTAL), attempt: Some(ATTEMPT) },
    }
}

/// What a constant of this file builds.
fn valid<T, E: std::fmt::Display>(config: Result<T, E>) -> T {
    config.unwrap_or_else(|error| unreachable!("a default that is not valid: {error}"))
}

impl Client<Identity, Identity, Identity, Identity, Identity> {
    /// No layer yet: for services that do not speak HTTP, or a stack of one's own.
    ///
    /// ```
    /// use seawall::{Client, bulkhead::{BulkheadConfig, BulkheadLayer}};
    /// # use tower::{ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let service = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id) });
    /// let client = Client::empty().with_bulkhead(BulkheadLayer::new(BulkheadConfig::new(10)?));
    /// assert_eq!(client.protect(service).oneshot(7).await?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn empty() -> Self {
        Self {
            total: Identity::new(),
            retry: Identity::new(),
            breaker: Identity::new(),
            bulkhead: Identity::new(),
            attempt: Identity::new(),
            limits: Limits { total: None, attempt: None },
        }
    }
}

impl<R, B, K, A> Client<TimeoutLayer<HttpEnv, CarryInRequest>, R, B, K, A> {
    /// Allows `total` for a whole call, with all its attempts. Default 5 s.
    ///
    /// # Errors
    /// Zero, or less than one attempt may take.
    pub fn with_total_timeout(mut self, total: Duration) -> Result<Self, StackError> {
        self.limits = Limits { total: Some(total), ..self.limits }.checked()?;
        self.total =
            TimeoutLayer::with_env(TimeoutConfig::total(total)?, seawall_http::env()).with_carry(CarryInRequest);
        Ok(self)
    }
}

impl<T, R, B, K> Client<T, R, B, K, TimeoutLayer<HttpEnv, CarryInRequest>> {
    /// Allows `attempt` for one attempt. Default 2 s.
    ///
    /// # Errors
    /// Zero, or more than the whole call may take.
    pub fn with_attempt_timeout(mut self, attempt: Duration) -> Result<Self, StackError> {
        self.limits = Limits { attempt: Some(attempt), ..self.limits }.checked()?;
        self.attempt =
            TimeoutLayer::with_env(TimeoutConfig::attempt(attempt)?, seawall_http::env()).with_carry(CarryInRequest);
        Ok(self)
    }
}

impl<T, R, B, K, A> Client<T, R, B, K, A> {
    /// Puts `layer` in the place of the total timeout.
    pub fn with_total<T2>(self, layer: T2) -> Client<T2, R, B, K, A> {
        let Self { retry, breaker, bulkhead, attempt, limits, .. } = self;
        Client { total: layer, retry, breaker, bulkhead, attempt, limits: Limits { total: None, ..limits } }
    }

    /// Puts `layer` in the place of the retry.
    pub fn with_retry<R2>(self, layer: R2) -> Client<T, R2, B, K, A> {
        let Self { total, breaker, bulkhead, attempt, limits, .. } = self;
        Client { total, retry: layer, breaker, bulkhead, attempt, limits }
    }

    /// Puts `layer` in the place of the circuit breaker.
    pub fn with_breaker<B2>(self, layer: B2) -> Client<T, R, B2, K, A> {
        let Self { total, retry, bulkhead, attempt, limits, .. } = self;
        Client { total, retry, breaker: layer, bulkhead, attempt, limits }
    }

    /// Puts `layer` in the place of the bulkhead.
    pub fn with_bulkhead<K2>(self, layer: K2) -> Client<T, R, B, K2, A> {
        let Self { total, retry, breaker, attempt, limits, .. } = self;
        Client { total, retry, breaker, bulkhead: layer, attempt, limits }
    }

    /// Puts `layer` in the place of the attempt timeout.
    pub fn with_attempt<A2>(self, layer: A2) -> Client<T, R, B, K, A2> {
        let Self { total, retry, breaker, bulkhead, limits, .. } = self;
        Client { total, retry, breaker, bulkhead, attempt: layer, limits: Limits { attempt: None, ..limits } }
    }

    /// Leaves the retry out.
    pub fn without_retry(self) -> Client<T, Identity, B, K, A> {
        self.with_retry(Identity::new())
    }

    /// Leaves the circuit breaker out.
    pub fn without_breaker(self) -> Client<T, R, Identity, K, A> {
        self.with_breaker(Identity::new())
    }

    /// Leaves the bulkhead out.
    pub fn without_bulkhead(self) -> Client<T, R, B, Identity, A> {
        self.with_bulkhead(Identity::new())
    }

    /// Leaves the attempt timeout out: an attempt may take what the whole call may.
    pub fn without_attempt_timeout(self) -> Client<T, R, B, K, Identity> {
        self.with_attempt(Identity::new())
    }

    /// The circuit breaker's layer: its gate has the state, the figures and the manual controls.
    pub const fn breaker(&self) -> &B {
        &self.breaker
    }

    /// The bulkhead's layer.
    pub const fn bulkhead(&self) -> &K {
        &self.bulkhead
    }

    /// The retry's layer.
    pub const fn retry(&self) -> &R {
        &self.retry
    }
}

impl<T: Leak, R: Leak, B: Leak, K: Leak, A: Leak> Client<T, R, B, K, A> {
    /// The same layers, whose state lives as long as the process: cheaper for cores that share them. Not for a client
    /// that is made per request.
    #[must_use]
    pub fn leak(self) -> Self {
        Self {
            total: self.total.leak(),
            retry: self.retry.leak(),
            breaker: self.breaker.leak(),
            bulkhead: self.bulkhead.leak(),
            attempt: self.attempt.leak(),
            limits: self.limits,
        }
    }
}

impl<S, T, R, B, K, A> Layer<S> for Client<T, R, B, K, A>
where
    A: Layer<Innermost<S>>,
    K: Layer<A::Service>,
    B: Layer<K::Service>,
    R: Layer<B::Service>,
    T: Layer<R::Service>,
{
    type Service = ClientService<S, T, R, B, K, A>;

    fn layer(&self, inner: S) -> Self::Service {
        let innermost = ScopeBoundaryLayer::new().layer(WrapError::new(inner));
        let attempts = self.bulkhead.layer(self.attempt.layer(innermost));
        ClockScopeLayer::new().layer(self.total.layer(self.retry.layer(self.breaker.layer(attempts))))
    }
}

impl<T, R, B, K, A> Client<T, R, B, K, A> {
    /// Puts all layers before `service`, and wraps its errors.
    pub fn protect<S>(&self, service: S) -> <Self as Layer<S>>::Service
    where
        Self: Layer<S>,
    {
        self.layer(service)
    }

    /// The same as a type that can be named in a struct field, for one allocation per call.
    pub fn boxed<S, Req, Res, Err>(&self, service: S) -> BoxCloneSyncService<Req, Res, Err>
    where
        Self: Layer<S>,
        <Self as Layer<S>>::Service:
            Service<Req, Response = Res, Error = Err, Future: Send + 'static> + Clone + Send + Sync + 'static,
    {
        BoxCloneSyncService::new(self.layer(service))
    }
}

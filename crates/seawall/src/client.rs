use std::time::Duration;

use seawall_core::{ClockScope, ClockScopeLayer, Environment, ScopeBoundary, ScopeBoundaryLayer, WrapError};
use seawall_http::{ResponseBodyTimeoutLayer, SendDeadlineLayer};
use seawall_timeout::{StreamLimits, TimeoutConfig, TimeoutError, TimeoutLayer};
use tower::{Service, util::BoxCloneSyncService};
use tower_layer::{Identity, Layer};

use crate::{Around, Leak, StackError};
#[cfg(feature = "metrics")]
use crate::{PresetMetrics, Publish};

/// An attempt is not begun with less time left than 95 in 100 recent successes took: it would most likely be in vain.
const USUAL: f64 = 0.95;
/// The least that a deadline header can say.
const LEAST_SENT: Duration = Duration::from_millis(1);

/// The layers before a service that is called, in the order that works: fallback, total timeout, retry, circuit breaker,
/// throttle, bulkhead, attempt timeout, deadline header. The order is fixed; every part can be replaced or left out. The
/// presets have neither fallback nor throttle.
///
/// All of them share one clock reading. All services that it makes, and all its clones, share one state: make one per
/// dependency.
#[derive(Clone, Debug)]
pub struct Client<T, R, B, K, A, D = Identity, F = Identity, H = Identity> {
    pub(crate) total: T,
    pub(crate) retry: R,
    pub(crate) breaker: B,
    pub(crate) bulkhead: K,
    pub(crate) attempt: A,
    pub(crate) deadline: D,
    pub(crate) fallback: F,
    pub(crate) throttle: H,
    pub(crate) limits: Limits,
}

/// What the timeouts were set to, where they are known.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) total: Option<Duration>,
    pub(crate) attempt: Option<Duration>,
    /// What is kept back of what is left, where the other side is told of it.
    pub(crate) reserve: Option<Duration>,
}

impl Limits {
    /// The same with another total, if that goes with the rest.
    fn with_total(self, total: Duration) -> Result<Self, StackError> {
        self.sendable("total", total)?;
        match self.attempt {
            Some(attempt) if attempt > total => Err(StackError::TotalBelowAttempt { total, attempt }),
            _ => Ok(Self { total: Some(total), ..self }),
        }
    }

    /// The same with another limit for an attempt, if that goes with the rest.
    fn with_attempt(self, attempt: Duration) -> Result<Self, StackError> {
        self.sendable("attempt", attempt)?;
        match self.total {
            Some(total) if attempt > total => Err(StackError::AttemptExceedsTotal { attempt, total }),
            _ => Ok(Self { attempt: Some(attempt), ..self }),
        }
    }

    /// The same with another reserve, if both timeouts leave something beside it.
    fn with_reserve(self, reserve: Duration) -> Result<Self, StackError> {
        let with = Self { reserve: Some(reserve), ..self };
        with.attempt.map_or(Ok(()), |attempt| with.sendable("attempt", attempt))?;
        with.total.map_or(Ok(()), |total| with.sendable("total", total))?;
        Ok(with)
    }

    fn sendable(self, field: &'static str, value: Duration) -> Result<(), StackError> {
        match self.reserve {
            Some(reserve) if value < reserve.saturating_add(LEAST_SENT) => {
                Err(StackError::TooShortToSend { field, value, reserve })
            }
            _ => Ok(()),
        }
    }
}

/// How an attempt may take `limit`, and how much time must be left to begin one.
pub(crate) fn attempt(limit: Duration) -> Result<TimeoutConfig, TimeoutError> {
    TimeoutConfig::attempt(limit)?.with_usual_remaining(USUAL)
}

/// A service behind a [`Client`].
pub type ClientService<S, T, R, B, K, A, D = Identity, F = Identity, H = Identity> =
    ClockScope<<F as Layer<Bounded<S, T, R, B, K, A, D, H>>>::Service>;

/// A service behind all layers of a [`Client`] but its fallback.
pub type Bounded<S, T, R, B, K, A, D, H = Identity> =
    <T as Layer<<R as Layer<<B as Layer<<H as Layer<Placed<S, K, A, D>>>::Service>>::Service>>::Service>>::Service;

/// A service behind what holds a place for each attempt.
pub type Placed<S, K, A, D> = <K as Layer<<A as Layer<<D as Layer<Innermost<S>>>::Service>>::Service>>::Service;

/// What the innermost layer sees of a service: its errors can carry rejections, and its time is its own.
pub type Innermost<S> = ScopeBoundary<WrapError<S>>;

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
            deadline: Identity::new(),
            fallback: Identity::new(),
            throttle: Identity::new(),
            limits: Limits { total: None, attempt: None, reserve: None },
        }
    }
}

impl<E: Environment, C, L, R, B, K, A, D, F, H> Client<TimeoutLayer<E, C, L>, R, B, K, A, D, F, H> {
    /// Allows `total` for a whole call, with all its attempts. Default 5 s.
    ///
    /// # Errors
    /// Zero, less than one attempt may take, or less than the reserve and the millisecond that a deadline header can say.
    pub fn with_total_timeout(mut self, total: Duration) -> Result<Self, StackError> {
        let config = TimeoutConfig::total(total)?;
        self.limits = self.limits.with_total(total)?;
        self.total = self.total.with_config(config);
        Ok(self)
    }
}

impl<E: Environment<Clock: Clone>, C, L, R, B, K, A, D, F, H> Client<TimeoutLayer<E, C, L>, R, B, K, A, D, F, H> {
    /// Bounds the bodies of responses: those of a server that sends the head in time and then stands still, or trickles. Outside
    /// of all the others, so that the timeouts of the head do not end a download, and the caller's own deadline does. A body that
    /// is cut gives back its place in the bulkhead. Default: none, as only the caller knows how long a body may take.
    ///
    /// ```
    /// use seawall::timeout::StreamLimits;
    /// use std::time::Duration;
    ///
    /// # fn limits() -> Result<(), seawall::timeout::TimeoutError> {
    /// let limits = StreamLimits::new().with_idle(Duration::from_secs(10))?.with_total(Duration::from_secs(300))?;
    /// let client = seawall::client().with_body_limits(limits);
    /// # let _ = client;
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::type_complexity, reason = "one parameter per part, as everywhere here")]
    pub fn with_body_limits(
        self,
        limits: StreamLimits,
    ) -> Client<TimeoutLayer<E, C, L>, R, B, K, A, D, Around<F, ResponseBodyTimeoutLayer<E::Clock>>, H> {
        let clock = self.total.clock().clone();
        self.with_fallback(ResponseBodyTimeoutLayer::new(limits).with_clock(clock))
    }
}

impl<T, R, B, K, E: Environment, C, L, D, F, H> Client<T, R, B, K, TimeoutLayer<E, C, L>, D, F, H> {
    /// Allows `attempt` for one attempt. Default 2 s.
    ///
    /// # Errors
    /// Zero, more than the whole call may take, or less than the reserve and the millisecond that a deadline header can say.
    pub fn with_attempt_timeout(mut self, attempt: Duration) -> Result<Self, StackError> {
        let config = self::attempt(attempt)?;
        self.limits = self.limits.with_attempt(attempt)?;
        self.attempt = self.attempt.with_config(config);
        Ok(self)
    }
}

impl<T, R, B, K, A, C, F, H> Client<T, R, B, K, A, SendDeadlineLayer<C>, F, H> {
    /// Keeps `reserve` back of what the other side is told that an attempt has: what an answer needs to travel, so that it comes
    /// before the deadline and not just after it. Default 1 ms, a way there and back within one data center.
    ///
    /// # Errors
    /// One of which a timeout leaves less than the millisecond that a deadline header can say.
    pub fn with_reserve(mut self, reserve: Duration) -> Result<Self, StackError> {
        self.limits = self.limits.with_reserve(reserve)?;
        self.deadline = self.deadline.with_reserve(reserve);
        Ok(self)
    }
}

#[cfg(feature = "reqwest")]
impl<T, R, B, K, A, C, F, H> Client<T, R, B, K, A, seawall_http::SendTimedLayer<C>, F, H> {
    /// Keeps `reserve` back of what the other side is told that an attempt has: what an answer needs to travel, so that it comes
    /// before the deadline and not just after it. Default 1 ms, a way there and back within one data center.
    ///
    /// # Errors
    /// One of which a timeout leaves less than the millisecond that a deadline header can say.
    pub fn with_reserve(mut self, reserve: Duration) -> Result<Self, StackError> {
        self.limits = self.limits.with_reserve(reserve)?;
        self.deadline = self.deadline.with_reserve(reserve);
        Ok(self)
    }
}

impl<T, R, B, K, A, D, F, H> Client<T, R, B, K, A, D, F, H> {
    /// Puts `layer` in the place of the total timeout.
    pub fn with_total<T2>(self, layer: T2) -> Client<T2, R, B, K, A, D, F, H> {
        let Self { retry, breaker, bulkhead, attempt, deadline, fallback, throttle, limits, .. } = self;
        let limits = Limits { total: None, ..limits };
        Client { total: layer, retry, breaker, bulkhead, attempt, deadline, fallback, throttle, limits }
    }

    /// Puts `layer` in the place of the retry.
    pub fn with_retry<R2>(self, layer: R2) -> Client<T, R2, B, K, A, D, F, H> {
        let Self { total, breaker, bulkhead, attempt, deadline, fallback, throttle, limits, .. } = self;
        Client { total, retry: layer, breaker, bulkhead, attempt, deadline, fallback, throttle, limits }
    }

    /// Puts `layer` in the place of the circuit breaker.
    pub fn with_breaker<B2>(self, layer: B2) -> Client<T, R, B2, K, A, D, F, H> {
        let Self { total, retry, bulkhead, attempt, deadline, fallback, throttle, limits, .. } = self;
        Client { total, retry, breaker: layer, bulkhead, attempt, deadline, fallback, throttle, limits }
    }

    /// Puts `layer` in the place of the bulkhead.
    pub fn with_bulkhead<K2>(self, layer: K2) -> Client<T, R, B, K2, A, D, F, H> {
        let Self { total, retry, breaker, attempt, deadline, fallback, throttle, limits, .. } = self;
        Client { total, retry, breaker, bulkhead: layer, attempt, deadline, fallback, throttle, limits }
    }

    /// Puts `layer`, usually a [`ThrottleLayer`](crate::load_shedder::ThrottleLayer), between the circuit breaker and the
    /// bulkhead: it holds calls back from a service that refuses many, before they cost it a refusal each. For one endpoint:
    /// where there are several, each has its own, by a `KeyedThrottleLayer`.
    ///
    /// ```
    /// use seawall::load_shedder::{ThrottleConfig, ThrottleLayer};
    ///
    /// let throttle = ThrottleLayer::with_env(ThrottleConfig::default(), seawall::http::env());
    /// let client = seawall::client().with_throttle(throttle);
    /// assert_eq!(client.throttle().gate().reject_probability(), 0.0);
    /// ```
    pub fn with_throttle<H2>(self, layer: H2) -> Client<T, R, B, K, A, D, F, H2> {
        let Self { total, retry, breaker, bulkhead, attempt, deadline, fallback, limits, .. } = self;
        Client { total, retry, breaker, bulkhead, attempt, deadline, fallback, throttle: layer, limits }
    }

    /// Puts `layer` in the place of the attempt timeout.
    pub fn with_attempt<A2>(self, layer: A2) -> Client<T, R, B, K, A2, D, F, H> {
        let Self { total, retry, breaker, bulkhead, deadline, fallback, throttle, limits, .. } = self;
        let limits = Limits { attempt: None, ..limits };
        Client { total, retry, breaker, bulkhead, attempt: layer, deadline, fallback, throttle, limits }
    }

    /// Puts `layer` in the place of the one that tells the other side how much time is left.
    pub fn with_deadline_header<D2>(self, layer: D2) -> Client<T, R, B, K, A, D2, F, H> {
        let Self { total, retry, breaker, bulkhead, attempt, fallback, throttle, limits, .. } = self;
        let limits = Limits { reserve: None, ..limits };
        Client { total, retry, breaker, bulkhead, attempt, deadline: layer, fallback, throttle, limits }
    }

    /// Puts `layer`, usually a [`FallbackLayer`](crate::fallback::FallbackLayer), around all the others: what it answers is
    /// answered when they have failed or refused. The presets have none, since only the caller knows what is good enough.
    ///
    /// Over HTTP it is made by `FallbackLayer::with_env(alternative, seawall::http::env())`: in the default environment an HTTP
    /// 500 is an `Ok` like any other, and nothing stands in for it. It answers with the preset's response, whose body is an
    /// [`HttpClientBody`](crate::HttpClientBody); `docs/recipes.md` has a whole program.
    ///
    /// ```
    /// use seawall::{Client, bulkhead::{BulkheadConfig, BulkheadLayer}, fallback::{FallbackLayer, Value}};
    /// # use tower::{ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let down = service_fn(|_: u32| async { Err::<&str, _>(std::io::Error::other("down")) });
    /// let client = Client::empty()
    ///     .with_bulkhead(BulkheadLayer::new(BulkheadConfig::new(10)?))
    ///     .with_fallback(FallbackLayer::new(Value::new("what everybody likes")));
    /// assert_eq!(client.protect(down).oneshot(7).await?, "what everybody likes");
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_fallback<F2>(self, layer: F2) -> Client<T, R, B, K, A, D, Around<F, F2>, H> {
        let Self { total, retry, breaker, bulkhead, attempt, deadline, fallback, throttle, limits } = self;
        let fallback = Around::new(fallback, layer);
        Client { total, retry, breaker, bulkhead, attempt, deadline, fallback, throttle, limits }
    }

    /// Leaves the retry out.
    pub fn without_retry(self) -> Client<T, Identity, B, K, A, D, F, H> {
        self.with_retry(Identity::new())
    }

    /// Leaves the circuit breaker out.
    pub fn without_breaker(self) -> Client<T, R, Identity, K, A, D, F, H> {
        self.with_breaker(Identity::new())
    }

    /// Leaves the bulkhead out.
    pub fn without_bulkhead(self) -> Client<T, R, B, Identity, A, D, F, H> {
        self.with_bulkhead(Identity::new())
    }

    /// Does not tell the other side how much time is left.
    pub fn without_deadline_header(self) -> Client<T, R, B, K, A, Identity, F, H> {
        self.with_deadline_header(Identity::new())
    }

    /// Leaves the attempt timeout out: an attempt may take what the whole call may.
    pub fn without_attempt_timeout(self) -> Client<T, R, B, K, Identity, D, F, H> {
        self.with_attempt(Identity::new())
    }

    /// The circuit breaker's layer: its gate has the state, the figures and the manual controls.
    pub const fn breaker(&self) -> &B {
        &self.breaker
    }

    /// The throttle's layer.
    pub const fn throttle(&self) -> &H {
        &self.throttle
    }

    /// The bulkhead's layer.
    pub const fn bulkhead(&self) -> &K {
        &self.bulkhead
    }

    /// The retry's layer.
    pub const fn retry(&self) -> &R {
        &self.retry
    }

    /// The total timeout's layer.
    pub const fn total(&self) -> &T {
        &self.total
    }

    /// The attempt timeout's layer.
    pub const fn attempt(&self) -> &A {
        &self.attempt
    }
}

#[cfg(feature = "metrics")]
impl<T: Publish, R: Publish, B: Publish, K: Publish, A: Publish, D, F, H: Publish> Client<T, R, B, K, A, D, F, H> {
    /// What the layers are at, for whoever scrapes: the breaker's state, the bulkhead's places, the retry's budget, the limits of
    /// both timeouts, that of an attempt as `<name>.attempt`. Once, after the last part was set: one that is set later is not in
    /// it, and a second time would count changes of state twice. Calls and refusals are what an observer counts.
    ///
    /// ```
    /// let layers = seawall::client();
    /// let metrics = layers.metrics("catalog");
    /// // Before each scrape:
    /// metrics.scrape();
    /// ```
    pub fn metrics(&self, name: &str) -> PresetMetrics {
        let mut metrics = PresetMetrics::new();
        self.total.publish(name, &mut metrics);
        self.retry.publish(name, &mut metrics);
        self.breaker.publish(name, &mut metrics);
        self.throttle.publish(name, &mut metrics);
        self.bulkhead.publish(name, &mut metrics);
        self.attempt.publish(&format!("{name}.attempt"), &mut metrics);
        metrics
    }
}

impl<T: Leak, R: Leak, B: Leak, K: Leak, A: Leak, D, F: Leak, H: Leak> Client<T, R, B, K, A, D, F, H> {
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
            deadline: self.deadline,
            fallback: self.fallback.leak(),
            throttle: self.throttle.leak(),
            limits: self.limits,
        }
    }
}

impl<S, T, R, B, K, A, D, F, H> Layer<S> for Client<T, R, B, K, A, D, F, H>
where
    D: Layer<Innermost<S>>,
    A: Layer<D::Service>,
    K: Layer<A::Service>,
    H: Layer<K::Service>,
    B: Layer<H::Service>,
    R: Layer<B::Service>,
    T: Layer<R::Service>,
    F: Layer<T::Service>,
{
    type Service = ClientService<S, T, R, B, K, A, D, F, H>;

    fn layer(&self, inner: S) -> Self::Service {
        let innermost = ScopeBoundaryLayer::new().layer(WrapError::new(inner));
        let attempts = self.bulkhead.layer(self.attempt.layer(self.deadline.layer(innermost)));
        let call = self.total.layer(self.retry.layer(self.breaker.layer(self.throttle.layer(attempts))));
        ClockScopeLayer::new().layer(self.fallback.layer(call))
    }
}

impl<T, R, B, K, A, D, F, H> Client<T, R, B, K, A, D, F, H> {
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

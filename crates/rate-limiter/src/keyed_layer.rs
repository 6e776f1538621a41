use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    marker::PhantomData,
    task::{Context, Poll},
};

use seawall_core::{
    Admission, Ask, CallContext, CarryRejection, Classify, Clock, Env, Environment, Gate, GateFuture, Gated, Readiness,
    Run, Serves, Settle, Shared, Timestamp, WrapError, WrapErrorFuture,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{KeyedGcra, keyed::AdmitKey};

/// Puts one [`KeyedGcra`], shared by every service and clone, before a service. The key is borrowed from the request.
/// With several quotas, the gate is a [`Quotas`](crate::Quotas).
///
/// ```
/// use seawall_rate_limiter::{KeyedQuota, KeyedRateLimiterLayer, Quota};
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// struct Request {
///     tenant: String,
/// }
///
/// let quota = KeyedQuota::new(Quota::per_second(10)?).with_max_keys(100_000)?;
/// let layer = KeyedRateLimiterLayer::new(quota, |request: &Request| &request.tenant);
/// let service = layer.protect(service_fn(|request: Request| async move { Ok::<_, std::io::Error>(request.tenant) }));
/// assert_eq!(service.oneshot(Request { tenant: "ann".to_owned() }).await?, "ann");
/// # Ok(())
/// # }
/// ```
pub struct KeyedRateLimiterLayer<Q: ?Sized, F, E: 'static = Env, G: 'static = KeyedGcra> {
    shared: Shared<Gated<G, E>>,
    key: F,
    of: PhantomData<fn(&Q)>,
}

impl<Q: Hash + ?Sized, F> KeyedRateLimiterLayer<Q, F> {
    /// A layer in the default environment. `key` says whose quota a request uses.
    pub fn new<Req>(quota: impl Into<KeyedGcra>, key: F) -> Self
    where
        F: for<'r> Fn(&'r Req) -> &'r Q,
    {
        Self::with_env(quota, key, Env::new())
    }
}

impl<Q: ?Sized, F, E: Environment, G: AdmitKey<Q>> KeyedRateLimiterLayer<Q, F, E, G> {
    /// A layer with a clock, attributes and so on of its own, over a limiter or several quotas.
    pub fn with_env(quota: impl Into<G>, key: F, env: E) -> Self {
        Self { shared: Shared::new(Gated::new(quota.into(), env)), key, of: PhantomData }
    }

    /// The same layer, whose state lives as long as the process: cheaper for cores that share it. Earlier clones keep
    /// sharing. Not for layers that are built again and again.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { shared: self.shared.leak(), ..self }
    }

    /// The limiter itself: its figures, its charges and refunds.
    pub fn gate(&self) -> &G {
        self.shared.gate()
    }

    /// Wraps the errors of `service` and puts the limiter before it: the whole protection in one call.
    pub fn protect<S>(&self, service: S) -> KeyedRateLimiter<WrapError<S>, Q, F, E, G>
    where
        F: Clone,
    {
        self.layer(WrapError::new(service))
    }

    /// Limits a future without Tower. The limiter decides about `key`, which is borrowed or owned, when the returned future is
    /// first polled.
    ///
    /// ```
    /// use seawall_rate_limiter::{KeyedRateLimiterLayer, Quota};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = KeyedRateLimiterLayer::<str, _>::new(Quota::per_hour(1)?, String::as_str);
    /// assert_eq!(layer.run("ann", async { Ok::<_, std::io::Error>(1) }).await?, 1);
    /// assert!(layer.run("ann", async { Ok::<_, std::io::Error>(2) }).await.is_err());
    /// assert_eq!(layer.run("bob".to_owned(), async { Ok::<_, std::io::Error>(3) }).await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<K, Fut, T, X>(&self, key: K, future: Fut) -> Run<WrapErrorFuture<Fut>, G, E, AskKey<K, Q>>
    where
        K: Borrow<Q>,
        Fut: Future<Output = Result<T, X>>,
        E: Classify<T, X>,
    {
        self.run_with(key, CallContext::default(), future)
    }

    /// Limits a future of which more is known than its key: its cost.
    pub fn run_with<K, Fut, T, X>(
        &self,
        key: K,
        context: CallContext,
        future: Fut,
    ) -> Run<WrapErrorFuture<Fut>, G, E, AskKey<K, Q>>
    where
        K: Borrow<Q>,
        Fut: Future<Output = Result<T, X>>,
        E: Classify<T, X>,
    {
        self.run_carrying(key, context, WrapErrorFuture::new(future))
    }

    /// Limits a future whose errors already carry rejections, as those of other layers' `run` do.
    pub fn run_carrying<K, Fut, T, X>(&self, key: K, context: CallContext, future: Fut) -> Run<Fut, G, E, AskKey<K, Q>>
    where
        K: Borrow<Q>,
        Fut: Future<Output = Result<T, X>>,
        X: CarryRejection,
        E: Classify<T, X::Remote>,
    {
        Run::new(self.shared.clone(), AskKey { key, of: PhantomData }, context, future)
    }
}

/// Asks [`AdmitKey::admit_key`] about one key.
pub struct AskKey<K, Q: ?Sized> {
    key: K,
    of: PhantomData<fn(&Q)>,
}

impl<K: Borrow<Q>, Q: ?Sized, G: AdmitKey<Q>> Ask<G> for AskKey<K, Q> {
    #[inline]
    fn ask(
        &self,
        gate: &G,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<G::Ticket, G::Wait> {
        gate.admit_key(self.key.borrow(), context, now)
    }
}

impl<K, Q: ?Sized> fmt::Debug for AskKey<K, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskKey").finish_non_exhaustive()
    }
}

impl<Q: ?Sized, F: Clone, E, G> Clone for KeyedRateLimiterLayer<Q, F, E, G> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), key: self.key.clone(), of: PhantomData }
    }
}

impl<Q: ?Sized, F, E: Environment, G: Gate + fmt::Debug> fmt::Debug for KeyedRateLimiterLayer<Q, F, E, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiterLayer").field("gate", self.shared.gate()).finish_non_exhaustive()
    }
}

impl<S, Q: ?Sized, F: Clone, E, G> Layer<S> for KeyedRateLimiterLayer<Q, F, E, G> {
    type Service = KeyedRateLimiter<S, Q, F, E, G>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedRateLimiter { inner, layer: self.clone() }
    }
}

/// A service behind a [`KeyedRateLimiterLayer`].
pub struct KeyedRateLimiter<S, Q: ?Sized, F, E: 'static = Env, G: 'static = KeyedGcra> {
    inner: S,
    layer: KeyedRateLimiterLayer<Q, F, E, G>,
}

impl<S: Clone, Q: ?Sized, F: Clone, E, G> Clone for KeyedRateLimiter<S, Q, F, E, G> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, Q: ?Sized, F, E: Environment, G: Gate + fmt::Debug> fmt::Debug for KeyedRateLimiter<S, Q, F, E, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiter").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, Req, Q, F, E, G> Service<Req> for KeyedRateLimiter<S, Q, F, E, G>
where
    S: Service<Req, Error: CarryRejection>,
    Q: ?Sized,
    F: for<'r> Fn(&'r Req) -> &'r Q,
    E: Serves<Req, S::Response, S::Error>,
    G: AdmitKey<Q, Wait: Readiness<S, Req>>,
{
    type Response = <E::Settle as Settle<S::Response>>::Response<G, E>;
    type Error = S::Error;
    type Future = GateFuture<S, Req, G, E>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        <G::Wait as Readiness<S, Req>>::poll_ready(&mut self.inner, cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let KeyedRateLimiterLayer { shared, key, .. } = &self.layer;
        let env = shared.env();
        let admission = shared.gate().admit_key(key(&request), || env.context(&request), || env.clock().now());
        GateFuture::decided(shared, &mut self.inner, request, admission)
    }
}

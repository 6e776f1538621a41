use std::{
    fmt,
    hash::Hash,
    marker::PhantomData,
    task::{Context, Poll},
};

use seawall_core::{
    CarryRejection, Clock, Env, Environment, Gate, GateFuture, Gated, Readiness, Serves, Settle, Shared, WrapError,
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

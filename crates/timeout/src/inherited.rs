use std::{
    fmt,
    task::{Context, Poll},
};

use seawall_core::{
    Attributes, CarryRejection, Classify, Clock, Env, Environment, InheritDeadline, Shared, Timer, WrapError,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    LimitOf, SameForAll, TimeoutFuture,
    per_request::earliest,
    watch::{Core, Watch},
};

/// A [`TimeoutLayer`](crate::TimeoutLayer) whose calls [inherit](seawall_core::inherited_deadline) their end, whatever their
/// requests are: a retry inside never waits past it. Made by [`TimeoutLayer::inherited`](crate::TimeoutLayer::inherited).
///
/// The end of one attempt is not inherited, that of a whole call and a deadline that it brought along are, less the reserve.
///
/// ```
/// use seawall_core::{Env, Timestamp, VirtualClock, inherited_deadline};
/// use seawall_timeout::{TimeoutConfig, TimeoutLayer};
/// use std::time::Duration;
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let env = Env::new().with_clock(VirtualClock::new());
/// let layer = TimeoutLayer::with_env(TimeoutConfig::total(Duration::from_secs(5))?, env).inherited();
/// let asks = service_fn(|_: u32| async { Ok::<_, std::io::Error>(inherited_deadline()) });
///
/// assert_eq!(layer.protect(asks).oneshot(1).await?, Some(Timestamp::from_nanos(5_000_000_000)));
/// # Ok(())
/// # }
/// ```
pub struct InheritedTimeoutLayer<E: 'static = Env, L = SameForAll> {
    core: Shared<Core<E>>,
    limit_of: L,
}

impl<E, L> InheritedTimeoutLayer<E, L> {
    pub(crate) const fn new(core: Shared<Core<E>>, limit_of: L) -> Self {
        Self { core, limit_of }
    }

    /// The same layer, whose state lives as long as the process. Earlier clones keep sharing.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { core: self.core.leak(), ..self }
    }

    /// Wraps the errors of `service` and bounds its calls: the whole protection in one call.
    pub fn protect<S>(&self, service: S) -> InheritedTimeout<WrapError<S>, E, L>
    where
        L: Clone,
    {
        self.layer(WrapError::new(service))
    }
}

impl<S, E, L: Clone> Layer<S> for InheritedTimeoutLayer<E, L> {
    type Service = InheritedTimeout<S, E, L>;

    fn layer(&self, inner: S) -> Self::Service {
        InheritedTimeout { inner, core: self.core.clone(), limit_of: self.limit_of.clone() }
    }
}

impl<E, L: Clone> Clone for InheritedTimeoutLayer<E, L> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), limit_of: self.limit_of.clone() }
    }
}

impl<E, L> fmt::Debug for InheritedTimeoutLayer<E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InheritedTimeoutLayer").field("config", &self.core.config).finish_non_exhaustive()
    }
}

/// A service behind an [`InheritedTimeoutLayer`].
pub struct InheritedTimeout<S, E: 'static = Env, L = SameForAll> {
    inner: S,
    core: Shared<Core<E>>,
    limit_of: L,
}

impl<S: Clone, E, L: Clone> Clone for InheritedTimeout<S, E, L> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), core: self.core.clone(), limit_of: self.limit_of.clone() }
    }
}

impl<S: fmt::Debug, E, L> fmt::Debug for InheritedTimeout<S, E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InheritedTimeout")
            .field("config", &self.core.config)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, Req, E, L> Service<Req> for InheritedTimeout<S, E, L>
where
    S: Service<Req, Error: CarryRejection>,
    E: Environment<Clock: Timer> + Attributes<Req> + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    L: LimitOf<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeoutFuture<InheritDeadline<S::Future>, E>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let env = &self.core.env;
        let now = env.clock().now();
        let context = env.context(&request);
        let deadline = earliest(&context, self.limit_of.remaining(&request), now);
        let (allowance, silent) = self.core.allow(now, self.limit_of.limit(&request), deadline);
        let Some(allowance) = allowance else {
            return TimeoutFuture::refused(env.clock().clone(), Watch::new(&self.core, silent, now));
        };
        let request = allowance.inherited_by(self.core.config.reserve(), request);
        let (future, watch) =
            Watch::over(&self.core, silent, now, || request.begin(|request| self.inner.call(request)));
        TimeoutFuture::new(future, allowance, env.clock().clone(), watch)
    }
}

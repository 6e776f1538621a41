use std::{fmt, time::Duration};

use seawall_core::{
    CallContext, CarryRejection, Classify, Clock, Env, Environment, InheritDeadline, Shared, Timer, WrapError,
    WrapErrorFuture, sync::atomic::Ordering::Relaxed,
};
use tower_layer::Layer;

use crate::{
    InheritedTimeoutLayer, NotCarried, SameForAll, Timeout, TimeoutConfig, TimeoutFuture,
    watch::{Core, Watch},
};

/// Bounds how long calls may take.
///
/// Time counts from `call`. The call is polled before the timer, so one that is answered in the same poll in which its
/// time is up is answered. A call that takes too long is dropped, and ends with a
/// [`Rejection`](seawall_core::Rejection). It is never cut early, and late by at most a tick of the timer.
///
/// A call that is answered in its first poll makes no timer. Others make one inside the future, without an allocation.
///
/// ```
/// use seawall_core::{Error, Reason};
/// use seawall_timeout::{TimeoutConfig, TimeoutLayer};
/// use std::time::Duration;
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), seawall_timeout::TimeoutError> {
/// let hangs = service_fn(|_: ()| std::future::pending::<Result<(), std::io::Error>>());
/// let env = seawall_core::Env::new().with_clock(seawall_core::TokioClock);
/// let layer = TimeoutLayer::with_env(TimeoutConfig::attempt(Duration::from_secs(1))?, env);
///
/// let cut = layer.protect(hangs).oneshot(()).await.unwrap_err();
///
/// assert_eq!(cut.rejection().map(|rejection| rejection.reason()), Some(Reason::AttemptTimeout));
/// # Ok(())
/// # }
/// ```
pub struct TimeoutLayer<E: 'static = Env, D = NotCarried, L = SameForAll> {
    core: Shared<Core<E>>,
    carry: D,
    limit_of: L,
}

impl TimeoutLayer {
    /// A layer in the default environment.
    pub fn new(config: TimeoutConfig) -> Self {
        Self::with_env(config, Env::new())
    }
}

impl<E: Environment> TimeoutLayer<E> {
    /// A layer with a clock, an observer and so on of its own.
    pub fn with_env(config: TimeoutConfig, env: E) -> Self {
        Self { core: Shared::new(Core::new(config, env)), carry: NotCarried, limit_of: SameForAll }
    }
}

impl<E: Environment, D, L> TimeoutLayer<E, D, L> {
    /// Gives deadlines on as `carry` says. Default [`NotCarried`].
    pub fn with_carry<D2>(self, carry: D2) -> TimeoutLayer<E, D2, L> {
        TimeoutLayer { core: self.core, carry, limit_of: self.limit_of }
    }

    /// Gives deadlines, and the end of a total timeout, on through the task: for requests that have no place for one.
    pub fn inherited(self) -> InheritedTimeoutLayer<E, L> {
        let Self { core, limit_of, .. } = self;
        InheritedTimeoutLayer::new(core, limit_of)
    }

    /// Asks `limit_of` how long each request may take. Default [`SameForAll`].
    pub fn with_limit_of<L2>(self, limit_of: L2) -> TimeoutLayer<E, D, L2> {
        TimeoutLayer { core: self.core, carry: self.carry, limit_of }
    }

    /// A layer with other limits in the same environment. It shares nothing with this one.
    #[must_use]
    pub fn with_config(self, config: TimeoutConfig) -> Self {
        Self { core: Shared::new(Core::new(config, self.core.env.clone())), ..self }
    }

    /// The same layer, whose state lives as long as the process. Earlier clones keep sharing.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { core: self.core.leak(), ..self }
    }

    /// How long a call that begins now may take, by the layer's own limit: it moves where the timeout is adaptive.
    pub fn limit(&self) -> Duration {
        self.core.own_limit(self.core.env.clock().now())
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> &E::Clock {
        self.core.env.clock()
    }

    /// How many calls would have been refused for their deadline, where that is
    /// [observed only](TimeoutConfig::with_deadline_observed_only).
    pub fn spared(&self) -> u64 {
        // Relaxed: a count that guards nothing.
        self.core.spared.load(Relaxed)
    }

    /// Wraps the errors of `service` and bounds its calls: the whole protection in one call.
    pub fn protect<S>(&self, service: S) -> Timeout<WrapError<S>, E, D, L>
    where
        D: Clone,
        L: Clone,
    {
        self.layer(WrapError::new(service))
    }

    /// Bounds a future without Tower. Time counts from here, not from the first poll. An
    /// [inherited deadline](seawall_core::inherited_deadline) counts where it is earlier. What the future calls inherits the
    /// call's deadline, or the end of a total timeout, in turn: a retry inside does not wait past it.
    ///
    /// ```
    /// use seawall_timeout::{TimeoutConfig, TimeoutLayer};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), seawall_timeout::TimeoutError> {
    /// let timeout = TimeoutLayer::new(TimeoutConfig::attempt(Duration::from_secs(1))?);
    /// let answer = timeout.run(async { Ok::<_, std::io::Error>(7) }).await;
    /// assert_eq!(answer.ok(), Some(7));
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<F, T, X>(&self, future: F) -> TimeoutFuture<InheritDeadline<WrapErrorFuture<F>>, E>
    where
        F: Future<Output = Result<T, X>>,
        E: Classify<T, X> + Environment<Clock: Timer>,
    {
        self.run_with(CallContext::inherited(), future)
    }

    /// Bounds a future of which something is known: its deadline.
    pub fn run_with<F, T, X>(
        &self,
        context: CallContext,
        future: F,
    ) -> TimeoutFuture<InheritDeadline<WrapErrorFuture<F>>, E>
    where
        F: Future<Output = Result<T, X>>,
        E: Classify<T, X> + Environment<Clock: Timer>,
    {
        self.run_carrying(context, WrapErrorFuture::new(future))
    }

    /// Bounds a future whose errors already carry rejections, as those of other layers' `run` do.
    pub fn run_carrying<F, T, X>(&self, context: CallContext, future: F) -> TimeoutFuture<InheritDeadline<F>, E>
    where
        F: Future<Output = Result<T, X>>,
        X: CarryRejection,
        E: Classify<T, X::Remote> + Environment<Clock: Timer>,
    {
        let now = self.core.env.clock().now();
        let (allowance, silent) = self.core.allow(now, None, (context.deadline, context.deadline_is_total));
        let watch = Watch::new(&self.core, silent, now);
        match allowance {
            Some(allowance) => {
                let future = allowance.inherited_by(self.core.config.reserve(), future);
                TimeoutFuture::new(future, allowance, self.core.env.clock().clone(), watch)
            }
            None => TimeoutFuture::refused(self.core.env.clock().clone(), watch),
        }
    }
}

impl<S, E, D: Clone, L: Clone> Layer<S> for TimeoutLayer<E, D, L> {
    type Service = Timeout<S, E, D, L>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, self.core.clone(), self.carry.clone(), self.limit_of.clone())
    }
}

impl<E, D: Clone, L: Clone> Clone for TimeoutLayer<E, D, L> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), carry: self.carry.clone(), limit_of: self.limit_of.clone() }
    }
}

impl<E, D, L> fmt::Debug for TimeoutLayer<E, D, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer").field("config", &self.core.config).finish_non_exhaustive()
    }
}

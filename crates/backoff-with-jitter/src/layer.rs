use std::fmt;

use seawall_core::{
    CallContext, CarryRejection, Classify, Env, Environment, Shared, Timer, WrapError, WrapErrorFuture,
};
use tower_layer::Layer;

use crate::{
    ByClass, CloneRequest, Retry, RetryConfig, RetryFigures, RetryRun, RetryWhen,
    shell::{Core, Template},
};

/// Tries failed calls again. All services that it makes, and all its clones, share one budget and one set of figures.
///
/// While calls succeed at first it clones no service, makes no timer and allocates nothing; what it keeps of a request is
/// [`Replay`](crate::Replay)'s matter. A retry first drops the failed attempt and its outcome, then waits, then drives a
/// fresh clone of the service ready: no place in a pool or bulkhead is held while it waits.
///
/// ```
/// use seawall_backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer};
/// use tower::{Service, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let flaky = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
/// let service = service_fn(move |name: &'static str| {
///     let attempt = flaky.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///     async move { if attempt == 0 { Err(std::io::Error::other("busy")) } else { Ok(name.len()) } }
/// });
/// let layer = RetryLayer::new(RetryConfig::new(IfUnknown::Repeat));
///
/// let length = layer.protect(service).oneshot("seawall").await;
///
/// assert_eq!(length.ok(), Some(7));
/// assert_eq!(layer.figures().recovered, 1);
/// # }
/// ```
pub struct RetryLayer<E: 'static = Env, P = CloneRequest, W = ByClass> {
    core: Shared<Core<E>>,
    replay: P,
    when: W,
}

impl RetryLayer {
    /// A layer in the default environment.
    pub fn new(config: RetryConfig) -> Self {
        Self::with_env(config, Env::new())
    }
}

impl<E: Environment> RetryLayer<E> {
    /// A layer with a clock, a classifier and so on of its own.
    pub fn with_env(config: RetryConfig, env: E) -> Self {
        Self { core: Shared::new(Core::new(config, env)), replay: CloneRequest, when: ByClass }
    }
}

impl<E: Environment, P, W> RetryLayer<E, P, W> {
    /// Keeps of requests what `replay` says. Default [`CloneRequest`].
    pub fn with_replay<P2>(self, replay: P2) -> RetryLayer<E, P2, W> {
        RetryLayer { core: self.core, replay, when: self.when }
    }

    /// Takes advice from `when` on what is worth another attempt. Default [`ByClass`].
    pub fn with_when<W2>(self, when: W2) -> RetryLayer<E, P, W2> {
        RetryLayer { core: self.core, replay: self.replay, when }
    }

    /// The same layer, whose state lives as long as the process: cheaper for cores that share it. So does one clone of
    /// every service that it is put around: call `layer` once, not per connection.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { core: self.core.leak(), replay: self.replay, when: self.when }
    }

    /// What the layer has done so far.
    pub fn figures(&self) -> RetryFigures {
        self.core.tally.figures()
    }

    /// The settings.
    pub fn config(&self) -> &RetryConfig {
        &self.core.config
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn clock(&self) -> &E::Clock {
        self.core.env.clock()
    }

    /// Wraps the errors of `service` and retries its calls: the whole protection in one call.
    pub fn protect<S: Clone + 'static>(&self, service: S) -> Retry<WrapError<S>, E, P, W>
    where
        P: Clone + 'static,
        W: Clone + 'static,
    {
        self.layer(WrapError::new(service))
    }

    /// Tries again what is no Tower service: `attempt` is called once per attempt. An
    /// [inherited deadline](seawall_core::inherited_deadline) counts where it is earlier than the context's own.
    ///
    /// ```
    /// use seawall_backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let retry = RetryLayer::new(RetryConfig::new(IfUnknown::Repeat));
    /// let mut left = 2;
    /// let answer = retry
    ///     .run(|| {
    ///         left -= 1;
    ///         async move { if left > 0 { Err("busy") } else { Ok("done") } }
    ///     })
    ///     .await;
    /// assert_eq!(answer, Ok("done"));
    /// # }
    /// ```
    pub fn run<M, F, T, X>(
        &self,
        mut attempt: M,
    ) -> RetryRun<impl FnMut(u32) -> WrapErrorFuture<F> + use<M, F, T, X, E, P, W>, WrapErrorFuture<F>, E, W>
    where
        M: FnMut() -> F,
        F: Future<Output = Result<T, X>>,
        E: Classify<T, X> + Environment<Clock: Timer>,
        W: RetryWhen<T, X> + Clone,
    {
        self.run_carrying(CallContext::default(), move |_| WrapErrorFuture::new(attempt()))
    }

    /// Tries again what already carries rejections, as the futures of other layers' `run` do, of which something is
    /// known: its deadline, whether it may be repeated. `attempt` is given the number of attempts before.
    pub fn run_carrying<M, F, T, X>(&self, context: CallContext, attempt: M) -> RetryRun<M, F, E, W>
    where
        M: FnMut(u32) -> F,
        F: Future<Output = Result<T, X>>,
        X: CarryRejection,
        E: Classify<T, X::Remote> + Environment<Clock: Timer>,
        W: RetryWhen<T, X::Remote> + Clone,
    {
        RetryRun::new(self.core.clone(), self.when.clone(), context, attempt)
    }
}

impl<S: Clone + 'static, E: Environment, P: Clone + 'static, W: Clone + 'static> Layer<S> for RetryLayer<E, P, W> {
    type Service = Retry<S, E, P, W>;

    fn layer(&self, inner: S) -> Self::Service {
        let template = Template::new(self.core.clone(), self.replay.clone(), self.when.clone(), inner.clone());
        let template = Shared::new(template);
        Retry::new(inner, if matches!(self.core, Shared::Leaked(_)) { template.leak() } else { template })
    }
}

impl<E, P: Clone, W: Clone> Clone for RetryLayer<E, P, W> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), replay: self.replay.clone(), when: self.when.clone() }
    }
}

impl<E, P, W> fmt::Debug for RetryLayer<E, P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("config", &self.core.config).finish_non_exhaustive()
    }
}

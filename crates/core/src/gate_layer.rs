use std::fmt;

use tower_layer::Layer;

use crate::{
    AskGate, CallContext, CarryRejection, Classify, Env, Environment, Gate, GateService, Gated, Run, Shared, WrapError,
    WrapErrorFuture,
};

/// Puts one [`Gate`] before services. All services that it makes, and all its clones, share the gate's state.
///
/// Pattern crates export an alias: `CircuitBreakerLayer<E = Env>` is `GateLayer<Breaker, E>`.
pub struct GateLayer<G: Gate, E: 'static = Env> {
    shared: Shared<Gated<G, E>>,
}

impl<G: Gate> GateLayer<G> {
    /// A layer in the default environment.
    pub fn new(config: impl Into<G>) -> Self {
        Self::with_env(config, Env::new())
    }
}

impl<G: Gate, E: Environment> GateLayer<G, E> {
    /// A layer with a clock, a classifier and so on of its own.
    pub fn with_env(config: impl Into<G>, env: E) -> Self {
        Self { shared: Shared::new(Gated { gate: config.into(), env }) }
    }

    /// The same layer, whose state lives as long as the process: cheaper for cores that share it. Earlier clones keep
    /// sharing. Not for layers that are built again and again.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { shared: self.shared.leak() }
    }

    /// The gate itself: its figures, its manual controls.
    pub fn gate(&self) -> &G {
        &self.shared.gate
    }

    /// What the layer works with, for another layer of the same kind.
    pub fn env(&self) -> &E {
        &self.shared.env
    }

    /// Wraps the errors of `service` and puts the gate before it: the whole protection in one call.
    pub fn protect<S>(&self, service: S) -> GateService<WrapError<S>, G, E> {
        self.layer(WrapError::new(service))
    }

    /// Protects a future without Tower. The gate decides when the returned future is first polled. An
    /// [inherited deadline](crate::inherited_deadline) counts where it is earlier than the context's own.
    ///
    /// Every error of `future` is the other side's, in the eyes of the gate. Where it may be the refusal of another layer,
    /// [`run_carrying`](Self::run_carrying) tells the two apart.
    pub fn run<F, T, X>(&self, future: F) -> Run<WrapErrorFuture<F>, G, E>
    where
        F: Future<Output = Result<T, X>>,
        E: Classify<T, X>,
    {
        self.run_with(CallContext::default(), future)
    }

    /// Protects a future of which something is known: its deadline, its criticality, its cost.
    pub fn run_with<F, T, X>(&self, context: CallContext, future: F) -> Run<WrapErrorFuture<F>, G, E>
    where
        F: Future<Output = Result<T, X>>,
        E: Classify<T, X>,
    {
        self.run_carrying(context, WrapErrorFuture::new(future))
    }

    /// Protects a future whose errors already carry rejections, as those of other layers' `run` do: what they refuse or cut
    /// counts as that, and no further error is wrapped around.
    ///
    /// ```
    /// use seawall_core::{CallContext, Error, Gate, GateLayer};
    ///
    /// async fn guarded<A: Gate, B: Gate>(outer: &GateLayer<A>, inner: &GateLayer<B>) -> Result<u32, Error<std::io::Error>> {
    ///     outer.run_carrying(CallContext::default(), inner.run(async { Ok(7) })).await
    /// }
    /// ```
    pub fn run_carrying<F, T, X>(&self, context: CallContext, future: F) -> Run<F, G, E>
    where
        F: Future<Output = Result<T, X>>,
        X: CarryRejection,
        E: Classify<T, X::Remote>,
    {
        Run::new(self.shared.clone(), AskGate, context, future)
    }
}

impl<G: Gate, E> Clone for GateLayer<G, E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<G: Gate + fmt::Debug, E> fmt::Debug for GateLayer<G, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateLayer").field("gate", &self.shared.gate).finish_non_exhaustive()
    }
}

impl<S, G: Gate, E: Environment> Layer<S> for GateLayer<G, E> {
    type Service = GateService<S, G, E>;

    fn layer(&self, inner: S) -> Self::Service {
        GateService::new(inner, self.shared.clone())
    }
}

#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{Clock, Env, Environment, Gate, GateFuture, Gated, Readiness, Rejection, Serves, Settle, Shared};

/// A service behind a [`GateLayer`](crate::GateLayer).
///
/// Permits are taken in `call`, never in `poll_ready`: an idle or dropped handle holds nothing of the gate's. A refused
/// call leaves the readiness that the inner service granted with this handle, for its next call.
///
/// While the inner service is not ready, a gate that refuses everybody ([`Gate::refusal`]) does so at once: the handle is
/// ready, and its next call is refused without touching the inner service, also when the gate has changed its mind by then.
pub struct GateService<S, G: Gate, E: 'static = Env> {
    inner: S,
    shared: Shared<Gated<G, E>>,
    /// What the next call is refused with, since the inner service is not ready for it.
    foreseen: Option<Rejection>,
}

impl<S, G: Gate, E> GateService<S, G, E> {
    pub(crate) const fn new(inner: S, shared: Shared<Gated<G, E>>) -> Self {
        Self { inner, shared, foreseen: None }
    }

    /// The gate itself.
    pub fn gate(&self) -> &G {
        &self.shared.gate
    }

    /// The service behind the gate.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, G: Gate, E: Environment> GateService<S, G, E> {
    /// Asks the gate, as the inner service is not ready. `true`: the next call is refused.
    #[cold]
    #[inline(never)]
    fn foresee(&mut self) -> bool {
        let Gated { gate, env } = &*self.shared;
        self.foreseen = gate.refusal(|| env.clock().now());
        self.foreseen.is_some()
    }
}

impl<S: Clone, G: Gate, E> Clone for GateService<S, G, E> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.shared.clone())
    }
}

impl<S: fmt::Debug, G: Gate + fmt::Debug, E> fmt::Debug for GateService<S, G, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService")
            .field("gate", &self.shared.gate)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, Req, G, E> Service<Req> for GateService<S, G, E>
where
    S: Service<Req, Error: crate::CarryRejection>,
    G: Gate<Wait: Readiness<S, Req>>,
    E: Serves<Req, S::Response, S::Error>,
{
    type Response = <E::Settle as Settle<S::Response>>::Response<G, E>;
    type Error = S::Error;
    type Future = GateFuture<S, Req, G, E>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let polled = <G::Wait as Readiness<S, Req>>::poll_ready(&mut self.inner, cx);
        if G::FORESEES {
            self.foreseen = None;
            if polled.is_pending() && self.foresee() {
                return Poll::Ready(Ok(()));
            }
        }
        polled
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        GateFuture::begin(&self.shared, &mut self.inner, request, self.foreseen.as_ref())
    }
}

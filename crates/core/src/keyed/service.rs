use std::{
    fmt,
    hash::Hash,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{CarryRejection, Env, Environment, Gate, GateFuture, KeyedLayer, PickKey, Readiness, Serves, Settle};

/// A service behind a [`KeyedLayer`].
pub struct KeyedService<S, Q: ?Sized + ToOwned, F, G: Gate, E: Environment = Env> {
    inner: S,
    layer: KeyedLayer<Q, F, G, E>,
}

impl<S, Q: ?Sized + ToOwned, F, G: Gate, E: Environment> KeyedService<S, Q, F, G, E> {
    pub(super) const fn new(inner: S, layer: KeyedLayer<Q, F, G, E>) -> Self {
        Self { inner, layer }
    }
}

impl<S: Clone, Q: ?Sized + ToOwned, F: Clone, G: Gate, E: Environment> Clone for KeyedService<S, Q, F, G, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, Q: ?Sized + ToOwned, F, G: Gate, E: Environment> fmt::Debug for KeyedService<S, Q, F, G, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedService").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, Req, Q, F, G, E> Service<Req> for KeyedService<S, Q, F, G, E>
where
    S: Service<Req, Error: CarryRejection>,
    Q: ?Sized + ToOwned<Owned: Hash + Eq> + Hash + Eq,
    F: PickKey<Req, Q>,
    G: Gate<Wait: Readiness<S, Req>>,
    E: Serves<Req, S::Response, S::Error>,
{
    type Response = <E::Settle as Settle<S::Response>>::Response<G, E>;
    type Error = S::Error;
    type Future = GateFuture<S, Req, G, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        <G::Wait as Readiness<S, Req>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let shared = self.layer.key.pick(&request, |key| self.layer.table.entry(key));
        GateFuture::begin(&shared, &mut self.inner, request, None)
    }
}

use std::{
    fmt,
    task::{Context, Poll},
};

use seawall_core::Error;
use tower_layer::Layer;
use tower_service::Service;

use crate::{ProbeError, Script};

/// A layer whose services call `run` of another one, so that the suite holds for futures without Tower too.
///
/// `run` is given the layer, the service inside and the script, and returns the protected future of one call:
///
/// ```
/// use seawall_core::{CallContext, GateLayer};
/// use seawall_testkit::{Ledger, TestEnv, contract::{self, ByRun, Leaf}};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// contract::every_run_ends_in_exactly_one_outcome(|env| {
///     let layer = GateLayer::<Ledger, TestEnv>::with_env(Ledger::default(), env);
///     ByRun::new(layer, |layer, leaf: Leaf, script| layer.run_carrying(CallContext::default(), leaf.oneshot(script)))
/// })
/// .await;
/// # }
/// ```
#[derive(Clone)]
pub struct ByRun<L, R> {
    layer: L,
    run: R,
}

impl<L, R> ByRun<L, R> {
    /// Protects each call by `run` of `layer`.
    pub const fn new<S, F>(layer: L, run: R) -> Self
    where
        R: Fn(&L, S, Script) -> F,
    {
        Self { layer, run }
    }

    /// The layer.
    pub const fn get_ref(&self) -> &L {
        &self.layer
    }
}

impl<L: fmt::Debug, R> fmt::Debug for ByRun<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRun").field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl<S, L: Clone, R: Clone> Layer<S> for ByRun<L, R> {
    type Service = Runs<S, L, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Runs { inner, by: self.clone() }
    }
}

/// A service of [`ByRun`].
#[derive(Clone)]
pub struct Runs<S, L, R> {
    inner: S,
    by: ByRun<L, R>,
}

impl<S: fmt::Debug, L: fmt::Debug, R> fmt::Debug for Runs<S, L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").field("inner", &self.inner).field("by", &self.by).finish()
    }
}

impl<S, L, R, F> Service<Script> for Runs<S, L, R>
where
    S: Clone,
    R: Fn(&L, S, Script) -> F,
    F: Future<Output = Result<&'static str, Error<ProbeError>>>,
{
    type Response = &'static str;
    type Error = Error<ProbeError>;
    type Future = F;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, script: Script) -> F {
        (self.by.run)(&self.by.layer, self.inner.clone(), script)
    }
}

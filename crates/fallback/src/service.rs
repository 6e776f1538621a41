use std::{
    fmt,
    task::{Context, Poll},
};

use seawall_core::{CarryRejection, Classify, Env, Environment, Shared};
use tower_service::Service;

use crate::{
    Alternative, ByClass, Extract, FallbackError, FallbackFuture, FallbackWhen, Mark, Nothing, Unmarked,
    call::{Call, Core},
};

/// A service behind a [`FallbackLayer`](crate::FallbackLayer).
pub struct Fallback<S, A: 'static, X = Nothing, E: 'static = Env, W: 'static = ByClass, M: 'static = Unmarked> {
    inner: S,
    core: Shared<Core<A, E, W, M>>,
    extract: X,
}

impl<S, A, X, E, W, M> Fallback<S, A, X, E, W, M> {
    pub(crate) const fn new(inner: S, core: Shared<Core<A, E, W, M>>, extract: X) -> Self {
        Self { inner, core, extract }
    }

    /// The service that is stood in for.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone, A, X: Clone, E, W, M> Clone for Fallback<S, A, X, E, W, M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), core: self.core.clone(), extract: self.extract.clone() }
    }
}

impl<S: fmt::Debug, A: fmt::Debug, X, E, W, M> fmt::Debug for Fallback<S, A, X, E, W, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("alternative", &self.core.state.plan)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, Req, A, X, E, W, M> Service<Req> for Fallback<S, A, X, E, W, M>
where
    S: Service<Req, Error: CarryRejection>,
    X: Extract<Req>,
    A: Alternative<X::Kept, S::Response, S::Error>,
    E: Environment + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    W: FallbackWhen<S::Response, S::Error>,
    M: Mark<S::Response, A::Error>,
{
    type Response = S::Response;
    type Error = FallbackError<S::Error, A::Error>;
    type Future = FallbackFuture<S::Future, X::Kept, S::Response, S::Error, A, E, W, M>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(FallbackError::new)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let kept = self.extract.extract(&request);
        let mut call = Call::new(&self.core);
        let attempt = call.around(|_| self.inner.call(request));
        FallbackFuture::new(attempt, kept, call)
    }
}

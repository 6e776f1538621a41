#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    fmt,
    task::{Context, Poll},
};

use seawall_core::{Attributes, CarryRejection, Classify, Env, Environment, Shared, Timer};
use tower_service::Service;

use crate::{ByClass, CloneRequest, Replay, RetryFuture, RetryWhen, future::Keeping, shell::Template};

/// A service behind a [`RetryLayer`](crate::RetryLayer).
///
/// The first attempt goes to the very service that was polled ready; further ones to fresh clones, each driven ready.
pub struct Retry<S: 'static, E: 'static = Env, P: 'static = CloneRequest, W: 'static = ByClass> {
    inner: S,
    template: Shared<Template<S, E, P, W>>,
}

impl<S, E, P, W> Retry<S, E, P, W> {
    pub(crate) const fn new(inner: S, template: Shared<Template<S, E, P, W>>) -> Self {
        Self { inner, template }
    }

    /// The service that is retried.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone, E, P, W> Clone for Retry<S, E, P, W> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), template: self.template.clone() }
    }
}

impl<S: fmt::Debug, E, P, W> fmt::Debug for Retry<S, E, P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("config", &self.template.core.config)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, Req, E, P, W> Service<Req> for Retry<S, E, P, W>
where
    P: Replay<Req>,
    S: Service<P::Request, Error: CarryRejection> + Clone,
    E: Environment<Clock: Timer> + Attributes<P::Request> + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    W: RetryWhen<S::Response, <S::Error as CarryRejection>::Remote>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<S, Req, E, P, W>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        let account = self.template.begin();
        let (request, kept) = self.template.replay.keep(request);
        let kept = match kept {
            Some(kept) => Keeping::Kept(kept),
            None => Keeping::Nothing(self.template.env.context(&request).idempotent),
        };
        RetryFuture::new(self.template.clone(), kept, account, || self.inner.call(request))
    }
}

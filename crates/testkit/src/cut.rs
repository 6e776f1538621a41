use std::{
    pin::Pin,
    task::{Context, Poll},
};

use seawall_core::{Pattern, Reason, Rejection};
use tower_service::Service;

use crate::Script;

/// Cuts the calls of [`Script::TimeOut`] when they are first polled, as a timeout innermost would.
#[derive(Clone, Debug)]
pub struct Cut<S> {
    inner: S,
}

impl<S> Cut<S> {
    /// Cuts the calls of `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service<Script, Error: From<Rejection>>> Service<Script> for Cut<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = CutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, script: Script) -> Self::Future {
        CutFuture { inner: Some(Box::pin(self.inner.call(script))), cuts: script == Script::TimeOut }
    }
}

/// The future of a call through [`Cut`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct CutFuture<F> {
    inner: Option<Pin<Box<F>>>,
    cuts: bool,
}

impl<F, T, X> Future for CutFuture<F>
where
    F: Future<Output = Result<T, X>>,
    X: From<Rejection>,
{
    type Output = Result<T, X>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.cuts {
            self.inner = None;
            return Poll::Ready(Err(Rejection::new(Pattern::Timeout, Reason::AttemptTimeout).into()));
        }
        self.inner.as_mut().map_or(Poll::Pending, |inner| inner.as_mut().poll(cx))
    }
}

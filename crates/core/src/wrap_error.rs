#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Error;

/// Turns a service's error `E` into [`Error<E>`], which can carry rejections. Innermost in a stack.
#[derive(Copy, Clone, Debug, Default)]
#[non_exhaustive]
pub struct WrapErrorLayer;

impl WrapErrorLayer {
    /// The layer; it has no settings.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for WrapErrorLayer {
    type Service = WrapError<S>;

    fn layer(&self, inner: S) -> WrapError<S> {
        WrapError::new(inner)
    }
}

/// A service behind a [`WrapErrorLayer`].
#[derive(Copy, Clone, Debug)]
pub struct WrapError<S> {
    inner: S,
}

impl<S> WrapError<S> {
    /// Wraps `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service<Req>, Req> Service<Req> for WrapError<S> {
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = WrapErrorFuture<S::Future>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        WrapErrorFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The future of [`WrapError`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct WrapErrorFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F> WrapErrorFuture<F> {
    /// Wraps the error of `inner`: for layers that protect futures without Tower.
    pub const fn new(inner: F) -> Self {
        Self { inner }
    }
}

impl<F: Future<Output = Result<T, E>>, T, E> Future for WrapErrorFuture<F> {
    type Output = Result<T, Error<E>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().inner.poll(cx)).map_err(Error::Inner))
    }
}

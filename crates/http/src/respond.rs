use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use seawall_core::CarryRejection;
use tower_layer::Layer;
use tower_service::Service;

use crate::Problem;

/// Turns what seawall's layers refuse into responses. Outermost on a server: `Error<Infallible>`, or any other error that
/// can be nothing but a rejection, becomes `Infallible`, which is what axum and hyper want.
#[derive(Copy, Clone, Debug, Default)]
#[non_exhaustive]
pub struct RespondLayer;

impl RespondLayer {
    /// The layer; it has no settings.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond { inner }
    }
}

/// A service behind a [`RespondLayer`].
#[derive(Copy, Clone, Debug)]
pub struct Respond<S> {
    inner: S,
}

impl<S, Req, B> Service<Req> for Respond<S>
where
    S: Service<Req, Response = Response<B>, Error: CarryRejection<Remote = Infallible>>,
{
    type Response = Response<RespondBody<B>>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.inner.poll_ready(cx) {
            // Layers refuse calls, not readiness; one that did would refuse the call as well.
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        RespondFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The future of [`Respond`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct RespondFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, B, X> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<B>, X>>,
    X: CarryRejection<Remote = Infallible>,
{
    type Output = Result<Response<RespondBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match ready!(self.project().inner.poll(cx)) {
            Ok(response) => response.map(|body| RespondBody { kind: Kind::Handler { body } }),
            Err(error) => match error.split() {
                Ok(never) => match *never {},
                Err(rejection) => Problem::from(*rejection)
                    .into_response(|json| RespondBody { kind: Kind::Problem { json: Some(Bytes::from(json)) } }),
            },
        }))
    }
}

pin_project! {
    /// The body of a response behind [`Respond`]: the handler's, or a problem document.
    #[derive(Debug)]
    pub struct RespondBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<B> {
        Handler { #[pin] body: B },
        Problem { json: Option<Bytes> },
    }
}

impl<B: Body<Data = Bytes>> Body for RespondBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Handler { body } => body.poll_frame(cx),
            KindProjection::Problem { json } => Poll::Ready(json.take().map(|json| Ok(Frame::data(json)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Handler { body } => body.is_end_stream(),
            Kind::Problem { json } => json.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Handler { body } => body.size_hint(),
            Kind::Problem { json } => {
                SizeHint::with_exact(json.as_ref().and_then(|json| u64::try_from(json.len()).ok()).unwrap_or(0))
            }
        }
    }
}

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use seawall_core::{CarryRejection, Rejection};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Problem, problem::OnOverload};

/// Turns what seawall's layers refuse into responses. Outermost on a server: `Error<Infallible>`, or any other error that
/// can be nothing but a rejection, becomes `Infallible`, which is what axum and hyper want.
///
/// A refusal that no repetition mends (time that ran out, a call that weighs too much) is marked with
/// `x-seawall-do-not-retry`, so that no tier above tries.
///
/// A caller that speaks gRPC (HTTP/2, `content-type: application/grpc`) is answered in gRPC: status, words and pushback
/// instead of a problem document.
#[derive(Copy, Clone, Debug, Default)]
pub struct RespondLayer {
    overload: OnOverload,
}

impl RespondLayer {
    /// The layer in its default: overload is not marked, since a retry may reach an instance that has room.
    pub const fn new() -> Self {
        Self { overload: OnOverload::ComeBack }
    }

    /// Marks refusals for overload too. Where there is one instance, or all are overloaded together, a retry adds to what
    /// hurts; nested tiers would multiply it.
    #[must_use]
    pub const fn without_retries_on_overload(mut self) -> Self {
        self.overload = OnOverload::DoNotRetry;
        self
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond { inner, overload: self.overload, refused: None }
    }
}

/// A service behind a [`RespondLayer`].
#[derive(Copy, Clone, Debug)]
pub struct Respond<S> {
    inner: S,
    overload: OnOverload,
    /// Why the service is not ready: the answer to the next call.
    refused: Option<Rejection>,
}

impl<S, Q, B> Service<Request<Q>> for Respond<S>
where
    S: Service<Request<Q>, Response = Response<B>, Error: CarryRejection<Remote = Infallible>>,
{
    type Response = Response<RespondBody<B>>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A service that refuses to be ready must not be called; its caller is still owed an answer.
        self.refused = ready!(self.inner.poll_ready(cx)).err().as_ref().map(rejection_in);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let told = Told { protocol: Protocol::of(&request), overload: self.overload };
        let state = match self.refused.take() {
            None => State::Called { call: self.inner.call(request) },
            Some(rejection) => State::Refused { rejection: Some(rejection) },
        };
        RespondFuture { state, told }
    }
}

/// What a refused caller understands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Protocol {
    Http,
    Grpc,
}

impl Protocol {
    /// Only HTTP/2 carries gRPC, so that other requests pay no look at their headers.
    fn of<Q>(request: &Request<Q>) -> Self {
        if request.version() != Version::HTTP_2 {
            return Self::Http;
        }
        let Some(kind) = request.headers().get(header::CONTENT_TYPE) else { return Self::Http };
        match kind.as_bytes().strip_prefix(b"application/grpc") {
            Some([] | [b'+' | b';', ..]) => Self::Grpc,
            _ => Self::Http,
        }
    }
}

/// How a refused caller is told.
#[derive(Copy, Clone, Debug)]
struct Told {
    protocol: Protocol,
    overload: OnOverload,
}

/// The rejection that an error is which can be nothing else.
fn rejection_in<X: CarryRejection<Remote = Infallible>>(error: &X) -> Rejection {
    match error.split() {
        Ok(never) => match *never {},
        Err(rejection) => *rejection,
    }
}

pin_project! {
    /// The future of [`Respond`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct RespondFuture<F> {
        #[pin]
        state: State<F>,
        told: Told,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Called { #[pin] call: F },
        Refused { rejection: Option<Rejection> },
    }
}

impl<F, B, X> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<B>, X>>,
    X: CarryRejection<Remote = Infallible>,
{
    type Output = Result<Response<RespondBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(Ok(match this.state.project() {
            StateProjection::Called { call } => match ready!(call.poll(cx)) {
                Ok(response) => response.map(|body| RespondBody { kind: Kind::Handler { body } }),
                Err(error) => problem(rejection_in(&error), *this.told),
            },
            // Polled again after it was ready: pending for ever, as nothing will wake it.
            StateProjection::Refused { rejection } => match rejection.take() {
                Some(rejection) => problem(rejection, *this.told),
                None => return Poll::Pending,
            },
        }))
    }
}

#[cold]
fn problem<B>(rejection: Rejection, told: Told) -> Response<RespondBody<B>> {
    let problem = Problem::with(rejection, told.overload);
    match told.protocol {
        Protocol::Http => {
            problem.into_response(|json| RespondBody { kind: Kind::Problem { json: Some(Bytes::from(json)) } })
        }
        Protocol::Grpc => problem.into_grpc_response(RespondBody { kind: Kind::Problem { json: None } }),
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

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use seawall_core::{Error, Pattern, Reason};
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::DO_NOT_RETRY_HEADER;

    async fn is_marked(layer: RespondLayer, reason: Reason) -> bool {
        let refusal: Error<Infallible> = Rejection::new(Pattern::LoadShedder, reason).into();
        let service = layer.layer(service_fn(move |_| ready(Err::<Response<String>, _>(refusal))));
        service.oneshot(Request::new(())).await.unwrap().headers().contains_key(DO_NOT_RETRY_HEADER)
    }

    #[tokio::test]
    async fn what_no_repetition_mends_is_marked_and_overload_only_by_choice() {
        let plain = RespondLayer::new();
        let single = RespondLayer::new().without_retries_on_overload();

        for reason in [Reason::DeadlineExceeded, Reason::DeadlineTooClose, Reason::TooHeavy] {
            assert!(is_marked(plain, reason).await, "{reason:?}");
        }
        for reason in [Reason::Overloaded, Reason::QueueFull, Reason::BulkheadFull] {
            assert_eq!((is_marked(plain, reason).await, is_marked(single, reason).await), (false, true), "{reason:?}");
        }
        for reason in [Reason::RateLimited, Reason::AttemptTimeout, Reason::CircuitOpen] {
            assert!(!is_marked(single, reason).await, "{reason:?}");
        }
    }

    #[tokio::test]
    async fn a_grpc_caller_is_answered_in_grpc_and_nobody_else() {
        let refusal: Error<Infallible> = Rejection::new(Pattern::LoadShedder, Reason::Overloaded).into();
        let status = async |layer: RespondLayer, version, kind: &str| {
            let service = layer.layer(service_fn(move |_| ready(Err::<Response<String>, _>(refusal))));
            let request = Request::builder().version(version).header("content-type", kind).body(()).unwrap();
            let answer = service.oneshot(request).await.unwrap();
            let pushback =
                answer.headers().get("grpc-retry-pushback-ms").map(|value| value.to_str().unwrap().to_owned());
            (
                answer.status().as_u16(),
                answer.headers().contains_key("grpc-status"),
                answer.body().is_end_stream(),
                pushback,
            )
        };
        let (plain, single) = (RespondLayer::new(), RespondLayer::new().without_retries_on_overload());

        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;v=1"] {
            assert_eq!(status(plain, Version::HTTP_2, kind).await, (200, true, true, None), "{kind}");
            assert_eq!(status(single, Version::HTTP_2, kind).await, (200, true, true, Some("-1".to_owned())), "{kind}");
            assert_eq!(status(plain, Version::HTTP_11, kind).await, (503, false, false, None), "{kind}");
        }
        for kind in ["application/grpc-web", "application/json", ""] {
            assert_eq!(status(plain, Version::HTTP_2, kind).await, (503, false, false, None), "{kind}");
        }
    }

    /// Never ready, and never to be called.
    #[derive(Clone)]
    struct Closed;

    impl Service<Request<()>> for Closed {
        type Response = Response<String>;
        type Error = Error<Infallible>;
        type Future = Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err(Rejection::new(Pattern::Bulkhead, Reason::Closed).into()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            unreachable!("called without being ready")
        }
    }

    #[tokio::test]
    async fn a_service_that_refuses_to_be_ready_is_answered_for_and_not_called() {
        let mut service = RespondLayer::new().layer(Closed);

        for _ in 0..2 {
            let answer = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
            assert_eq!(answer.status(), 503);
        }
    }
}

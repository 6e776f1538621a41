use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use seawall_core::{MonotonicClock, Timer, Timestamp};
use seawall_timeout::StreamLimits;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Deadline, TimedBody};

/// Bounds the bodies of responses: on a client those of a server that trickles, on a server those of a client that does
/// not read.
///
/// The total limit counts from the head. A request's [`Deadline`] ends its response's body as well.
///
/// ```
/// use seawall_http::ResponseBodyTimeoutLayer;
/// use seawall_timeout::StreamLimits;
/// use std::time::Duration;
///
/// let limits = StreamLimits::new().with_idle(Duration::from_secs(10))?;
/// let layer = ResponseBodyTimeoutLayer::new(limits);
/// # let _ = layer;
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
#[derive(Copy, Clone, Debug)]
pub struct ResponseBodyTimeoutLayer<K = MonotonicClock> {
    limits: StreamLimits,
    clock: K,
}

/// Bounds the bodies of requests: on a server those of a client that trickles.
///
/// The total limit counts from the head. A request's [`Deadline`] ends its body as well. A handler that reads a body that
/// is cut sees an error; answer it with 408.
#[derive(Copy, Clone, Debug)]
pub struct RequestBodyTimeoutLayer<K = MonotonicClock> {
    limits: StreamLimits,
    clock: K,
}

macro_rules! body_timeout_layer {
    ($layer:ident, $service:ident, $doc:literal) => {
        impl $layer {
            /// A layer with these limits.
            pub const fn new(limits: StreamLimits) -> Self {
                Self { limits, clock: MonotonicClock }
            }
        }

        impl<K> $layer<K> {
            /// Reads the time from `clock`.
            pub fn with_clock<K2>(self, clock: K2) -> $layer<K2> {
                $layer { limits: self.limits, clock }
            }
        }

        impl<S, K: Clone> Layer<S> for $layer<K> {
            type Service = $service<S, K>;

            fn layer(&self, inner: S) -> Self::Service {
                $service { inner, limits: self.limits, clock: self.clock.clone() }
            }
        }

        #[doc = $doc]
        #[derive(Copy, Clone, Debug)]
        pub struct $service<S, K = MonotonicClock> {
            inner: S,
            limits: StreamLimits,
            clock: K,
        }
    };
}

body_timeout_layer!(ResponseBodyTimeoutLayer, ResponseBodyTimeout, "A service behind a [`ResponseBodyTimeoutLayer`].");
body_timeout_layer!(RequestBodyTimeoutLayer, RequestBodyTimeout, "A service behind a [`RequestBodyTimeoutLayer`].");

impl<S, K, A, B> Service<Request<A>> for ResponseBodyTimeout<S, K>
where
    S: Service<Request<A>, Response = Response<B>>,
    K: Timer,
{
    type Response = Response<TimedBody<B, K>>;
    type Error = S::Error;
    type Future = ResponseBodyTimeoutFuture<S::Future, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let deadline = Deadline::of_caller(&request).map(Deadline::at);
        let (limits, clock) = (self.limits, self.clock.clone());
        ResponseBodyTimeoutFuture { inner: self.inner.call(request), limits, clock, deadline }
    }
}

pin_project! {
    /// The future of a [`ResponseBodyTimeout`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseBodyTimeoutFuture<F, K> {
        #[pin]
        inner: F,
        limits: StreamLimits,
        clock: K,
        deadline: Option<Timestamp>,
    }
}

impl<F, K, B, X> Future for ResponseBodyTimeoutFuture<F, K>
where
    F: Future<Output = Result<Response<B>, X>>,
    K: Timer,
{
    type Output = Result<Response<TimedBody<B, K>>, X>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        let timed = |body| TimedBody::new(body, *this.limits, this.clock.clone(), *this.deadline);
        Poll::Ready(answer.map(|response| response.map(timed)))
    }
}

impl<S, K, B> Service<Request<B>> for RequestBodyTimeout<S, K>
where
    S: Service<Request<TimedBody<B, K>>>,
    K: Timer,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let deadline = Deadline::of_caller(&request).map(Deadline::at);
        self.inner.call(request.map(|body| TimedBody::new(body, self.limits, self.clock.clone(), deadline)))
    }
}

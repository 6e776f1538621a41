use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::Request;
use pin_project_lite::pin_project;
use seawall_core::{CarryRejection, InheritDeadline, Pattern, Reason, Rejection, Timestamp};
use tower_service::Service;

use crate::Deadline;

/// What a layer does to the deadline of each request. Implemented by [`ReceiveDeadlineLayer`](crate::ReceiveDeadlineLayer) and
/// [`SendDeadlineLayer`](crate::SendDeadlineLayer).
pub trait StampDeadline {
    /// Takes the deadline from `request`, or writes it there. What is given back holds for the calls made on its behalf.
    ///
    /// # Errors
    /// Too little is left to begin.
    fn stamp<B>(&self, request: &mut Request<B>) -> Result<Option<Deadline>, Rejection>;
}

pub(crate) const TOO_CLOSE: Rejection = Rejection::new(Pattern::Timeout, Reason::DeadlineTooClose);

/// A service whose requests' deadlines are taken from, or written to, their headers.
#[derive(Copy, Clone, Debug)]
pub struct DeadlineService<S, P> {
    inner: S,
    stamp: P,
}

impl<S, P> DeadlineService<S, P> {
    pub(crate) const fn new(inner: S, stamp: P) -> Self {
        Self { inner, stamp }
    }
}

impl<S, P, B> Service<Request<B>> for DeadlineService<S, P>
where
    S: Service<Request<B>, Error: CarryRejection>,
    P: StampDeadline,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.stamp.stamp(&mut request) {
            Ok(deadline) => DeadlineFuture::called(deadline, self.inner.call(request)),
            Err(rejection) => DeadlineFuture::refused(rejection),
        }
    }
}

pin_project! {
    /// The future of a [`DeadlineService`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct DeadlineFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Called { #[pin] call: InheritDeadline<F> },
        Refused { rejection: Option<Rejection> },
    }
}

impl<F> DeadlineFuture<F> {
    /// A call whose own calls inherit `deadline`.
    pub(crate) fn called(deadline: Option<Deadline>, call: F) -> Self {
        let at = deadline.map_or(Timestamp::MAX, Deadline::at);
        Self { state: State::Called { call: InheritDeadline::new(at, call) } }
    }

    pub(crate) const fn refused(rejection: Rejection) -> Self {
        Self { state: State::Refused { rejection: Some(rejection) } }
    }
}

impl<F, T, X> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<T, X>>,
    X: CarryRejection,
{
    type Output = Result<T, X>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Called { call } => call.poll(cx),
            StateProjection::Refused { rejection } => {
                rejection.take().map_or(Poll::Pending, |rejection| Poll::Ready(Err(rejection.into())))
            }
        }
    }
}

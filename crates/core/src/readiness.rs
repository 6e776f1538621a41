#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use crate::NoWait;

/// A call that was admitted: under way, or waiting for its inner service to be ready.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a service is called at once or later")]
pub enum Start<F, P> {
    /// The inner service was called.
    Called(F),
    /// The inner service is still to be driven ready.
    Parked(P),
}

/// How a layer handles the readiness of its inner service; follows from the gate's wait alone, and nobody else
/// implements it.
///
/// A gate that never queues forwards readiness and calls the very service that was polled. One that may queue reports
/// ready at once and drives a fresh clone after admission: holding an inner permit while waiting for an outer one
/// deadlocks.
pub trait Readiness<S: Service<Req>, Req>: Sized + sealed::Sealed {
    /// The request and the service that it is for, while they wait.
    type Parked;

    /// A `T` that is there only for a gate that lets calls wait. For others nothing can be one, so that what holds it
    /// has neither room nor code for it.
    type Held<T>;

    /// Makes what a call that was put aside is held as.
    fn hold<T>(parked: Self::Parked, make: impl FnOnce(Self::Parked) -> T) -> Self::Held<T>;

    /// What is held.
    fn held<T>(held: Pin<&mut Self::Held<T>>) -> Pin<&mut T>;

    /// Polls for readiness before a call.
    ///
    /// # Errors
    /// The inner service's own.
    fn poll_ready(inner: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>;

    /// Begins an admitted call.
    fn start(inner: &mut S, request: Req) -> Start<S::Future, Self::Parked>;

    /// Puts a queued call aside.
    fn park(self, inner: &S, request: Req) -> (Self, Self::Parked);

    /// Polls for readiness after admission, and calls.
    ///
    /// # Errors
    /// The inner service's own.
    fn drive(parked: &mut Self::Parked, cx: &mut Context<'_>) -> Poll<Result<S::Future, S::Error>>;
}

mod sealed {
    #[expect(unnameable_types, reason = "nobody else names it: that is what seals the trait")]
    pub trait Sealed {}
    impl Sealed for crate::NoWait {}
    impl<W: Future> Sealed for W {}
}

impl<S: Service<Req>, Req> Readiness<S, Req> for NoWait {
    type Parked = Self;
    type Held<T> = Self;

    fn hold<T>(parked: Self, _: impl FnOnce(Self) -> T) -> Self {
        parked
    }

    fn held<T>(held: Pin<&mut Self>) -> Pin<&mut T> {
        match *held {}
    }

    #[inline(always)]
    fn poll_ready(inner: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        inner.poll_ready(cx)
    }

    #[inline(always)]
    fn start(inner: &mut S, request: Req) -> Start<S::Future, Self> {
        Start::Called(inner.call(request))
    }

    fn park(self, _: &S, _: Req) -> (Self, Self) {
        match self {}
    }

    fn drive(parked: &mut Self, _: &mut Context<'_>) -> Poll<Result<S::Future, S::Error>> {
        match *parked {}
    }
}

impl<W: Future, S: Service<Req> + Clone, Req> Readiness<S, Req> for W {
    type Parked = (S, Option<Req>);
    type Held<T> = T;

    fn hold<T>(parked: Self::Parked, make: impl FnOnce(Self::Parked) -> T) -> T {
        make(parked)
    }

    fn held<T>(held: Pin<&mut T>) -> Pin<&mut T> {
        held
    }

    #[inline(always)]
    fn poll_ready(_: &mut S, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn start(inner: &mut S, request: Req) -> Start<S::Future, Self::Parked> {
        Start::Parked((inner.clone(), Some(request)))
    }

    fn park(self, inner: &S, request: Req) -> (Self, Self::Parked) {
        (self, (inner.clone(), Some(request)))
    }

    #[inline(always)]
    fn drive((inner, request): &mut Self::Parked, cx: &mut Context<'_>) -> Poll<Result<S::Future, S::Error>> {
        ready!(inner.poll_ready(cx))?;
        // Taken by the call that turned ready: a caller that polls again after that waits for ever, as with any future.
        request.take().map_or(Poll::Pending, |request| Poll::Ready(Ok(inner.call(request))))
    }
}

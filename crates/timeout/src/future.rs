use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{CarryRejection, Classify, Environment, Pattern, Reason, Rejection, Timer, Timestamp};

use crate::{config::Allowance, watch::Watch};

pin_project! {
    /// The future of a call through [`Timeout`](crate::Timeout), or of [`TimeoutLayer::run`](crate::TimeoutLayer::run).
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<F, E>
    where
        E: Environment,
        E::Clock: Timer,
    {
        // The call stands first: what it holds is given back before its end is reported.
        #[pin]
        inner: Option<F>,
        timer: Lazy<<E::Clock as Timer>::Sleep>,
        until: Timestamp,
        expired: Reason,
        done: bool,
        clock: E::Clock,
        watch: Watch<E>,
    }
}

/// A timer that is made at the first `Pending`. Boxed: inline it would make every call's future larger and move with it.
/// Its own type, so that dropping none is one comparison in the caller's code.
struct Lazy<T>(Option<Pin<Box<T>>>);

impl<T> Drop for Lazy<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(timer) = self.0.take() {
            drop_timer(timer);
        }
    }
}

#[cold]
fn drop_timer<T>(timer: Pin<Box<T>>) {
    drop(timer);
}

impl<F, E: Environment<Clock: Timer>> TimeoutFuture<F, E> {
    #[inline]
    pub(crate) const fn new(inner: F, allowance: Allowance, clock: E::Clock, watch: Watch<E>) -> Self {
        let Allowance { until, expired } = allowance;
        Self { inner: Some(inner), timer: Lazy(None), until, expired, done: false, clock, watch }
    }

    /// The future of a call that has too little time to begin.
    pub(crate) const fn refused(clock: E::Clock, watch: Watch<E>) -> Self {
        let (until, expired) = (Timestamp::ZERO, Reason::DeadlineTooClose);
        Self { inner: None, timer: Lazy(None), until, expired, done: false, clock, watch }
    }

    /// Makes the timer where there is none, and waits for it; then drops the call.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rejection> {
        let mut this = self.project();
        if this.inner.is_some() {
            if *this.until == Timestamp::MAX {
                return Poll::Pending;
            }
            let timer = this.timer.0.get_or_insert_with(|| Box::pin(this.clock.sleep_until(*this.until)));
            ready!(timer.as_mut().poll(cx));
            this.watch.around(|| this.inner.set(None));
            this.timer.0 = None;
        } else if *this.done {
            // Polled again after it was ready: pending for ever, as nothing will wake it.
            return Poll::Pending;
        }
        *this.done = true;
        let rejection = Rejection::new(Pattern::Timeout, *this.expired);
        this.watch.rejected(&rejection);
        Poll::Ready(rejection)
    }
}

impl<F, E, T, X> Future for TimeoutFuture<F, E>
where
    F: Future<Output = Result<T, X>>,
    X: CarryRejection,
    E: Environment<Clock: Timer> + Classify<T, X::Remote>,
{
    type Output = Result<T, X>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self;
        let this = future.as_mut().project();
        if let Some(inner) = this.inner.as_pin_mut() {
            if let Poll::Ready(result) = this.watch.around(|| inner.poll(cx)) {
                this.watch.answered(&result);
                return Poll::Ready(result);
            }
        }
        future.poll_end(cx).map(|rejection| Err(rejection.into()))
    }
}

impl<F, E: Environment<Clock: Timer>> fmt::Debug for TimeoutFuture<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutFuture")
            .field("until", &self.until)
            .field("timer", &self.timer.0.is_some())
            .finish_non_exhaustive()
    }
}

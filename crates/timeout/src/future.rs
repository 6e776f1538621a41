use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{CarryRejection, Classify, Environment, Rejection, Timer, Timestamp};

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
        // Made at the first `Pending`. Boxed: a timer inline would make every call's future larger and move with it.
        timer: Option<Pin<Box<<E::Clock as Timer>::Sleep>>>,
        until: Timestamp,
        rejection: Rejection,
        done: bool,
        clock: E::Clock,
        watch: Watch<E>,
    }
}

impl<F, E: Environment<Clock: Timer>> TimeoutFuture<F, E> {
    #[inline]
    pub(crate) const fn new(inner: F, allowance: Allowance, clock: E::Clock, watch: Watch<E>) -> Self {
        let Allowance { until, rejection } = allowance;
        Self { inner: Some(inner), timer: None, until, rejection, done: false, clock, watch }
    }

    pub(crate) const fn refused(rejection: Rejection, clock: E::Clock, watch: Watch<E>) -> Self {
        Self { inner: None, timer: None, until: Timestamp::ZERO, rejection, done: false, clock, watch }
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
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            if let Poll::Ready(result) = this.watch.around(|| inner.poll(cx)) {
                this.watch.answered(&result);
                return Poll::Ready(result);
            }
            if *this.until == Timestamp::MAX {
                return Poll::Pending;
            }
            let timer = this.timer.get_or_insert_with(|| Box::pin(this.clock.sleep_until(*this.until)));
            ready!(timer.as_mut().poll(cx));
            this.watch.around(|| this.inner.set(None));
            *this.timer = None;
        } else if *this.done {
            // Polled again after it was ready: pending for ever, as nothing will wake it.
            return Poll::Pending;
        }
        *this.done = true;
        this.watch.rejected(this.rejection);
        Poll::Ready(Err((*this.rejection).into()))
    }
}

impl<F, E: Environment<Clock: Timer>> fmt::Debug for TimeoutFuture<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutFuture")
            .field("until", &self.until)
            .field("timer", &self.timer.is_some())
            .finish_non_exhaustive()
    }
}

#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{CarryRejection, Classify, Cut, Environment, Pattern, Reason, Rejection, Timer, Timestamp};

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
        #[pin]
        timer: Option<<E::Clock as Timer>::Sleep>,
        until: Timestamp,
        expired: Reason,
        done: bool,
        clock: E::Clock,
        watch: Watch<E>,
    }
}

impl<F, E: Environment<Clock: Timer>> TimeoutFuture<F, E> {
    #[inline(always)]
    pub(crate) const fn new(inner: F, allowance: Allowance, clock: E::Clock, watch: Watch<E>) -> Self {
        let Allowance { until, expired } = allowance;
        Self { inner: Some(inner), timer: None, until, expired, done: false, clock, watch }
    }

    /// The future of a call that has too little time to begin.
    pub(crate) const fn refused(clock: E::Clock, watch: Watch<E>) -> Self {
        let (until, expired) = (Timestamp::ZERO, Reason::DeadlineTooClose);
        Self { inner: None, timer: None, until, expired, done: false, clock, watch }
    }
}

impl<F, E, T, X> Future for TimeoutFuture<F, E>
where
    F: Future<Output = Result<T, X>>,
    X: CarryRejection,
    E: Environment<Clock: Timer> + Classify<T, X::Remote>,
{
    type Output = Result<T, X>;

    /// In line to the last step, and what is out of line is told what it needs by value: a future to which nobody points stands
    /// in registers.
    #[inline(always)]
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
            // Made at the first `Pending`.
            if this.timer.is_none() {
                this.timer.set(Some(this.clock.sleep_until(*this.until)));
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(cx));
            }
            let cut = Cut::because(&Rejection::new(Pattern::Timeout, *this.expired));
            this.watch.around(|| this.inner.set(None));
            drop(cut);
            this.timer.set(None);
        } else if *this.done {
            // Polled again after it was ready: pending for ever, as nothing will wake it.
            return Poll::Pending;
        }
        *this.done = true;
        Poll::Ready(Err(this.watch.reject(*this.expired).into()))
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

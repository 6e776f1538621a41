use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use pin_project_lite::pin_project;
use seawall_core::{CallContext, MonotonicClock, Rejection, Timer};

use crate::{StallTimer, StreamLimits};

pin_project! {
    /// A stream that may not stand still, or go on, for too long. An item that is there when the time is up is delivered;
    /// a stream that is cut ends with one [`Rejection`], and what it held is dropped.
    ///
    /// ```
    /// use seawall_timeout::{StreamLimits, TimedStream};
    /// use std::time::Duration;
    /// # fn rows() -> impl futures_core::Stream<Item = u32> {
    /// #     struct None;
    /// #     impl futures_core::Stream for None {
    /// #         type Item = u32;
    /// #         fn poll_next(
    /// #             self: std::pin::Pin<&mut Self>,
    /// #             _: &mut std::task::Context<'_>,
    /// #         ) -> std::task::Poll<Option<u32>> {
    /// #             std::task::Poll::Ready(Option::None)
    /// #         }
    /// #     }
    /// #     None
    /// # }
    ///
    /// let limits = StreamLimits::new().with_idle(Duration::from_secs(10))?;
    /// let rows = TimedStream::new(rows(), limits);
    /// # let _ = rows;
    /// # Ok::<(), seawall_timeout::TimeoutError>(())
    /// ```
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct TimedStream<S, K: Timer = MonotonicClock> {
        #[pin]
        inner: Option<S>,
        #[pin]
        timer: StallTimer<K>,
    }
}

impl<S> TimedStream<S> {
    /// `inner`, whose time counts from here.
    pub fn new(inner: S, limits: StreamLimits) -> Self {
        Self::with_clock(inner, limits, MonotonicClock)
    }
}

impl<S, K: Timer> TimedStream<S, K> {
    /// The same by another clock.
    pub fn with_clock(inner: S, limits: StreamLimits, clock: K) -> Self {
        // The end of a total timeout is that of the call which gave the stream, not the stream's.
        let inherited = CallContext::inherited();
        let deadline = inherited.deadline.filter(|_| !inherited.deadline_is_total);
        Self { inner: Some(inner), timer: StallTimer::new(limits, clock, deadline) }
    }
}

impl<S: Stream, K: Timer> Stream for TimedStream<S, K> {
    type Item = Result<S::Item, Rejection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        match inner.poll_next(cx) {
            Poll::Ready(Some(item)) => {
                this.timer.progress();
                Poll::Ready(Some(Ok(item)))
            }
            Poll::Ready(None) => {
                this.inner.set(None);
                Poll::Ready(None)
            }
            Poll::Pending => this.timer.poll_expired(cx).map(|rejection| {
                this.inner.set(None);
                Some(Err(rejection))
            }),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let hint = self.inner.as_ref().map_or((0, Some(0)), S::size_hint);
        // The rejection may come on top, or before any of them.
        (0, hint.1.and_then(|most| most.checked_add(1)))
    }
}

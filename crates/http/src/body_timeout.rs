use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use seawall_core::{Error, MonotonicClock, Timer, Timestamp};
use seawall_timeout::{StallTimer, StreamLimits};

pin_project! {
    /// A body that may not stand still, or go on, for too long.
    ///
    /// A frame that is there when the time is up is delivered. A body that is cut ends with an
    /// [`Error::Rejected`], and what it held, a connection say, is dropped.
    #[derive(Debug)]
    pub struct TimedBody<B, K: Timer = MonotonicClock> {
        #[pin]
        inner: Option<B>,
        #[pin]
        timer: StallTimer<K>,
    }
}

impl<B, K: Timer> TimedBody<B, K> {
    /// `inner`, whose time counts from here, and ends with `deadline` where there is one.
    pub fn new(inner: B, limits: StreamLimits, clock: K, deadline: Option<Timestamp>) -> Self {
        Self { inner: Some(inner), timer: StallTimer::new(limits, clock, deadline) }
    }
}

impl<B: Body, K: Timer> Body for TimedBody<B, K> {
    type Data = B::Data;
    type Error = Error<B::Error>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error<B::Error>>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        match inner.poll_frame(cx) {
            Poll::Ready(frame) => {
                this.timer.progress();
                Poll::Ready(frame.map(|frame| frame.map_err(Error::Inner)))
            }
            Poll::Pending => this.timer.poll_expired(cx).map(|rejection| {
                this.inner.set(None);
                Some(Err(Error::Rejected(rejection)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}

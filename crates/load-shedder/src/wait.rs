use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{Rejection, Timer, Timestamp};

use crate::{LimitAlgorithm, Passage, line::InLine};

pin_project! {
    /// A call that waits before a [`QueueingLoadShedder`](crate::QueueingLoadShedder): ready with its passage, or with
    /// the rejection. Dropping it leaves the line.
    #[must_use = "futures do nothing unless polled"]
    pub struct ShedderWait<A: LimitAlgorithm, T: Timer> {
        in_line: InLine<A, T>,
        until: Timestamp,
        rejection: Rejection,
        #[pin]
        sleep: Option<T::Sleep>,
    }
}

impl<A: LimitAlgorithm, T: Timer> ShedderWait<A, T> {
    pub(crate) const fn new(in_line: InLine<A, T>, until: Timestamp, rejection: Rejection) -> Self {
        Self { in_line, until, rejection, sleep: None }
    }
}

impl<A: LimitAlgorithm, T: Timer> Future for ShedderWait<A, T> {
    type Output = Result<Passage, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(turn) = this.in_line.poll_turn(cx) {
            return Poll::Ready(turn.ok_or(*this.rejection));
        }
        if *this.until == Timestamp::MAX {
            return Poll::Pending;
        }
        if this.sleep.is_none() {
            this.sleep.set(Some(this.in_line.clock().sleep_until(*this.until)));
        }
        let Some(sleep) = this.sleep.as_mut().as_pin_mut() else { return Poll::Pending };
        ready!(sleep.poll(cx));
        Poll::Ready(this.in_line.leave().ok_or(*this.rejection))
    }
}

impl<A: LimitAlgorithm, T: Timer> fmt::Debug for ShedderWait<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShedderWait").field("until", &self.until).finish_non_exhaustive()
    }
}

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{Rejection, Timer, Timestamp};

use crate::{Place, line::InLine};

pin_project! {
    /// A call that waits for a place of a [`QueueingBulkhead`](crate::QueueingBulkhead): ready with the place, or with
    /// the rejection when time has run out. Dropping it leaves the line.
    #[must_use = "futures do nothing unless polled"]
    pub struct BulkheadWait<T: Timer> {
        in_line: InLine<T>,
        until: Timestamp,
        #[pin]
        sleep: Option<T::Sleep>,
    }
}

impl<T: Timer> BulkheadWait<T> {
    pub(crate) const fn new(in_line: InLine<T>, until: Timestamp) -> Self {
        Self { in_line, until, sleep: None }
    }
}

impl<T: Timer> Future for BulkheadWait<T> {
    type Output = Result<Place, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(turn) = this.in_line.poll_turn(cx) {
            return Poll::Ready(turn);
        }
        if *this.until == Timestamp::MAX {
            return Poll::Pending;
        }
        if this.sleep.is_none() {
            this.sleep.set(Some(this.in_line.clock().sleep_until(*this.until)));
        }
        let Some(sleep) = this.sleep.as_mut().as_pin_mut() else { return Poll::Pending };
        ready!(sleep.poll(cx));
        this.until.clone_from(&Timestamp::MAX);
        Poll::Ready(this.in_line.give_up())
    }
}

impl<T: Timer> fmt::Debug for BulkheadWait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadWait").field("until", &self.until).finish_non_exhaustive()
    }
}

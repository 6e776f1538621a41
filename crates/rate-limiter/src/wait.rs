use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use seawall_core::{Pattern, Reason, Rejection, Timer, Timestamp};

use crate::line::Place;

/// A timer's step.
const AGAIN: Duration = Duration::from_millis(1);

pin_project! {
    /// A call that waits for its turn of a [`QueueingLimit`](crate::QueueingLimit): ready when the turn has come, or with
    /// the rejection when time has run out. Dropping it leaves the line and uses up nothing.
    #[must_use = "futures do nothing unless polled"]
    pub struct RateLimiterWait<T: Timer> {
        in_line: Box<dyn Place>,
        timer: T,
        turn: Timestamp,
        until: Timestamp,
        #[pin]
        sleep: Option<T::Sleep>,
        sleeps_until: Timestamp,
    }
}

impl<T: Timer> RateLimiterWait<T> {
    pub(crate) const fn new(in_line: Box<dyn Place>, timer: T, turn: Timestamp, until: Timestamp) -> Self {
        Self { in_line, timer, turn, until, sleep: None, sleeps_until: Timestamp::ZERO }
    }
}

impl<T: Timer> Future for RateLimiterWait<T> {
    type Output = Result<(), Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let now = this.timer.now();
            let turn_in = match ready!(this.in_line.poll_turn(cx, now)) {
                Ok(turn) => return Poll::Ready(turn),
                Err(turn_in) => turn_in,
            };
            if now >= *this.until {
                let timed_out = Rejection::new(Pattern::RateLimiter, Reason::QueueTimeout);
                return Poll::Ready(this.in_line.leave().unwrap_or(Err(timed_out)));
            }
            if let Some(wait) = turn_in {
                *this.turn = now.saturating_add(wait);
            }
            let at = match turn_in {
                // It was to have come, and another thread was quicker.
                Some(Duration::ZERO) => now.saturating_add(AGAIN).min(*this.until),
                // Its turn was to have come, but the first in line must wait still: it will be woken, or time runs out.
                None if *this.turn <= now => *this.until,
                _ => (*this.turn).min(*this.until),
            };
            if at == Timestamp::MAX {
                return Poll::Pending;
            }
            if this.sleep.is_none() || *this.sleeps_until != at {
                this.sleep.set(Some(this.timer.sleep_until(at)));
                *this.sleeps_until = at;
            }
            let Some(sleep) = this.sleep.as_mut().as_pin_mut() else { return Poll::Pending };
            ready!(sleep.poll(cx));
            this.sleep.set(None);
        }
    }
}

impl<T: Timer> fmt::Debug for RateLimiterWait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiterWait").field("turn", &self.turn).field("until", &self.until).finish_non_exhaustive()
    }
}

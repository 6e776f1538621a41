use std::{
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, ready},
    time::Instant,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::{Clock, MonotonicClock, Timer, Timestamp};

/// Stamps of [`TokioClock`] are this far from zero, so that a runtime paused before the anchor was taken still counts.
const ANCHOR_STAMP: u64 = 24 * 3_600 * 1_000_000_000;

static ANCHOR: OnceLock<Instant> = OnceLock::new();

/// Follows tokio's clock, its paused time in tests included. A reading costs a system call in some environments: use
/// [`MonotonicClock`] in production.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that the others are told to use")]
        let now = tokio::time::Instant::now().into_std();
        let anchor = *ANCHOR.get_or_init(|| now);
        let at_anchor = Timestamp::from_nanos(ANCHOR_STAMP);
        at_anchor
            .saturating_add(now.saturating_duration_since(anchor))
            .saturating_sub(anchor.saturating_duration_since(now))
    }
}

impl Timer for TokioClock {
    type Sleep = TokioSleep;

    fn sleep_until(&self, at: Timestamp) -> TokioSleep {
        TokioSleep { sleep: tokio::time::sleep(at.since(self.now())) }
    }
}

pin_project! {
    /// The future of [`TokioClock`]'s [`Timer::sleep_until`]. Created inside a tokio runtime with time enabled.
    #[derive(Debug)]
    #[must_use = "a sleep does nothing until it is polled"]
    pub struct TokioSleep {
        #[pin]
        sleep: Sleep,
    }
}

impl Future for TokioSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl Timer for MonotonicClock {
    type Sleep = MonotonicSleep;

    fn sleep_until(&self, at: Timestamp) -> MonotonicSleep {
        MonotonicSleep { sleep: tokio::time::sleep(at.since(Self::read())), at }
    }
}

pin_project! {
    /// The future of [`MonotonicClock`]'s [`Timer::sleep_until`]: late by at most a tick of tokio's timer (1 ms) plus
    /// scheduling, never early. Created inside a tokio runtime with time enabled.
    #[derive(Debug)]
    #[must_use = "a sleep does nothing until it is polled"]
    pub struct MonotonicSleep {
        #[pin]
        sleep: Sleep,
        at: Timestamp,
    }
}

impl Future for MonotonicSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            ready!(this.sleep.as_mut().poll(cx));
            // The two clocks may disagree by parts per million: what tokio calls over must be over for ours as well.
            // A fresh reading, since the scope's may be older than the wake-up.
            let left = this.at.since(MonotonicClock::read());
            if left.is_zero() {
                return Poll::Ready(());
            }
            this.sleep.set(tokio::time::sleep(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokio_clock_follows_paused_time() {
        let start = TokioClock.now();

        TokioClock.sleep_until(start.saturating_add(Duration::from_secs(3600))).await;

        assert_eq!(TokioClock.now().since(start), Duration::from_secs(3600));
    }

    #[tokio::test]
    async fn monotonic_sleep_is_never_early() {
        let at = MonotonicClock.now().saturating_add(Duration::from_micros(1300));

        MonotonicClock.sleep_until(at).await;

        assert!(MonotonicClock.now() >= at);
    }

    #[tokio::test]
    async fn a_sleep_until_the_past_is_ready_and_one_until_never_is_not() {
        MonotonicClock.sleep_until(Timestamp::ZERO).await;

        let never = MonotonicClock.sleep_until(Timestamp::MAX);

        let polled = std::future::poll_fn({
            let mut never = Box::pin(never);
            move |cx| Poll::Ready(never.as_mut().poll(cx))
        });
        assert_eq!(polled.await, Poll::Pending);
    }
}

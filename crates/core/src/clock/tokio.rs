use std::{
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    time::Instant,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::{Clock, Timer, Timestamp};

/// Stamps of [`TokioClock`] are this far from zero, so that a runtime paused before the anchor was taken still counts.
const ANCHOR_STAMP: u64 = 24 * 3_600 * 1_000_000_000;

static ANCHOR: OnceLock<Instant> = OnceLock::new();

/// Follows tokio's clock, its paused time in tests included. A reading costs a system call in some environments: use
/// [`MonotonicClock`](super::MonotonicClock) in production.
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
}

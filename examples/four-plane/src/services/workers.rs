//! What an edge process can do: its declared capacity, made real.
//!
//! A machine of this size would only be full at rates that a laptop cannot send. So that overload is overload, requests
//! take turns on a few workers, and each occupies one for its service time.

use std::time::Duration;

use seawall_core::{Clock as _, MonotonicClock, Timestamp};
use tokio::sync::{Mutex, mpsc};

/// How many workers a process has.
pub const WORKERS: u32 = 4;
/// How much of a worker's oversleep the next request gets back: timers wake up to a millisecond late.
const MAKE_UP: Duration = Duration::from_millis(2);

/// A few workers with a fixed service time, first come, first served.
#[derive(Debug)]
pub struct Workers {
    service_time: Duration,
    /// When each idle worker became free.
    idle: Mutex<mpsc::UnboundedReceiver<Timestamp>>,
    back: mpsc::UnboundedSender<Timestamp>,
}

/// A worker that is occupied; it goes back to the idle ones when this is dropped.
struct Occupied<'a> {
    back: &'a mpsc::UnboundedSender<Timestamp>,
    free_at: Timestamp,
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        // Fails only when the receiver, which is in the same struct, is gone.
        let _back = self.back.send(self.free_at);
    }
}

impl Workers {
    /// Together do this many requests per second, at least one an hour.
    pub fn new(per_second: f64) -> Self {
        let (back, idle) = mpsc::unbounded_channel();
        for _ in 0..WORKERS {
            // The receiver is still here.
            let _idle = back.send(Timestamp::ZERO);
        }
        let seconds = f64::from(WORKERS) / per_second;
        let service_time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(Duration::from_hours(1));
        Self { service_time, idle: Mutex::new(idle), back }
    }

    /// Waits for a worker and occupies it for the service time.
    pub async fn work(&self) {
        let Some(free_since) = self.idle.lock().await.recv().await else { return };
        let now = MonotonicClock.now();
        let start = free_since.max(now.saturating_sub(MAKE_UP));
        let end = start.saturating_add(self.service_time);
        let _occupied = Occupied { back: &self.back, free_at: end };
        tokio::time::sleep(end.since(now)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_that_is_no_rate_gives_the_longest_service_time() {
        for capacity in [0.0, -1.0, f64::NAN] {
            assert_eq!(Workers::new(capacity).service_time, Duration::from_hours(1));
        }
        assert_eq!(Workers::new(250.0).service_time, Duration::from_millis(16));
        assert_eq!(Workers::new(f64::INFINITY).service_time, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_goes_away_frees_its_worker() {
        let workers = Workers::new(1.0 / 1_000.0);
        for _ in 0..2 * WORKERS {
            let given_up = tokio::time::timeout(Duration::from_millis(5), workers.work()).await;
            assert!(given_up.is_err());
        }

        assert_eq!(workers.idle.lock().await.len(), 4);
    }
}

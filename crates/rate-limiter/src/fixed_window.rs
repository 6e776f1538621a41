use std::time::Duration;

use seawall_core::{
    Pattern, Reason, Rejection, Timestamp,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{Limit, Standing, WindowQuota, limit::gate_of_limit};

/// Admits a number of calls in each window of the clock, whenever they come in it.
///
/// For the other side of a contract that is written so ("5,000 an hour, reset on the hour"). Around an edge twice the
/// quota may come at once: where that matters, use a [`SlidingWindow`](crate::SlidingWindow) or a [`Gcra`](crate::Gcra).
/// Windows begin at multiples of the period on the layer's clock. A charge beyond the limit uses up calls of the windows
/// that follow.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_rate_limiter::{FixedWindow, Limit, WindowQuota};
/// use std::time::Duration;
///
/// let limiter = FixedWindow::new(WindowQuota::new(2, Duration::from_secs(60))?);
/// let late = Timestamp::from_nanos(59_000_000_000);
/// assert!(limiter.take(2, late).is_ok());
/// assert_eq!(limiter.take(1, late).unwrap_err().retry_after(), Some(Duration::from_secs(1)));
/// assert!(limiter.take(2, late.saturating_add(Duration::from_secs(1))).is_ok());
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
///
/// One word: how many calls all windows up to this one might have held, and those used in it. So a new window needs no
/// reset, and a debt reaches into the next.
#[derive(Debug)]
pub struct FixedWindow {
    used: AtomicU64,
    quota: WindowQuota,
}

impl FixedWindow {
    /// A limit of which nothing is used.
    pub fn new(quota: WindowQuota) -> Self {
        Self { used: AtomicU64::new(0), quota }
    }

    /// How many calls the windows before that of `now` might have held.
    fn past(&self, now: Timestamp) -> u64 {
        let windows = now.as_nanos().checked_div(self.quota.period_nanos()).unwrap_or(0);
        // A window lasts at least 1,000 ns a call: this is a thousandth of the time.
        windows.saturating_mul(self.calls())
    }

    fn calls(&self) -> u64 {
        self.quota.calls().into()
    }

    /// How long until calls may reach up to `last`, counted from the first window.
    fn until(&self, last: u64, now: Timestamp) -> Duration {
        let window = last.saturating_sub(1).checked_div(self.calls()).unwrap_or(0);
        Duration::from_nanos(window.saturating_mul(self.quota.period_nanos()).saturating_sub(now.as_nanos()))
    }
}

impl Limit for FixedWindow {
    fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        if cost > self.quota.calls() {
            return Err(Rejection::new(Pattern::RateLimiter, Reason::TooHeavy));
        }
        let past = self.past(now);
        let limit = past.saturating_add(self.calls());
        // Relaxed: the word guards no other memory.
        let mut seen = self.used.load(Relaxed);
        loop {
            let next = seen.max(past).saturating_add(cost.into());
            if next > limit {
                let refused = Rejection::new(Pattern::RateLimiter, Reason::RateLimited);
                return Err(refused.with_retry_after(self.until(next, now)));
            }
            match self.used.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => seen = newer,
            }
        }
    }

    fn charge(&self, cost: u32, now: Timestamp) {
        let past = self.past(now);
        let _ = self.used.fetch_update(Relaxed, Relaxed, |seen| Some(seen.max(past).saturating_add(cost.into())));
    }

    fn refund(&self, cost: u32, _: Timestamp) {
        let _ = self.used.fetch_update(Relaxed, Relaxed, |seen| Some(seen.saturating_sub(cost.into())));
    }

    fn standing(&self, now: Timestamp) -> Standing {
        let (past, seen) = (self.past(now), self.used.load(Relaxed));
        let left = past.saturating_add(self.calls()).saturating_sub(seen.max(past));
        let remaining = u32::try_from(left).unwrap_or(u32::MAX);
        let next_in = if remaining > 0 { Duration::ZERO } else { self.until(seen.saturating_add(1), now) };
        let full_in = if seen <= past { Duration::ZERO } else { self.until(seen.saturating_add(self.calls()), now) };
        Standing::of(remaining, next_in, full_in)
    }
}

gate_of_limit!(FixedWindow);

impl From<WindowQuota> for FixedWindow {
    fn from(quota: WindowQuota) -> Self {
        Self::new(quota)
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn of_two_calls_at_the_last_of_a_window_one_goes_on() {
        loom::model(|| {
            let limiter = Arc::new(FixedWindow::new(WindowQuota::new(3, Duration::from_secs(1)).unwrap()));
            limiter.take(2, Timestamp::ZERO).unwrap();
            let other = Arc::clone(&limiter);
            let second = thread::spawn(move || other.take(1, Timestamp::ZERO).is_ok());
            let first = limiter.take(1, Timestamp::ZERO).is_ok();
            assert!(first ^ second.join().unwrap());
        });
    }
}

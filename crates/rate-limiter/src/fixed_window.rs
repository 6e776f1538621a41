use std::time::Duration;

use seawall_core::{
    Pattern, Reason, Rejection, Timestamp,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{Limit, QuotaError, Standing, WindowQuota, limit::gate_of_limit};

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
/// One word: when the window of the last call began, in nanoseconds, plus how many calls it has used, those that are owed by
/// later ones included. A window is a thousand times longer than that, so the two can be told apart, and a new window needs
/// no reset; and what is used does not depend on how many calls there may be, which can change at any time.
#[derive(Debug)]
pub struct FixedWindow {
    used: AtomicU64,
    calls: AtomicU32,
    quota: WindowQuota,
}

/// What a decision needs.
#[derive(Copy, Clone)]
struct Seen {
    word: u64,
    /// When the window of now began.
    began: u64,
    /// The calls that are used, from this window on.
    used: u64,
    /// How many a window holds.
    calls: u64,
}

impl FixedWindow {
    /// A limit of which nothing is used.
    pub fn new(quota: WindowQuota) -> Self {
        Self { used: AtomicU64::new(0), calls: AtomicU32::new(quota.calls()), quota }
    }

    /// How many calls a window holds.
    pub fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    /// Changes how many calls a window holds while calls go on, from the window that is under way on. What was used of it
    /// stays used. The period stays: one of another is another limit.
    ///
    /// # Errors
    /// [`QuotaError::Calls`] for no call, or more than 1,000,000 per second of the period.
    ///
    /// # Examples
    /// ```
    /// use seawall_core::Timestamp;
    /// use seawall_rate_limiter::{FixedWindow, Limit, WindowQuota};
    /// use std::time::Duration;
    ///
    /// let limiter = FixedWindow::new(WindowQuota::new(2, Duration::from_secs(60))?);
    /// limiter.take(2, Timestamp::ZERO).unwrap();
    /// limiter.set_calls(3)?;
    /// assert_eq!(limiter.standing(Timestamp::ZERO).remaining(), 1);
    /// # Ok::<(), seawall_rate_limiter::QuotaError>(())
    /// ```
    pub fn set_calls(&self, calls: u32) -> Result<(), QuotaError> {
        WindowQuota::new(calls, self.quota.period())?;
        self.calls.store(calls, Relaxed);
        Ok(())
    }

    fn see(&self, word: u64, now: Timestamp) -> Seen {
        let ((began, _), calls) = (self.quota.window(now.as_nanos()), u64::from(self.calls()));
        let (then, used) = self.quota.window(word);
        let windows = |time: u64| time.checked_div(self.quota.period_nanos()).unwrap_or(0);
        // Windows that have passed have paid for as much as they hold. A clock that stepped back meets the word of a later
        // window: full, up to there.
        let paid = windows(began.saturating_sub(then)).saturating_mul(calls);
        let ahead = windows(then.saturating_sub(began)).saturating_mul(calls);
        Seen { word, began, used: used.saturating_add(ahead).saturating_sub(paid), calls }
    }

    /// The word after `cost` more.
    fn add(&self, seen: Seen, cost: u64) -> Option<u64> {
        let (then, used) = self.quota.window(seen.word);
        let (began, used) = if then > seen.began { (then, used) } else { (seen.began, seen.used) };
        began.checked_add(used.saturating_add(cost).min(self.quota.period_nanos().saturating_sub(1)))
    }

    /// How long until calls may reach up to `last`, counted from the window of now.
    fn until(&self, last: u64, seen: Seen, now: Timestamp) -> Duration {
        let windows = last.saturating_sub(1).checked_div(seen.calls).unwrap_or(0);
        let begins = seen.began.saturating_add(windows.saturating_mul(self.quota.period_nanos()));
        Duration::from_nanos(begins.saturating_sub(now.as_nanos()))
    }
}

impl Limit for FixedWindow {
    fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        // Relaxed: the words guard no other memory.
        let mut word = self.used.load(Relaxed);
        loop {
            let seen = self.see(word, now);
            if u64::from(cost) > seen.calls {
                return Err(Rejection::new(Pattern::RateLimiter, Reason::TooHeavy));
            }
            let refused = Rejection::new(Pattern::RateLimiter, Reason::RateLimited);
            let last = seen.used.saturating_add(cost.into());
            if last > seen.calls {
                return Err(refused.with_retry_after(self.until(last, seen, now)));
            }
            // At the end of time no word holds the next call.
            let Some(next) = self.add(seen, cost.into()) else { return Err(refused) };
            match self.used.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => word = newer,
            }
        }
    }

    fn charge(&self, cost: u32, now: Timestamp) {
        let _ = self.used.fetch_update(Relaxed, Relaxed, |word| self.add(self.see(word, now), cost.into()));
    }

    fn refund(&self, cost: u32, _: Timestamp) {
        let back = |word: u64| {
            let (then, used) = self.quota.window(word);
            then.checked_add(used.saturating_sub(cost.into()))
        };
        let _ = self.used.fetch_update(Relaxed, Relaxed, back);
    }

    /// As if the calls ahead could be spread over windows as one likes; behind several that cost more than one it may be later.
    fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        let seen = self.see(self.used.load(Relaxed), now);
        let last = seen.used.saturating_add(ahead).saturating_add(cost.into());
        (u64::from(cost) <= seen.calls).then(|| self.until(last, seen, now))
    }

    fn standing(&self, now: Timestamp) -> Standing {
        let seen = self.see(self.used.load(Relaxed), now);
        let remaining = u32::try_from(seen.calls.saturating_sub(seen.used)).unwrap_or(u32::MAX);
        let next_in = if remaining > 0 { Duration::ZERO } else { self.until(seen.used.saturating_add(1), seen, now) };
        let full_in =
            if seen.used == 0 { Duration::ZERO } else { self.until(seen.used.saturating_add(seen.calls), seen, now) };
        Standing::of(remaining, next_in, full_in)
    }

    fn is_as_new(&self, now: Timestamp) -> bool {
        self.calls() == self.quota.calls() && self.standing(now).full_in().is_zero()
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

use std::time::Duration;

use seawall_core::{
    Pattern, Reason, Rejection, Timestamp,
    sync::{
        CachePadded,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{Limit, QuotaError, Standing, WindowQuota, limit::gate_of_limit};

/// Admits a number of calls in the last period, whenever that began: the sliding window counter.
///
/// It counts calls by windows and takes of the one before as much as still lies in the period, as if its calls had come
/// evenly. So all of the quota may come at once after a pause, and what an edge lets through beyond it is what the calls
/// of the window before came later than evenly; a [`Gcra`](crate::Gcra) has no such error, but needs a burst of the whole
/// quota for the same pause. A charge beyond the limit counts in its window and the one after.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_rate_limiter::{Limit, SlidingWindow, WindowQuota};
/// use std::time::Duration;
///
/// let limiter = SlidingWindow::new(WindowQuota::new(10, Duration::from_secs(60))?);
/// assert!(limiter.take(10, Timestamp::from_nanos(59_000_000_000)).is_ok());
///
/// // A second later a window has begun, of which a fixed one would let all through.
/// let refused = limiter.take(1, Timestamp::from_nanos(60_000_000_000)).unwrap_err();
/// assert_eq!(refused.retry_after(), Some(Duration::from_secs(6)));
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
///
/// # Source
/// "How we built rate limiting capable of scaling to millions of domains", Cloudflare, 2017.
#[derive(Debug)]
pub struct SlidingWindow {
    /// Of the windows with even numbers and of those with odd ones, the latest: when it began, in nanoseconds, plus how
    /// many calls it has used. A window is longer than that, so the two can be told apart.
    windows: CachePadded<[AtomicU64; 2]>,
    calls: AtomicU32,
    quota: WindowQuota,
}

/// What a decision needs: the calls of this window and of the one before, and how far this one has gone.
#[derive(Copy, Clone)]
struct Seen {
    began: u64,
    elapsed: u64,
    /// The word as it was.
    word: u64,
    used: u64,
    before: u64,
}

impl SlidingWindow {
    /// A limit of which nothing is used.
    pub fn new(quota: WindowQuota) -> Self {
        let windows = CachePadded::new([AtomicU64::new(0), AtomicU64::new(0)]);
        Self { windows, calls: AtomicU32::new(quota.calls()), quota }
    }

    /// How many calls a period holds.
    pub fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    /// Changes how many calls a period holds while calls go on. What was used stays used. The period stays: one of another
    /// is another limit.
    ///
    /// # Errors
    /// [`QuotaError::Calls`] for no call, or more than 1,000,000 per second of the period.
    ///
    /// # Examples
    /// ```
    /// use seawall_core::Timestamp;
    /// use seawall_rate_limiter::{Limit, SlidingWindow, WindowQuota};
    /// use std::time::Duration;
    ///
    /// let limiter = SlidingWindow::new(WindowQuota::new(2, Duration::from_secs(60))?);
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

    /// The words of the window that began then and of the one before.
    fn words(&self, began: u64) -> (&AtomicU64, &AtomicU64) {
        let [even, odd] = &*self.windows;
        let number = began.checked_div(self.quota.period_nanos()).unwrap_or(0);
        if number & 1 == 0 { (even, odd) } else { (odd, even) }
    }

    /// How many calls a word holds of the window that began then.
    fn used(&self, word: u64, began: u64) -> u64 {
        let used = word.saturating_sub(began);
        // A clock that stepped back meets the word of a later window: full, until it has caught up.
        used.min(self.quota.period_nanos().saturating_sub(1))
    }

    fn see(&self, now: Timestamp) -> Seen {
        let (began, elapsed) = self.quota.window(now.as_nanos());
        let (this, last) = self.words(began);
        // Relaxed: the words guard no other memory, and the one of the window before changes no more.
        let (word, last) = (this.load(Relaxed), last.load(Relaxed));
        let before = match began.checked_sub(self.quota.period_nanos()) {
            Some(earlier) => self.used(last, earlier),
            None => 0,
        };
        Seen { began, elapsed, word, used: self.used(word, began), before }
    }

    /// Whether `used` calls in this window and `before` in the last are no more than the limit, `elapsed` into this one.
    fn fits(&self, used: u64, before: u64, elapsed: u64) -> bool {
        let period = u128::from(self.quota.period_nanos());
        let rest = period.saturating_sub(elapsed.into());
        let counted = u128::from(before).saturating_mul(rest).saturating_add(u128::from(used).saturating_mul(period));
        counted <= u128::from(self.calls()).saturating_mul(period)
    }

    /// The first time within a window at which `used` calls and `before` in the last fit; the period when none is.
    fn fits_from(&self, used: u64, before: u64) -> u64 {
        let period = self.quota.period_nanos();
        let Some(room) = u64::from(self.calls()).checked_sub(used) else { return period };
        if before <= room {
            return 0;
        }
        let rest = u128::from(room).saturating_mul(period.into()).checked_div(before.into()).unwrap_or(0);
        period.saturating_sub(u64::try_from(rest).unwrap_or(u64::MAX))
    }

    /// How long until a call of `cost` would be admitted if nothing else came.
    fn wait(&self, seen: Seen, cost: u64) -> Duration {
        let period = self.quota.period_nanos();
        let here = self.fits_from(seen.used.saturating_add(cost), seen.before);
        if here < period {
            return Duration::from_nanos(here.saturating_sub(seen.elapsed));
        }
        let next = self.fits_from(cost, seen.used);
        Duration::from_nanos(period.saturating_sub(seen.elapsed).saturating_add(next))
    }

    /// How many calls a window holds after one that held `before`: before its end some of those still count.
    fn holds(&self, before: u64) -> u64 {
        u64::from(self.calls()).saturating_sub(u64::from(before > 0))
    }

    /// How long until the last of `more` calls that cost 1 would have been admitted, each as soon as it may be, if nothing
    /// else came.
    fn wait_for_all(&self, seen: Seen, more: u64) -> Duration {
        let here = self.holds(seen.before).saturating_sub(seen.used);
        if more <= here {
            return self.wait(seen, more);
        }
        let more = more.saturating_sub(here);
        let (first, all) = (seen.used.saturating_add(here), self.holds(1));
        // How many whole windows it comes after the next one begins, which of its window it is, and what the one before held.
        let (windows, which, before) = if all == 0 {
            // Of one call each, every other window stays empty.
            (more.saturating_mul(2).saturating_sub(if first > 0 { 1 } else { 2 }), 1, 0)
        } else {
            let windows = more.saturating_sub(1).checked_div(all).unwrap_or(0);
            let which = more.saturating_sub(windows.saturating_mul(all));
            (windows, which, if windows == 0 { first } else { all })
        };
        let period = self.quota.period_nanos();
        let begins = period.saturating_sub(seen.elapsed).saturating_add(windows.saturating_mul(period));
        Duration::from_nanos(begins.saturating_add(self.fits_from(which, before)))
    }

    /// Adds `cost` to a window, without regard to the limit.
    fn add(&self, seen: Seen, cost: u64) -> Option<u64> {
        let used = seen.used.saturating_add(cost).min(self.quota.period_nanos().saturating_sub(1));
        seen.began.checked_add(used)
    }
}

impl Limit for SlidingWindow {
    fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        if cost > self.calls() {
            return Err(Rejection::new(Pattern::RateLimiter, Reason::TooHeavy));
        }
        let cost = cost.into();
        loop {
            let seen = self.see(now);
            let refused = || Rejection::new(Pattern::RateLimiter, Reason::RateLimited);
            if !self.fits(seen.used.saturating_add(cost), seen.before, seen.elapsed) {
                return Err(refused().with_retry_after(self.wait(seen, cost)));
            }
            // At the end of time no word holds the next call.
            let Some(next) = self.add(seen, cost) else { return Err(refused()) };
            if self.words(seen.began).0.compare_exchange_weak(seen.word, next, Relaxed, Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    fn charge(&self, cost: u32, now: Timestamp) {
        loop {
            let seen = self.see(now);
            let Some(next) = self.add(seen, cost.into()) else { return };
            // The word of a later window holds for a clock that stepped back.
            if next <= seen.word
                || self.words(seen.began).0.compare_exchange_weak(seen.word, next, Relaxed, Relaxed).is_ok()
            {
                return;
            }
        }
    }

    /// Gives `cost` back to the window of `now`: a call of an earlier one is not given back.
    fn refund(&self, cost: u32, now: Timestamp) {
        let (began, _) = self.quota.window(now.as_nanos());
        let end = began.saturating_add(self.quota.period_nanos());
        let back = |word: u64| (began..end).contains(&word).then(|| word.saturating_sub(cost.into()).max(began));
        let _ = self.words(began).0.fetch_update(Relaxed, Relaxed, back);
    }

    /// As if the calls ahead cost 1 each; behind several that cost more it may be later.
    fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        let seen = self.see(now);
        let wait = || match ahead {
            0 => self.wait(seen, cost.into()),
            _ => self.wait_for_all(seen, ahead.saturating_add(cost.into())),
        };
        (cost <= self.calls()).then(wait)
    }

    fn standing(&self, now: Timestamp) -> Standing {
        let seen = self.see(now);
        let period = self.quota.period_nanos();
        let rest = period.saturating_sub(seen.elapsed);
        let aged = u128::from(seen.before).saturating_mul(rest.into()).div_ceil(u128::from(period).max(1));
        let aged = u64::try_from(aged).unwrap_or(u64::MAX);
        let left = u64::from(self.calls()).saturating_sub(seen.used).saturating_sub(aged);
        let full_in = match (seen.used, seen.before) {
            (0, 0) => 0,
            (0, _) => rest,
            _ => rest.saturating_add(period),
        };
        let next_in = if left > 0 { Duration::ZERO } else { self.wait(seen, 1) };
        Standing::of(u32::try_from(left).unwrap_or(u32::MAX), next_in, Duration::from_nanos(full_in))
    }

    fn is_as_new(&self, now: Timestamp) -> bool {
        self.calls() == self.quota.calls() && self.standing(now).full_in().is_zero()
    }
}

gate_of_limit!(SlidingWindow);

impl From<WindowQuota> for SlidingWindow {
    fn from(quota: WindowQuota) -> Self {
        Self::new(quota)
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn of_two_calls_at_the_last_one_of_a_period_one_goes_on() {
        loom::model(|| {
            let limiter = Arc::new(SlidingWindow::new(WindowQuota::new(3, Duration::from_secs(1)).unwrap()));
            limiter.take(1, Timestamp::ZERO).unwrap();
            let now = Timestamp::from_nanos(1_000_000_000);
            limiter.take(1, now).unwrap();
            let other = Arc::clone(&limiter);
            let second = thread::spawn(move || other.take(1, now).is_ok());
            let first = limiter.take(1, now).is_ok();
            assert!(first ^ second.join().unwrap());
        });
    }

    #[test]
    fn a_refund_and_a_charge_that_meet_are_both_counted() {
        loom::model(|| {
            let limiter = Arc::new(SlidingWindow::new(WindowQuota::new(9, Duration::from_secs(1)).unwrap()));
            limiter.take(4, Timestamp::ZERO).unwrap();
            let other = Arc::clone(&limiter);
            let charges = thread::spawn(move || other.charge(2, Timestamp::ZERO));
            limiter.refund(3, Timestamp::ZERO);
            charges.join().unwrap();
            assert_eq!(limiter.standing(Timestamp::ZERO).remaining(), 6);
        });
    }
}

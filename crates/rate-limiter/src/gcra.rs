use std::{fmt, time::Duration};

use seawall_core::{
    Admission, CallContext, Gate, NoWait, Outcome, Rejection, Timestamp,
    sync::{
        CachePadded,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    Quota, Standing,
    pace::{LivePace, Pace},
};

/// Admits calls at the rate of a [`Quota`] and refuses the rest at once: the generic cell rate algorithm.
///
/// The state is one word, the *theoretical arrival time*: when the next call would be due if all came evenly. A call
/// moves it on by what it costs; it is admitted if that leaves it no further ahead of now than the burst reaches. The
/// bucket starts full. A call costs [`CallContext::cost`], at least 1, all or nothing; a refused call changes nothing
/// and is told to the nanosecond when it would have been admitted. One that costs more than the burst is
/// [`TooHeavy`](seawall_core::Reason::TooHeavy): no wait helps it.
///
/// It reads the clock once and allocates nothing. A clock that steps back only makes callers wait until it has caught
/// up.
///
/// ```
/// use seawall_core::{Reason, Timestamp};
/// use seawall_rate_limiter::{Gcra, Quota};
/// use std::time::Duration;
///
/// let limiter = Gcra::new(Quota::per_second(10)?.with_burst(2)?);
/// let now = Timestamp::from_nanos(5_000_000_000);
/// assert_eq!(limiter.take(2, now), Ok(()));
///
/// let refused = limiter.take(1, now).unwrap_err();
/// assert_eq!(refused.reason(), Reason::RateLimited);
/// assert_eq!(refused.retry_after(), Some(Duration::from_millis(100)));
/// assert_eq!(limiter.take(1, now.saturating_add(Duration::from_millis(100))), Ok(()));
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
///
/// # Source
/// ITU-T I.371, annex A: the generic cell rate algorithm as virtual scheduling.
pub struct Gcra {
    // One line: who takes a call reads all of it and writes the arrival.
    words: CachePadded<Words>,
    built_with: Pace,
}

#[derive(Debug)]
struct Words {
    arrival: AtomicU64,
    pace: LivePace,
}

impl Gcra {
    /// A limiter whose whole burst is there.
    pub fn new(quota: Quota) -> Self {
        let pace = Pace::of(&quota);
        let words = Words { arrival: AtomicU64::new(0), pace: LivePace::new(pace) };
        Self { words: CachePadded::new(words), built_with: pace }
    }

    /// Takes `cost` calls at once, or none.
    ///
    /// # Errors
    /// [`RateLimited`](seawall_core::Reason::RateLimited) with the exact wait, or
    /// [`TooHeavy`](seawall_core::Reason::TooHeavy) when `cost` is above the burst.
    #[inline]
    pub fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        self.take_within(self.pace(), cost, now)
    }

    #[inline]
    fn take_within(&self, pace: Pace, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        let now = now.as_nanos();
        // Relaxed: the word guards no other memory.
        let mut seen = self.words.arrival.load(Relaxed);
        loop {
            let Some(next) = pace.admit(seen, cost, now) else { return Err(pace.refusal(seen, cost, now)) };
            match self.words.arrival.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => seen = newer,
            }
        }
    }

    /// Whether `cost` calls would be admitted now. Takes nothing.
    ///
    /// # Errors
    /// As [`Gcra::take`].
    pub fn check(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        let (pace, now, seen) = (self.pace(), now.as_nanos(), self.words.arrival.load(Relaxed));
        pace.admit(seen, cost, now).map(|_| ()).ok_or_else(|| pace.refusal(seen, cost, now))
    }

    /// Takes `cost` more for a call that has turned out to be dearer than it said: bytes sent, tokens used. Never
    /// refused; what goes beyond the burst is a debt, which later calls wait for.
    pub fn charge(&self, cost: u32, now: Timestamp) {
        let (pace, now) = (self.pace(), now.as_nanos());
        let _ = self.words.arrival.fetch_update(Relaxed, Relaxed, |seen| Some(pace.charge(seen, cost, now)));
    }

    /// Gives `cost` back for a call that was not made after all: answered by a cache, refused further in. Never more than
    /// a full burst is there.
    pub fn refund(&self, cost: u32) {
        let credit = self.pace().cost_of(cost);
        let _ = self.words.arrival.fetch_update(Relaxed, Relaxed, |seen| Some(seen.saturating_sub(credit)));
    }

    /// What is left of the quota.
    pub fn standing(&self, now: Timestamp) -> Standing {
        Standing::new(self.pace(), self.words.arrival.load(Relaxed), now.as_nanos())
    }

    /// Changes the quota while calls go on. What was used stays used: a limiter that owes three calls owes three calls of
    /// the new quota. A call that is decided in this very moment may be judged by either.
    pub fn set_quota(&self, quota: Quota, now: Timestamp) {
        let (new, now) = (Pace::of(&quota), now.as_nanos());
        let old = self.words.pace.set(new);
        let _ = self.words.arrival.fetch_update(Relaxed, Relaxed, |seen| Some(new.convert(old, seen, now)));
    }

    /// Takes `cost` calls at once if at least half of the burst is left then, or none.
    pub(crate) fn take_to_spare(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        self.take_within(self.pace().half(), cost, now)
    }

    /// Another pace from now on; what has been taken is due when it was.
    pub(crate) fn go_on_at(&self, quota: Quota) {
        self.words.pace.set(Pace::of(&quota));
    }

    /// Has it owe at least as much as when `arrival` is the theoretical arrival.
    pub(crate) fn owe_until(&self, arrival: u64) {
        self.words.arrival.fetch_max(arrival, Relaxed);
    }

    /// Another quota, of which nothing is used.
    pub(crate) fn replace(&self, quota: Quota, now: Timestamp) {
        self.words.pace.set(Pace::of(&quota));
        self.words.arrival.store(now.as_nanos(), Relaxed);
    }

    /// How many calls may come at once.
    pub fn burst(&self) -> u32 {
        self.pace().burst()
    }

    /// The time in which one call is regained.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.pace().interval)
    }

    /// How long until a call of `cost` may come behind others of `ahead` in all; `None` when it never may.
    pub(crate) fn turn_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        let turn = self.pace().turn_in(self.words.arrival.load(Relaxed), ahead, cost, now.as_nanos());
        turn.map(Duration::from_nanos)
    }

    /// The same for what is to spare.
    pub(crate) fn turn_to_spare_in(&self, ahead: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        let turn = self.pace().half().turn_in(self.words.arrival.load(Relaxed), ahead, cost, now.as_nanos());
        turn.map(Duration::from_nanos)
    }

    pub(crate) fn lateness(&self, cost: u32) -> Duration {
        self.pace().lateness(cost)
    }

    #[inline]
    fn pace(&self) -> Pace {
        self.words.pace.get()
    }
}

impl From<Quota> for Gcra {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}

impl fmt::Debug for Gcra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcra")
            .field("arrival", &Timestamp::from_nanos(self.words.arrival.load(Relaxed)))
            .field("interval", &self.interval())
            .field("burst", &self.burst())
            .finish_non_exhaustive()
    }
}

impl Gate for Gcra {
    type Ticket = ();
    type Wait = NoWait;
    const RECORDS: bool = false;
    const FORESEES: bool = true;

    #[inline]
    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<()> {
        // A call that says it costs nothing still counts: otherwise it would pass any limit.
        self.take(context().cost.max(1), now()).into()
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    /// While not even a call that costs 1 would be admitted.
    fn refusal(&self, now: impl FnOnce() -> Timestamp) -> Option<Rejection> {
        self.check(1, now()).err()
    }

    /// Whether the whole burst is there and the quota is the one that it was built with.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.pace() == self.built_with && self.words.arrival.load(Relaxed) <= now().as_nanos()
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use seawall_core::Reason;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn per_second(calls: u32, burst: u32) -> Gcra {
        Gcra::new(Quota::per_second(calls).and_then(|quota| quota.with_burst(burst)).expect("in range"))
    }

    fn wait(limiter: &Gcra, cost: u32, now: Timestamp) -> Option<Duration> {
        limiter.take(cost, now).expect_err("the call is refused").retry_after()
    }

    #[test]
    fn a_call_dearer_than_the_burst_is_refused_without_a_hint_and_takes_nothing() {
        let limiter = per_second(1, 3);

        let refused = limiter.take(4, at(0)).unwrap_err();

        assert_eq!((refused.reason(), refused.retry_after()), (Reason::TooHeavy, None));
        assert_eq!(limiter.take(u32::MAX, at(0)).unwrap_err().reason(), Reason::TooHeavy);
        assert_eq!(limiter.take(3, at(0)), Ok(()));
    }

    #[test]
    fn a_call_that_says_it_costs_nothing_costs_one() {
        let limiter = per_second(1, 1);
        let admit = || limiter.admit(|| CallContext::new().with_cost(0), || at(0));

        assert!(matches!(admit(), Admission::Admitted(())));
        assert!(matches!(admit(), Admission::Refused(_)));
    }

    #[test]
    fn a_clock_that_steps_back_makes_callers_wait_and_never_wraps() {
        let limiter = per_second(1, 1);
        assert_eq!(limiter.take(1, at(10_000_000_000)), Ok(()));

        assert_eq!(wait(&limiter, 1, at(0)), Some(Duration::from_secs(11)));
        assert_eq!(limiter.take(1, at(11_000_000_000)), Ok(()));
    }

    #[test]
    fn the_end_of_time_admits_no_more_than_the_quota() {
        let limiter = per_second(1, 3);
        let late = Timestamp::MAX.saturating_sub(SECOND);

        let admitted = (0..10).filter(|_| limiter.take(1, late).is_ok()).count();
        let at_the_end = (0..10).filter(|_| limiter.take(1, Timestamp::MAX).is_ok()).count();

        assert_eq!((admitted, at_the_end), (1, 0));
    }

    #[test]
    fn a_clock_that_stands_still_admits_one_burst() {
        let limiter = per_second(1, 3);

        assert_eq!((0..10).filter(|_| limiter.take(1, at(7)).is_ok()).count(), 3);
    }

    #[test]
    fn a_charge_beyond_the_burst_is_a_debt_that_later_calls_wait_for() {
        let limiter = per_second(1, 2);

        limiter.charge(5, at(0));

        assert_eq!(wait(&limiter, 1, at(0)), Some(Duration::from_secs(4)));
        limiter.charge(u32::MAX, at(u64::MAX));
        assert_eq!(limiter.standing(at(u64::MAX)).remaining(), 2);
    }

    #[test]
    fn a_refund_brings_back_what_was_taken_and_never_more_than_the_burst() {
        let limiter = per_second(1, 2);
        assert_eq!(limiter.take(2, at(0)), Ok(()));

        limiter.refund(1);
        assert_eq!(limiter.standing(at(0)).remaining(), 1);

        limiter.refund(u32::MAX);
        assert_eq!((limiter.take(2, at(0)), wait(&limiter, 1, at(0))), (Ok(()), Some(SECOND)));
    }

    #[test]
    fn looking_takes_nothing() {
        let limiter = per_second(1, 1);

        assert_eq!((limiter.check(1, at(0)), limiter.check(1, at(0))), (Ok(()), Ok(())));
        assert_eq!(limiter.take(1, at(0)), Ok(()));
        assert_eq!(limiter.check(1, at(0)).unwrap_err().retry_after(), Some(SECOND));
    }

    #[test]
    fn a_new_quota_keeps_what_was_used() {
        let limiter = Gcra::new(Quota::per_hour(1).and_then(|quota| quota.with_burst(4)).unwrap());
        assert_eq!(limiter.take(3, at(0)), Ok(()));

        limiter.set_quota(Quota::per_second(1).and_then(|quota| quota.with_burst(4)).unwrap(), at(0));

        assert_eq!((limiter.burst(), limiter.interval()), (4, SECOND));
        assert_eq!(limiter.standing(at(0)).remaining(), 1);
        assert_eq!(limiter.take(1, at(0)), Ok(()));
        assert_eq!(wait(&limiter, 1, at(0)), Some(SECOND));
    }

    #[test]
    fn a_debt_that_no_clock_reaches_under_a_new_quota_is_a_debt_for_good() {
        let quota = |interval, burst| {
            Quota::every(Duration::from_nanos(interval)).and_then(|quota| quota.with_burst(burst)).unwrap()
        };
        let limiter = Gcra::new(quota(1, 4));
        assert_eq!(limiter.take(4, at(0)), Ok(()));

        limiter.set_quota(quota(1 << 62, 1), at(0));

        assert!(limiter.take(1, at(0)).is_err(), "four times the interval is more than a clock holds, not nothing");
    }

    #[test]
    fn a_quota_that_is_used_up_tells_when_the_next_call_may_come_and_when_all_may() {
        let limiter = per_second(1, 2);
        assert_eq!(limiter.standing(at(0)).next_in(), Duration::ZERO);

        assert_eq!(limiter.take(2, at(0)), Ok(()));

        let standing = limiter.standing(at(250_000_000));
        assert_eq!(standing.remaining(), 0);
        assert_eq!(
            (standing.next_in(), standing.full_in()),
            (Duration::from_millis(750), Duration::from_millis(1_750))
        );
    }

    #[test]
    fn it_is_idle_when_the_whole_burst_is_there_and_the_quota_is_its_own() {
        let limiter = per_second(1, 1);
        assert!(limiter.is_idle(|| at(0)));
        assert_eq!(limiter.take(1, at(0)), Ok(()));

        assert!(!limiter.is_idle(|| at(999_999_999)));
        assert!(limiter.is_idle(|| at(1_000_000_000)));

        limiter.set_quota(Quota::per_second(2).unwrap(), at(1_000_000_000));
        assert!(!limiter.is_idle(|| at(9_000_000_000)));
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn two_threads_are_never_admitted_more_than_the_burst_and_lose_none_of_it() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let limiter = Arc::new(Gcra::new(Quota::per_second(1).and_then(|quota| quota.with_burst(3)).unwrap()));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let limiter = Arc::clone(&limiter);
                    thread::spawn(move || (0..2).filter(|_| limiter.take(1, Timestamp::ZERO).is_ok()).count())
                })
                .collect();
            let admitted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!(admitted, 3);
        });
    }

    #[test]
    fn what_is_refunded_while_others_take_is_there_again() {
        loom::model(|| {
            let limiter = Arc::new(Gcra::new(Quota::per_second(1).and_then(|quota| quota.with_burst(2)).unwrap()));
            limiter.take(1, Timestamp::ZERO).unwrap();
            let other = Arc::clone(&limiter);
            let gives_back = thread::spawn(move || other.refund(1));
            limiter.take(1, Timestamp::ZERO).unwrap();
            gives_back.join().unwrap();
            assert_eq!(limiter.standing(Timestamp::ZERO).remaining(), 1);
        });
    }
}

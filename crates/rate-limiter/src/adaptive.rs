#![expect(clippy::disallowed_types, reason = "the mutex is for answers that say overload, and once per half second")]
use std::{fmt, sync::PoisonError, time::Duration};

use seawall_core::{
    Admission, CallContext, Class, Gate, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp,
    sync::{
        Mutex, MutexGuard,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use crate::{AdaptiveQuota, Gcra, Quota, QuotaError, Standing};

/// The time over which the rate of sending is measured, and after which the rate grows: the AWS clients'.
const STEP: u64 = 500_000_000;
const STEP_SECONDS: f64 = 0.5;
/// Of the newest measurement and of those before: the AWS clients'.
const NEWEST: f64 = 0.8;
/// How many bits of the counting word hold the number of calls; the others hold the step.
const COUNT_BITS: u32 = 28;
const MOST_COUNTED: u64 = (1 << COUNT_BITS) - 1;
/// Beyond that, what a server says of its quota is no help: it is taken as that.
const MOST_TOLD: u64 = 1_000_000;
const LONGEST_TOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Finds the rate at which the other side does not refuse, and keeps to what it says of its limits: for clients of
/// services whose quota nobody wrote down.
///
/// It lets everything through until the other side first says that it has too much to do ([`Class::Overload`]: a 429, a
/// 503 with `Retry-After`, `RESOURCE_EXHAUSTED`). Then it goes down to a part of the rate at which was sent, and from
/// there up again: fast to near the rate at which it was refused, slowly about it, and faster beyond ([cubic](crate::Growth::Cubic)),
/// or by a steady step ([additive](crate::Growth::Additive)). Refusals of calls that were sent before the rate was lowered lower it no
/// further: one crowd of refusals is one sign. The rate never exceeds twice what is sent.
///
/// - A wait that a response asks for (`Retry-After`) holds for all calls, up to [`AdaptiveQuota::with_max_hold`].
/// - What a response says of the quota that is left ([`AdaptiveRate::told`]) holds until that quota is reset: half of what
///   is left may come at once, the rest is spread over the time, and each response says it anew. So the quota is not
///   overrun, where no other client uses it.
///
/// A refused call has used up nothing, and is told when to come back. Rates between two steps of half a second stay as
/// they are.
///
/// ```
/// use seawall_core::{Class, Env};
/// use seawall_rate_limiter::{AdaptiveQuota, AdaptiveRate, LimitLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let by_status = |result: Result<&u16, &std::io::Error>| match result {
///     Ok(429) => Class::Overload,
///     Ok(_) => Class::Success,
///     Err(_) => Class::Failure,
/// };
/// let env = Env::new().with_classifier(by_status);
/// let layer = LimitLayer::<AdaptiveRate, _>::with_env(AdaptiveQuota::default(), env);
/// assert_eq!(layer.gate().rate(), None);
///
/// layer.run(async { Ok::<_, std::io::Error>(429) }).await?;
/// assert!(layer.gate().rate().is_some());
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// The "adaptive" retry mode of the AWS clients (botocore's `retries.adaptive`, `throttling` and `bucket`), whose growth
/// is RFC 9438's (CUBIC); that one sign counts once is TCP's.
pub struct AdaptiveRate {
    quota: AdaptiveQuota,
    gcra: Gcra,
    /// When the rate was last lowered, plus one; 0 while nothing is limited. Written after the rate: who sees it, sees
    /// the rate.
    lowered: AtomicU64,
    /// The number of the step, and above [`COUNT_BITS`] how many calls were sent in it.
    sent: AtomicU64,
    /// Nobody is let through before.
    held_until: AtomicU64,
    /// What was told holds until then.
    told_until: AtomicU64,
    told: Gcra,
    in_flight: AtomicU32,
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Default, Copy, Clone)]
struct Learnt {
    /// Calls a second, as sent.
    measured: f64,
    /// Calls a second at which the other side refused, and when.
    refused_at: f64,
    since: Timestamp,
    /// Calls a second that are allowed.
    allowed: f64,
}

impl AdaptiveRate {
    /// A limiter that lets everything through until it is told to slow down.
    pub fn new(quota: AdaptiveQuota) -> Self {
        let [gcra, told] = [Quota::UNIT, Quota::UNIT].map(Gcra::new);
        Self {
            quota,
            gcra,
            lowered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            held_until: AtomicU64::new(0),
            told_until: AtomicU64::new(0),
            told,
            in_flight: AtomicU32::new(0),
            learnt: Mutex::new(Learnt::default()),
        }
    }

    /// Calls a second that are let through; `None` while nothing has been refused.
    pub fn rate(&self) -> Option<f64> {
        if self.lowered.load(Relaxed) == 0 { None } else { Some(self.learnt().allowed) }
    }

    /// How many calls were sent and have no answer yet.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// What may be sent now, by what was found out.
    pub fn standing(&self, now: Timestamp) -> Option<Standing> {
        if self.lowered.load(Acquire) == 0 { None } else { Some(self.gcra.standing(now)) }
    }

    /// Lets one call of `cost` through, or none. A call that was let through is [`Gate::finish`]ed.
    ///
    /// # Errors
    /// [`RateLimited`](Reason::RateLimited) with the time until which to wait, [`TooHeavy`](Reason::TooHeavy) when it
    /// costs more than is ever let through at once at this rate.
    pub fn take(&self, cost: u32, now: Timestamp) -> Result<(), Rejection> {
        let held = self.held_until.load(Relaxed).saturating_sub(now.as_nanos());
        if held > 0 {
            let refused = Rejection::new(Pattern::RateLimiter, Reason::RateLimited);
            return Err(refused.with_retry_after(Duration::from_nanos(held)));
        }
        // Acquire, with the release of `told`: what was told is there.
        let is_told = self.told_until.load(Acquire) > now.as_nanos();
        if is_told {
            self.told.take(cost, now)?;
        }
        // Acquire, with the release of `refused`: the rate is there.
        if self.lowered.load(Acquire) != 0
            && let Err(refused) = self.gcra.take(cost, now)
        {
            if is_told {
                self.told.refund(cost);
            }
            return Err(refused);
        }
        self.count(now);
        self.in_flight.fetch_add(1, Relaxed);
        Ok(())
    }

    /// The other side refused a call, which was sent at `sent`, because it has too much to do.
    pub fn refused(&self, sent: Timestamp, now: Timestamp) {
        if sent.as_nanos() < self.lowered.load(Relaxed) {
            return;
        }
        let mut learnt = self.learnt();
        let lowered = self.lowered.load(Relaxed);
        if sent.as_nanos() < lowered {
            return;
        }
        let measured = if learnt.measured > 0.0 { learnt.measured } else { self.sent_lately() };
        let rate = if lowered == 0 { measured } else { measured.min(learnt.allowed) };
        (learnt.refused_at, learnt.since) = (rate, now);
        self.set_rate(&mut learnt, rate * self.quota.kept(), now);
        if lowered == 0 {
            // What was let through without a limit has used up the burst.
            self.gcra.charge(self.gcra.burst(), now);
        }
        // Release, with the acquire of `take`: whoever sees that there is a rate sees which.
        self.lowered.store(now.as_nanos().saturating_add(1), Release);
    }

    /// The other side asked to be left alone for `wait`.
    pub fn hold(&self, wait: Duration, now: Timestamp) {
        let until = now.saturating_add(wait.min(self.quota.max_hold()));
        self.held_until.fetch_max(until.as_nanos(), Relaxed);
    }

    /// The other side said that of its quota `remaining` calls are left, and that it is reset in `reset_in`. Calls that
    /// have no answer yet are taken as not counted in it. Beyond 24 hours, or a million calls, it is taken as that.
    pub fn told(&self, remaining: u64, reset_in: Duration, now: Timestamp) {
        let left = remaining.min(MOST_TOLD).saturating_sub(self.in_flight.load(Relaxed).into());
        let span = reset_in.min(LONGEST_TOLD);
        let Ok(left) = u32::try_from(left) else { return };
        if span.is_zero() {
            // It is reset already: what was told before holds no more.
            self.told_until.store(0, Relaxed);
            return;
        }
        let Ok(quota) = told_quota(left, span) else { return };
        self.told.replace(quota, now);
        if left == 0 {
            self.told.charge(1, now);
        }
        // Release, with the acquire of `take`.
        self.told_until.store(now.saturating_add(span).as_nanos(), Release);
    }

    /// Counts a call. Who begins a step measures the one before and lets the rate grow.
    fn count(&self, now: Timestamp) {
        let step = now.as_nanos().checked_div(STEP).unwrap_or(0);
        // Relaxed: the word guards no other memory.
        let mut seen = self.sent.load(Relaxed);
        loop {
            let (old, counted) = (seen >> COUNT_BITS, seen & MOST_COUNTED);
            // A clock that stepped back counts in the step that there is.
            let next = if step > old {
                (step << COUNT_BITS) | 1
            } else {
                seen.saturating_add(u64::from(counted < MOST_COUNTED))
            };
            match self.sent.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) if step > old => return self.grow(counted, step.saturating_sub(old), now),
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    #[cold]
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to 2⁻⁵³")]
    fn grow(&self, counted: u64, steps: u64, now: Timestamp) {
        let mut learnt = self.learnt();
        let rate = counted as f64 / (steps as f64 * STEP_SECONDS);
        learnt.measured = rate.mul_add(NEWEST, learnt.measured * (1.0 - NEWEST));
        if self.lowered.load(Relaxed) != 0 {
            let grown = self.quota.grown(learnt.refused_at, now.since(learnt.since));
            let rate = grown.min(2.0 * learnt.measured);
            self.set_rate(&mut learnt, rate, now);
        }
    }

    /// Calls a second, by those of the step that has begun.
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to 2⁻⁵³")]
    fn sent_lately(&self) -> f64 {
        (self.sent.load(Relaxed) & MOST_COUNTED) as f64 / STEP_SECONDS
    }

    fn set_rate(&self, learnt: &mut Learnt, rate: f64, now: Timestamp) {
        learnt.allowed = self.quota.bounded(rate);
        if let Some(quota) = quota_of(learnt.allowed) {
            self.gcra.set_quota(quota, now);
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        // Nothing that can panic runs under it.
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rate whose burst is what comes in a second, at least one call.
#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "rates are above zero; as saturates")]
fn quota_of(rate: f64) -> Option<Quota> {
    let interval = Duration::from_nanos((1e9 / rate).ceil() as u64);
    Quota::every(interval).and_then(|quota| quota.with_burst((rate as u32).max(1))).ok()
}

/// Half of `left` at once and the others spread over `span`: in all never more than `left`.
fn told_quota(left: u32, span: Duration) -> Result<Quota, QuotaError> {
    let burst = left.div_ceil(2).max(1);
    let spread = left.saturating_sub(burst).max(1);
    Quota::new(spread, span).or_else(|_| Quota::every(span)).and_then(|quota| quota.with_burst(burst))
}

impl From<AdaptiveQuota> for AdaptiveRate {
    fn from(quota: AdaptiveQuota) -> Self {
        Self::new(quota)
    }
}

impl fmt::Debug for AdaptiveRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveRate")
            .field("quota", &self.quota)
            .field("rate", &self.rate())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Gate for AdaptiveRate {
    /// When the call was sent.
    type Ticket = Timestamp;
    type Wait = NoWait;

    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<Timestamp> {
        let now = now();
        self.take(context().cost.max(1), now).map(|()| now).into()
    }

    fn finish(&self, sent: Timestamp, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        let _ = self.in_flight.fetch_update(Relaxed, Relaxed, |calls| Some(calls.saturating_sub(1)));
        if outcome == Outcome::Finished(Class::Overload) {
            self.refused(sent, now());
        }
    }

    fn pushback(&self, _: &Timestamp, wait: Duration, now: impl FnOnce() -> Timestamp) {
        self.hold(wait, now());
    }

    fn trip(&self, _: &Timestamp, wait: Option<Duration>, now: impl FnOnce() -> Timestamp) {
        if let Some(wait) = wait {
            self.hold(wait, now());
        }
    }

    /// Whether nothing was learnt, nobody is held, and no call is under way.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let now = now().as_nanos();
        let passed = |until: &AtomicU64| until.load(Relaxed) <= now;
        self.lowered.load(Relaxed) == 0
            && passed(&self.held_until)
            && passed(&self.told_until)
            && self.in_flight.load(Relaxed) == 0
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
    use proptest::prelude::*;

    use super::*;
    use crate::Growth;

    const SECOND: u64 = 1_000_000_000;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn new() -> AdaptiveRate {
        AdaptiveRate::new(AdaptiveQuota::default())
    }

    /// Sends a call every `gap` in `from..to`, of which each is answered at once; how many were let through.
    fn send(limiter: &AdaptiveRate, from: u64, to: u64, gap: u64) -> u32 {
        let mut sent = 0;
        let mut now = from;
        while now < to {
            if limiter.take(1, at(now)).is_ok() {
                sent += 1;
                limiter.finish(at(now), Outcome::Finished(Class::Success), || at(now));
            }
            now += gap;
        }
        sent
    }

    fn is_near(rate: Option<f64>, wanted: f64) -> bool {
        rate.is_some_and(|rate| (rate - wanted).abs() < wanted * 0.01)
    }

    #[test]
    fn nothing_is_limited_until_the_other_side_refuses() {
        let limiter = new();

        assert_eq!(send(&limiter, 0, SECOND, SECOND / 1_000), 1_000);

        assert_eq!((limiter.rate(), limiter.in_flight()), (None, 0));
        assert!(limiter.is_idle(|| at(SECOND)));
    }

    #[test]
    fn a_refusal_goes_down_to_a_part_of_what_was_sent_and_the_burst_is_used_up() {
        let limiter = new();
        send(&limiter, 0, 10 * SECOND, SECOND / 100);

        limiter.refused(at(10 * SECOND), at(10 * SECOND));

        assert!(is_near(limiter.rate(), 70.0), "{:?}", limiter.rate());
        let refused = limiter.take(1, at(10 * SECOND)).unwrap_err();
        assert_eq!((refused.reason(), limiter.in_flight()), (Reason::RateLimited, 0));
        let wait = refused.retry_after().unwrap();
        assert!((14..=15).contains(&wait.as_millis()), "{wait:?}");
        assert!(!limiter.is_idle(|| at(u64::MAX)));
    }

    #[test]
    fn refusals_of_one_crowd_are_one_sign() {
        let limiter = new();
        send(&limiter, 0, 10 * SECOND, SECOND / 100);

        for _ in 0..50 {
            limiter.refused(at(10 * SECOND), at(10 * SECOND + 5));
        }
        assert!(is_near(limiter.rate(), 70.0), "{:?}", limiter.rate());

        limiter.refused(at(10 * SECOND + 6), at(10 * SECOND + 7));
        assert!(is_near(limiter.rate(), 49.0), "{:?}", limiter.rate());
    }

    #[test]
    fn a_wait_that_was_asked_for_holds_for_all_up_to_the_longest() {
        let limiter = new();

        limiter.hold(Duration::from_secs(3), at(0));
        assert_eq!(limiter.take(1, at(SECOND)).unwrap_err().retry_after(), Some(Duration::from_secs(2)));
        limiter.hold(Duration::from_secs(1), at(0));
        assert!(limiter.take(1, at(2 * SECOND)).is_err());
        assert!(limiter.take(1, at(3 * SECOND)).is_ok());

        limiter.hold(Duration::MAX, at(3 * SECOND));
        let longest = limiter.take(1, at(3 * SECOND)).unwrap_err().retry_after();
        assert_eq!(longest, Some(AdaptiveQuota::default().max_hold()));
    }

    #[test]
    fn the_gate_hears_of_waits_and_of_overload_and_of_nothing_else() {
        let limiter = new();
        let ticket = || match limiter.admit(CallContext::new, || at(0)) {
            Admission::Admitted(ticket) => ticket,
            other => panic!("{other:?}"),
        };
        for outcome in [Outcome::Finished(Class::Failure), Outcome::TimedOut, Outcome::Cancelled, Outcome::Panicked] {
            limiter.finish(ticket(), outcome, || at(1));
        }
        assert_eq!((limiter.rate(), limiter.in_flight()), (None, 0));

        let last = ticket();
        limiter.pushback(&last, Duration::from_nanos(9), || at(1));
        limiter.finish(last, Outcome::Finished(Class::Overload), || at(1));

        assert_eq!(limiter.take(1, at(2)).unwrap_err().retry_after(), Some(Duration::from_nanos(8)));
        // Five calls in the first half second.
        assert!(is_near(limiter.rate(), 7.0), "{:?}", limiter.rate());
    }

    #[test]
    fn a_quota_that_is_used_up_is_waited_for_before_the_next_refusal() {
        let limiter = new();

        limiter.told(0, Duration::from_secs(60), at(0));

        assert_eq!(limiter.take(1, at(SECOND)).unwrap_err().retry_after(), Some(Duration::from_secs(59)));
        assert!(limiter.take(1, at(60 * SECOND)).is_ok());
    }

    #[test]
    fn calls_under_way_are_taken_off_what_is_left() {
        let limiter = new();
        for _ in 0..3 {
            limiter.take(1, at(0)).unwrap();
        }

        limiter.told(5, Duration::from_secs(60), at(0));

        assert_eq!((limiter.take(1, at(0)), limiter.take(1, at(0)).is_ok()), (Ok(()), false));
        limiter.told(100, Duration::ZERO, at(0));
        assert_eq!(send(&limiter, 0, SECOND, SECOND / 100), 100);
    }

    #[test]
    fn a_call_that_the_rate_refuses_uses_up_nothing_of_what_was_told() {
        let limiter = new();
        limiter.refused(at(0), at(0));
        limiter.told(2, Duration::from_secs(60), at(0));

        for _ in 0..9 {
            assert_eq!(limiter.take(1, at(0)).unwrap_err().retry_after(), Some(Duration::from_secs(2)));
        }

        assert_eq!(limiter.take(1, at(2 * SECOND)), Ok(()));
    }

    #[test]
    fn a_rate_of_which_nothing_is_known_is_never_below_the_least() {
        let limiter = new();

        for sign in 0..40 {
            limiter.refused(at(sign), at(sign));
        }

        assert_eq!(limiter.rate(), Some(0.5));
        assert_eq!(limiter.take(1, at(40)).unwrap_err().retry_after().map(|wait| wait.as_secs()), Some(1));
    }

    proptest! {
        /// The formulas as RFC 9438 and the AWS clients have them, written out.
        #[test]
        fn the_rate_follows_the_curve(rate in 20..2_000_u64, seconds in 1..40_u32) {
            let limiter = new();
            let gap = SECOND / rate;
            send(&limiter, 0, 10 * SECOND, gap);
            let refused_at = limiter.learnt().measured;
            limiter.refused(at(10 * SECOND), at(10 * SECOND));

            let end = (10 + u64::from(seconds)) * SECOND;
            send(&limiter, 10 * SECOND, end + SECOND / 4, gap / 2);

            // The first call of a step is at most as late as one takes at the lowest rate of these.
            let measured = limiter.learnt().measured;
            let k = (refused_at * 0.3 / 0.4).cbrt();
            let cubic = |late: f64| 0.4 * (f64::from(seconds) + late - k).powi(3) + refused_at;
            let wanted = |late| cubic(late).min(2.0 * measured).max(0.5);
            let rate = limiter.rate().expect("it was refused");
            prop_assert!((wanted(0.0) * 0.999..wanted(0.1) * 1.001).contains(&rate), "{rate} {}", wanted(0.0));
        }

        #[test]
        fn what_was_told_is_never_overrun(
            left in 0..200_u64, span in 1..10_000_u64, gaps in prop::collection::vec(0..100_u64, 1..400),
        ) {
            let limiter = new();
            limiter.told(left, Duration::from_nanos(span * 1_000), at(5));
            let (mut now, mut sent) = (5, 0);
            for gap in gaps {
                now += gap * 1_000;
                if now < 5 + span * 1_000 && limiter.take(1, at(now)).is_ok() {
                    sent += 1;
                }
            }
            prop_assert!(sent <= left, "{sent} of {left}");
        }

        #[test]
        fn half_of_what_was_told_may_come_at_once_and_all_in_time(left in 1..200_u64, span in 1..100_u64) {
            let limiter = new();
            limiter.told(left, Duration::from_secs(span), at(0));
            let at_once = (0..left).map(|_| u64::from(limiter.take(1, at(0)).is_ok())).sum::<u64>();
            prop_assert_eq!(at_once, left.div_ceil(2));
            let later = send(&limiter, 0, span * SECOND, span * SECOND / 1_000);
            prop_assert!(at_once + u64::from(later) + 1 >= left, "{later} later of {left}");
        }

        #[test]
        fn no_time_and_no_number_overflows(
            steps in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u32>()), 1..60),
            additive in any::<bool>(),
        ) {
            let growth = if additive { Growth::Additive { per_second: f64::MAX } } else { Growth::Cubic { scale: 1e9 } };
            let limiter = AdaptiveRate::new(AdaptiveQuota::default().with_growth(growth).unwrap());
            for (now, number, cost) in steps {
                let now = at(now);
                let _ = limiter.take(cost, now);
                limiter.refused(at(number), now);
                limiter.told(number, Duration::from_nanos(number), now);
                limiter.hold(Duration::from_nanos(number), now);
                let rate = limiter.rate().unwrap_or(0.5);
                prop_assert!((0.5..=1e6).contains(&rate), "{rate}");
            }
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn whoever_sees_that_there_is_a_rate_sees_which() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let limiter = Arc::new(AdaptiveRate::new(AdaptiveQuota::default()));
            let other = Arc::clone(&limiter);
            let looks = thread::spawn(move || {
                if let Some(standing) = other.standing(Timestamp::ZERO) {
                    // The burst is used up, and one call takes two seconds.
                    assert_eq!((standing.remaining(), standing.next_in()), (0, Duration::from_secs(2)));
                }
            });
            limiter.refused(Timestamp::ZERO, Timestamp::ZERO);
            looks.join().unwrap();
        });
    }

    #[test]
    fn two_calls_that_begin_a_step_are_both_counted() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let limiter = Arc::new(AdaptiveRate::new(AdaptiveQuota::default()));
            let now = Timestamp::from_nanos(STEP);
            let other = Arc::clone(&limiter);
            let second = thread::spawn(move || other.take(1, now).unwrap());
            limiter.take(1, now).unwrap();
            second.join().unwrap();
            assert_eq!((limiter.sent.load(Relaxed) & MOST_COUNTED, limiter.in_flight()), (2, 2));
        });
    }
}

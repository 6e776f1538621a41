//! The warming limiter, which follows in steps, against one that reckons anew with every call as Guava's does.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::time::Duration;

use proptest::prelude::*;
use seawall_core::Timestamp;
use seawall_rate_limiter::{Limit, Quota, WarmUp, WarmUpQuota};

/// Times in seconds, from the first call on.
struct Guava {
    interval: f64,
    warm_up: f64,
    threshold: f64,
    most: f64,
    slope: f64,
    stored: f64,
    next_free: f64,
}

impl Guava {
    fn new(interval: f64, warm_up: f64, cold: f64) -> Self {
        let threshold = warm_up / interval / (cold - 1.0);
        let most = threshold + 2.0 * warm_up / (interval * (1.0 + cold));
        let slope = interval * (cold - 1.0) / (most - threshold);
        Self { interval, warm_up, threshold, most, slope, stored: most, next_free: 0.0 }
    }

    /// Stores what was not used until `now`.
    fn resync(&mut self, now: f64) {
        let idle = (now - self.next_free).max(0.0);
        self.stored = (self.stored + idle / self.warm_up * self.most).min(self.most);
        self.next_free = self.next_free.max(now);
    }

    /// How long the next call takes: the area below the pace, of as much as is stored above the threshold.
    fn take(&mut self) {
        let pace = |stored: f64| self.interval + self.slope * (stored - self.threshold).max(0.0);
        self.next_free += f64::midpoint(pace(self.stored), pace((self.stored - 1.0).max(0.0)));
        self.stored = (self.stored - 1.0).max(0.0);
    }

    /// How many calls go on from `from` to `to` when there are always some.
    fn take_all(&mut self, from: f64, to: f64) -> u32 {
        self.resync(from);
        let mut taken = 0;
        while self.next_free < to {
            self.take();
            taken += 1;
        }
        taken
    }
}

/// The same of the limiter, which is asked again in every step, in nanoseconds.
fn take_all(limiter: &WarmUp, from: u64, to: u64, step: u64) -> u32 {
    let (mut now, mut taken) = (from, 0);
    while now < to {
        match limiter.take(1, Timestamp::from_nanos(now)) {
            Ok(()) => taken += 1,
            Err(refused) => {
                let wait = refused.retry_after().expect("an exact wait").as_nanos();
                now += u64::try_from(wait).expect("64 bits").min(step);
            }
        }
    }
    taken
}

/// Tenths of the warming up: demand without end, then none. How many calls went on, and how many should have, after each.
fn counted((per_second, seconds, cold): (u32, u64, u32), phases: &[(u64, u64)]) -> Vec<(f64, f64)> {
    let warm_up = Duration::from_secs(seconds);
    let quota = Quota::per_second(per_second).and_then(|quota| WarmUpQuota::new(quota, warm_up));
    let limiter = WarmUp::new(quota.and_then(|quota| quota.with_cold_factor(cold)).expect("in range"));
    let mut guava = Guava::new(1.0 / f64::from(per_second), warm_up.as_secs_f64(), f64::from(cold));
    let tenth = seconds * 100_000_000;
    let (mut now, mut taken, mut wanted) = (0, 0.0, 0.0);

    let after = phases.iter().map(|(busy, idle)| {
        let to = now + busy * tenth;
        taken += f64::from(take_all(&limiter, now, to, tenth / 10));
        let [from, until] = [now, to].map(|nanos| Duration::from_nanos(nanos).as_secs_f64());
        wanted += f64::from(guava.take_all(from, until));
        now = to + idle * tenth;
        (taken, wanted)
    });
    after.collect()
}

#[test]
fn a_pause_is_worth_as_much_to_one_who_was_warm() {
    for (taken, wanted) in counted((104, 6, 5), &[(15, 8), (5, 0)]) {
        assert!((taken - wanted).abs() <= 3.0, "{taken} went on, not {wanted}");
    }
}

#[test]
fn a_pace_that_quickens_by_every_call_does_not_lag() {
    for (taken, wanted) in counted((50, 6, 5), &[(11, 0), (1, 9), (2, 0), (8, 0)]) {
        assert!((taken - wanted).abs() <= 8.0, "{taken} went on, not {wanted}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // One call more or less before a pause grows to several after it: the pace depends on what is stored.
    #[test]
    fn as_many_calls_go_on_as_guava_lets_through(
        how in (50..400_u32, 4..12_u64, 2..6_u32),
        phases in prop::collection::vec((1..15_u64, 0..12_u64), 1..6),
    ) {
        for (taken, wanted) in counted(how, &phases) {
            prop_assert!((taken - wanted).abs() <= 0.05 * wanted + 6.0, "{} went on, not {}", taken, wanted);
        }
    }
}

use std::time::Duration;

use seawall_core::{Entropy, SeededEntropy, Timestamp, unit_interval};

use crate::builder::BreakerConfigBuilder;

const NEVER: u64 = u64::MAX;

/// How long the circuit stays open: doubling from trip to trip, with a share left to chance.
///
/// # Source
/// The growth with a cap, and half of it left to chance by default, is that of Finagle's failure accrual (5 s to 300 s,
/// equal jitter).
#[derive(Debug)]
pub(crate) struct Schedule {
    open_for: Duration,
    longest: Duration,
    jitter: f64,
    stable_for: Duration,
    trips: u32,
    closed_at: Option<Timestamp>,
    entropy: SeededEntropy,
}

impl Schedule {
    pub(crate) fn new(config: &BreakerConfigBuilder, seed: u64) -> Self {
        Self {
            open_for: config.open_for,
            longest: config.longest_open(),
            jitter: config.jitter,
            stable_for: config.stable_for,
            trips: 0,
            closed_at: None,
            entropy: SeededEntropy::new(seed),
        }
    }

    /// Takes over new times; where it stands in the growth stays.
    pub(crate) fn set(&mut self, config: &BreakerConfigBuilder) {
        self.open_for = config.open_for;
        self.longest = config.longest_open();
        self.jitter = config.jitter;
        self.stable_for = config.stable_for;
    }

    /// The circuit closed by itself.
    pub(crate) const fn closed(&mut self, at: Timestamp) {
        self.closed_at = Some(at);
    }

    /// However long ago it closed, it has not been well since.
    pub(crate) const fn was_not_well(&mut self) {
        self.closed_at = None;
    }

    /// Begins again at the first open time.
    pub(crate) const fn reset(&mut self) {
        self.trips = 0;
        self.closed_at = None;
    }

    /// The next open time in nanoseconds; `u64::MAX` when it never ends.
    pub(crate) fn next(&mut self, at: Timestamp) -> u64 {
        if self.closed_at.take().is_some_and(|closed| at.since(closed) >= self.stable_for) {
            self.trips = 0;
        }
        let nanos = |time| Timestamp::ZERO.saturating_add(time).as_nanos();
        let factor = 1_u64.checked_shl(self.trips).unwrap_or(NEVER);
        self.trips = self.trips.saturating_add(1);
        let full = nanos(self.open_for).saturating_mul(factor).min(nanos(self.longest));
        if full == NEVER { NEVER } else { self.jittered(full) }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product is between 0 and `full`; what rounding adds is cut off by the saturating difference"
    )]
    fn jittered(&self, full: u64) -> u64 {
        let chance = unit_interval(self.entropy.next_u64());
        full.saturating_sub((full as f64 * self.jitter * chance) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> Schedule {
        Schedule::new(&change(BreakerConfigBuilder::default()), 7)
    }

    fn seconds(schedule: &mut Schedule, count: usize) -> Vec<u64> {
        (0..count).map(|_| schedule.next(Timestamp::ZERO) / 1_000_000_000).collect()
    }

    #[test]
    fn open_times_double_up_to_the_cap() {
        let mut schedule = schedule(|config| config.jitter(0.0));

        assert_eq!(seconds(&mut schedule, 7), [5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn growth_goes_on_after_a_short_closing_and_starts_again_after_a_healthy_spell() {
        let mut schedule = schedule(|config| config.jitter(0.0));
        let second = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        assert_eq!(seconds(&mut schedule, 2), [5, 10]);

        schedule.closed(second(100));
        assert_eq!(schedule.next(second(159)), 20_000_000_000);

        schedule.closed(second(200));
        schedule.was_not_well();
        assert_eq!(schedule.next(second(260)), 40_000_000_000);

        schedule.closed(second(300));
        assert_eq!(schedule.next(second(360)), 5_000_000_000);
    }

    #[test]
    fn jitter_only_shortens_and_never_below_its_share() {
        let mut schedule = schedule(|config| config.jitter(0.5).max_open_for(Duration::from_secs(5)));

        let times: Vec<u64> = (0..1_000).map(|_| schedule.next(Timestamp::ZERO)).collect();

        assert!(times.iter().all(|time| (2_500_000_000..=5_000_000_000).contains(time)));
        let mean = times.iter().sum::<u64>() / 1_000;
        assert!((3_700_000_000..=3_800_000_000).contains(&mean), "{mean}");
    }

    #[test]
    fn full_jitter_may_leave_nothing_and_takes_nothing_from_never() {
        let mut full = schedule(|config| config.jitter(1.0).open_for(Duration::from_nanos(3)));
        assert!((0..100).all(|_| full.next(Timestamp::ZERO) <= 60_000_000_000));

        let mut never = schedule(|config| config.jitter(1.0).open_for(Duration::MAX));
        assert_eq!(never.next(Timestamp::MAX), u64::MAX);
    }

    #[test]
    fn no_open_time_stays_none_and_the_thousandth_trip_does_not_overflow() {
        let mut none = schedule(|config| config.open_for(Duration::ZERO));
        let mut long = schedule(|config| config.jitter(0.0));
        for _ in 0..1_000 {
            assert_eq!(none.next(Timestamp::ZERO), 0);
            long.next(Timestamp::ZERO);
        }

        assert_eq!(long.next(Timestamp::ZERO), 60_000_000_000);
    }
}

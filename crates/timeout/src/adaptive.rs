use std::time::Duration;

use seawall_core::{
    RecentQuantile, Timestamp,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::TimeoutError;

/// The longest ceiling: what latencies are measured to.
const MAX_CEILING: Duration = Duration::from_nanos(1 << 40);
const MAX_FACTOR: f64 = 1_000.0;

/// Settings of a timeout that follows the latencies it sees: `factor` × the `quantile` of recent successes, within a
/// floor and a ceiling. Default 3 × p99 over windows of 10 s.
///
/// ```
/// use seawall_timeout::{AdaptiveConfig, TimeoutConfig};
/// use std::time::Duration;
///
/// let three_times_p99 = AdaptiveConfig::new(Duration::from_millis(50), Duration::from_secs(5))?;
/// let config = TimeoutConfig::adaptive(three_times_p99);
/// # let _ = config;
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveConfig {
    floor: Duration,
    ceiling: Duration,
    quantile: f64,
    factor: f64,
    window: Duration,
}

impl AdaptiveConfig {
    /// 3 × p99, never below `floor` or above `ceiling`, which is also the timeout while too little is known.
    ///
    /// # Errors
    /// A floor of 0, a floor above the ceiling, or a ceiling above 18 minutes.
    pub fn new(floor: Duration, ceiling: Duration) -> Result<Self, TimeoutError> {
        if floor.is_zero() {
            return Err(TimeoutError::Zero { field: "floor" });
        }
        if floor > ceiling {
            return Err(TimeoutError::Floor { floor, ceiling });
        }
        if ceiling > MAX_CEILING {
            return Err(TimeoutError::Ceiling { ceiling, max: MAX_CEILING });
        }
        Ok(Self { floor, ceiling, quantile: 0.99, factor: 3.0, window: Duration::from_secs(10) })
    }

    /// The share of calls whose latency is the measure. Between 0 and 1, default 0.99.
    ///
    /// # Errors
    /// A quantile that is not between 0 and 1.
    pub fn with_quantile(mut self, quantile: f64) -> Result<Self, TimeoutError> {
        if !(quantile > 0.0 && quantile < 1.0) {
            return Err(TimeoutError::Quantile { quantile });
        }
        self.quantile = quantile;
        Ok(self)
    }

    /// How many times the measure a call may take. 1 to 1,000, default 3.
    ///
    /// # Errors
    /// A factor outside its range.
    pub fn with_factor(mut self, factor: f64) -> Result<Self, TimeoutError> {
        if !(1.0..=MAX_FACTOR).contains(&factor) {
            return Err(TimeoutError::Factor { factor });
        }
        self.factor = factor;
        Ok(self)
    }

    /// How often the timeout moves; it looks back over the last one to two windows. Default 10 s.
    ///
    /// # Errors
    /// A window of 0.
    pub fn with_window(mut self, window: Duration) -> Result<Self, TimeoutError> {
        if window.is_zero() {
            return Err(TimeoutError::Zero { field: "window" });
        }
        self.window = window;
        Ok(self)
    }

    pub(crate) const fn ceiling(&self) -> Duration {
        self.ceiling
    }
}

/// The decision of an adaptive timeout: a pure core, to which latencies and time come as arguments.
///
/// It moves at the end of each window, to `factor` × the quantile of the successes in the last two. With fewer than 100
/// of them it is the ceiling: a new or idle dependency is given the most time. With windows of 10 s that is always so below
/// five calls a second, and by turns below ten.
///
/// It never learns from an outage. A call that its caller gave up counts as failed where it was older than the quantile. Only
/// successes are measured, since what was cut says nothing about how long it would
/// have taken; and from a window in which more than one call in ten failed or was cut it stays what it was, until one in
/// which calls succeed again. Meanwhile one call per window is given the ceiling, to find out whether the dependency hangs
/// or has become slower for good: when that one succeeds in more time than the others had, the timeout is at its ceiling
/// and learns anew.
///
/// ```
/// use seawall_core::Timestamp;
/// use seawall_timeout::{AdaptiveConfig, AdaptiveTimeout};
/// use std::time::Duration;
///
/// let config = AdaptiveConfig::new(Duration::from_millis(10), Duration::from_secs(5))?;
/// let timeout = AdaptiveTimeout::new(config);
/// let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
/// for _ in 0..1_000 {
///     timeout.record(at(100), Duration::from_millis(20));
/// }
/// assert_eq!(timeout.limit(at(101)), Duration::from_secs(5));
/// let learnt = timeout.limit(at(110)).as_secs_f64();
/// assert!((learnt - 0.060).abs() < 0.001);
/// assert_eq!(timeout.limit(at(130)), Duration::from_secs(5));
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
#[derive(Debug)]
pub struct AdaptiveTimeout {
    config: AdaptiveConfig,
    usual: RecentQuantile,
    /// When a call was last given the ceiling although the others were not.
    tried: AtomicU64,
}

impl AdaptiveTimeout {
    /// A timeout that knows nothing yet: at its ceiling.
    pub fn new(config: AdaptiveConfig) -> Self {
        Self { config, usual: RecentQuantile::new(config.quantile, config.window), tried: AtomicU64::new(0) }
    }

    /// How long a call that begins at `now` may take; during an outage one call per window may try for longer.
    #[inline]
    pub fn limit(&self, now: Timestamp) -> Duration {
        let limit = self.usual_limit(now);
        if self.usual.is_frozen() && self.may_try(now) { self.config.ceiling } else { limit }
    }

    /// How long calls may take at `now`: what [`limit`](Self::limit) says, but for a call that tries.
    #[inline]
    pub fn usual_limit(&self, now: Timestamp) -> Duration {
        self.usual.get(now).map_or(self.config.ceiling, |usual| self.limit_for(usual))
    }

    /// A call succeeded at `now` after `latency`.
    #[inline]
    pub fn record(&self, now: Timestamp, latency: Duration) {
        self.usual.record(now, latency);
        if self.usual.is_frozen() {
            self.found_out(now, latency);
        }
    }

    /// A call failed at `now`, or was cut.
    #[inline]
    pub fn record_failure(&self, now: Timestamp) {
        self.usual.record_failure(now);
    }

    /// A call was given up by its caller at `now`, after `age`: as if it had failed where that is more than the quantile of
    /// what successes took. One given up sooner says nothing, nor does any while nothing is known.
    pub fn record_dropped(&self, now: Timestamp, age: Duration) {
        if self.usual.get(now).is_some_and(|usual| age > usual) {
            self.record_failure(now);
        }
    }

    fn limit_for(&self, usual: Duration) -> Duration {
        usual.mul_f64(self.config.factor).clamp(self.config.floor, self.config.ceiling)
    }

    /// Whether this is the call of its window that may take as long as the ceiling.
    #[cold]
    fn may_try(&self, now: Timestamp) -> bool {
        // Relaxed: the word guards no other memory.
        let tried = self.tried.load(Relaxed);
        let due = now.since(Timestamp::from_nanos(tried)) >= self.config.window;
        due && self.tried.compare_exchange(tried, now.as_nanos(), Relaxed, Relaxed).is_ok()
    }

    /// A call that only the ceiling allowed succeeded: the dependency is slower, it does not hang.
    #[cold]
    fn found_out(&self, now: Timestamp, latency: Duration) {
        if latency > self.usual_limit(now) {
            self.usual.forget();
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn timeout() -> AdaptiveTimeout {
        AdaptiveTimeout::new(AdaptiveConfig::new(10 * MS, 5_000 * MS).unwrap())
    }

    fn record(timeout: &AdaptiveTimeout, at: u64, count: u32, latency: Duration) {
        for _ in 0..count {
            timeout.record(seconds(at), latency);
        }
    }

    fn about(limit: Duration, expected: Duration) -> bool {
        limit.abs_diff(expected) <= expected / 64
    }

    #[test]
    fn a_new_timeout_and_one_that_saw_too_little_is_at_its_ceiling() {
        let timeout = timeout();

        record(&timeout, 5, 99, 20 * MS);

        assert_eq!(timeout.limit(seconds(5)), 5_000 * MS);
        assert_eq!(timeout.limit(seconds(10)), 5_000 * MS);
    }

    #[test]
    fn it_looks_back_over_two_windows_and_no_further() {
        let timeout = timeout();
        record(&timeout, 5, 1_000, 100 * MS);
        record(&timeout, 15, 500, 20 * MS);
        assert!(about(timeout.limit(seconds(20)), 300 * MS));

        record(&timeout, 25, 500, 20 * MS);
        assert!(about(timeout.limit(seconds(30)), 60 * MS));
        record(&timeout, 35, 500, 20 * MS);

        assert!(about(timeout.limit(seconds(40)), 60 * MS));
    }

    #[test]
    fn a_window_in_which_nobody_came_counts_as_one() {
        let timeout = timeout();
        record(&timeout, 5, 1_000, 100 * MS);
        record(&timeout, 15, 1_000, 20 * MS);

        assert!(about(timeout.limit(seconds(30)), 60 * MS));
        assert_eq!(timeout.limit(seconds(40)), 5_000 * MS);
        record(&timeout, 45, 1_000, 30 * MS);
        assert!(about(timeout.limit(seconds(50)), 90 * MS));
    }

    #[test]
    fn quantile_factor_and_window_are_those_that_were_set() {
        let config = AdaptiveConfig::new(10 * MS, 5_000 * MS).unwrap();
        let config = config.with_quantile(0.5).unwrap().with_factor(2.0).unwrap().with_window(1_000 * MS).unwrap();
        let timeout = AdaptiveTimeout::new(config);
        record(&timeout, 5, 600, 20 * MS);
        record(&timeout, 5, 400, 100 * MS);

        assert!(about(timeout.limit(seconds(6)), 40 * MS));
    }

    #[test]
    fn bounds_that_leave_one_limit_or_the_longest_are_allowed() {
        for (floor, ceiling) in [(5 * MS, 5 * MS), (MAX_CEILING, MAX_CEILING)] {
            let timeout = AdaptiveTimeout::new(AdaptiveConfig::new(floor, ceiling).unwrap());

            assert_eq!(timeout.limit(seconds(5)), ceiling);
        }
    }

    #[test]
    fn it_keeps_within_its_bounds() {
        let timeout = timeout();
        record(&timeout, 5, 1_000, MS);
        assert_eq!(timeout.limit(seconds(10)), 10 * MS);

        record(&timeout, 15, 1_000, 4_000 * MS);

        assert_eq!(timeout.limit(seconds(20)), 5_000 * MS);
    }

    fn fail(timeout: &AdaptiveTimeout, at: u64, count: u32) {
        for _ in 0..count {
            timeout.record_failure(seconds(at));
        }
    }

    #[test]
    fn an_outage_teaches_it_nothing_however_long_it_takes() {
        let timeout = timeout();
        record(&timeout, 5, 1_000, 20 * MS);

        for at in (15..600).step_by(10) {
            assert_eq!(timeout.limit(seconds(at)).as_millis() == 5_000, at > 15, "the one that tries, at {at}");
            assert!(about(timeout.limit(seconds(at)), 60 * MS));
            fail(&timeout, at, 50);
        }

        assert!(about(timeout.limit(seconds(599)), 60 * MS));
    }

    #[test]
    fn what_still_gets_through_a_partial_outage_does_not_move_it() {
        let timeout = timeout();
        record(&timeout, 5, 1_000, 20 * MS);
        record(&timeout, 15, 800, 55 * MS);
        fail(&timeout, 15, 200);

        let _tries = timeout.limit(seconds(20));

        assert!(about(timeout.limit(seconds(20)), 60 * MS));
    }

    #[test]
    fn a_dependency_that_is_slower_for_good_is_found_out_by_the_call_that_tries() {
        let timeout = timeout();
        record(&timeout, 5, 1_000, 20 * MS);
        fail(&timeout, 15, 1_000);
        assert_eq!(timeout.limit(seconds(20)), 5_000 * MS);
        assert!(about(timeout.limit(seconds(20)), 60 * MS));

        record(&timeout, 21, 1, 200 * MS);

        assert_eq!(timeout.limit(seconds(21)), 5_000 * MS);
        record(&timeout, 35, 1_000, 200 * MS);
        assert!(about(timeout.limit(seconds(40)), 600 * MS));
    }

    #[test]
    fn a_clock_that_jumps_or_goes_back_does_no_harm() {
        let timeout = timeout();
        timeout.record(Timestamp::MAX, Duration::MAX);
        timeout.record(Timestamp::ZERO, Duration::MAX);

        assert_eq!(timeout.limit(Timestamp::ZERO), 5_000 * MS);
        assert_eq!(timeout.limit(Timestamp::MAX), 5_000 * MS);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let config = AdaptiveConfig::new(MS, 2 * MS).unwrap();

        assert_eq!(AdaptiveConfig::new(Duration::ZERO, MS).unwrap_err(), TimeoutError::Zero { field: "floor" });
        let floor = AdaptiveConfig::new(2 * MS, MS).unwrap_err();
        assert_eq!(floor.to_string(), "floor is 2ms; allowed are times up to ceiling, which is 1ms");
        assert!(matches!(AdaptiveConfig::new(MS, Duration::MAX), Err(TimeoutError::Ceiling { .. })));
        assert_eq!(config.with_window(Duration::ZERO).unwrap_err(), TimeoutError::Zero { field: "window" });
        for quantile in [0.0, 1.0, f64::NAN] {
            assert!(matches!(config.with_quantile(quantile), Err(TimeoutError::Quantile { .. })));
        }
        for factor in [0.9, 1_001.0, f64::NAN] {
            assert!(matches!(config.with_factor(factor), Err(TimeoutError::Factor { .. })));
        }
    }

    #[test]
    fn the_defaults_are_these() {
        assert_eq!(
            format!("{:?}", AdaptiveConfig::new(MS, 2 * MS).unwrap()),
            "AdaptiveConfig { floor: 1ms, ceiling: 2ms, quantile: 0.99, factor: 3.0, window: 10s }"
        );
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    const NANOSECOND: Duration = Duration::from_nanos(1);
    const CEILING: Duration = Duration::from_millis(1);

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn of_two_calls_that_come_in_a_new_window_of_an_outage_one_may_take_as_long_as_the_ceiling() {
        loom::model(|| {
            let config =
                AdaptiveConfig::new(NANOSECOND, CEILING).and_then(|config| config.with_window(10 * NANOSECOND));
            let timeout = Arc::new(AdaptiveTimeout::new(config.unwrap()));
            for _ in 0..100 {
                timeout.record(at(5), NANOSECOND);
            }
            timeout.record_failure(at(15));
            let usual = timeout.usual_limit(at(15));
            assert!(usual < CEILING);
            let other = Arc::clone(&timeout);
            let there = thread::spawn(move || other.limit(at(25)));

            let mut limits = [timeout.limit(at(25)), there.join().unwrap()];

            limits.sort_unstable();
            assert_eq!(limits, [usual, CEILING]);
            assert_eq!(timeout.limit(at(26)), usual);
        });
    }
}

use std::time::Duration;

use crate::{
    LatencyQuantile, Timestamp,
    latency_quantile::quantile_of,
    rotation::{Rotation, Window},
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// Fewer latencies than this in the last two windows say nothing about a high percentile.
const MIN_SAMPLES: u64 = 100;
/// More failures than one in this many calls: what still succeeds tells nothing about what is usual.
const FAILING_ONE_IN: u64 = 10;
/// A bit of `known`: it stays as it is, since calls fail.
const FROZEN: u64 = 1 << 63;
const UNKNOWN: u64 = FROZEN - 1;

/// The latency that a share of recent calls did not exceed, worked out once a window: a pure core, to which latencies
/// and time come as arguments.
///
/// It moves at the end of each window and looks back over the last two. With fewer than 100 latencies in them nothing is
/// known: a dependency that has changed for good is so found out within two windows.
///
/// Where failures are told as well, it stays what it was from a window in which more than one call in ten failed until one
/// in which calls succeed again: an outage teaches nothing, however long it takes and whoever still gets through.
///
/// ```
/// use seawall_core::{RecentQuantile, Timestamp};
/// use std::time::Duration;
///
/// let p95 = RecentQuantile::new(0.95, Duration::from_secs(10));
/// let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
/// for _ in 0..1_000 {
///     p95.record(at(100), Duration::from_millis(20));
/// }
/// assert_eq!(p95.get(at(101)), None);
/// let known = p95.get(at(110)).unwrap().as_secs_f64();
/// assert!((known - 0.020).abs() < 0.020 / 64.0);
/// assert_eq!(p95.get(at(130)), None);
/// ```
#[derive(Debug)]
pub struct RecentQuantile {
    quantile: f64,
    window: u64,
    known: AtomicU64,
    rotation: Rotation,
    /// The current window, the one before, and the next, already empty.
    windows: [Calls; 3],
}

/// The calls of one window.
#[derive(Debug, Default)]
struct Calls {
    latencies: LatencyQuantile,
    failures: AtomicU32,
}

impl Calls {
    fn clear(&self) {
        self.latencies.clear();
        self.failures.store(0, Relaxed);
    }
}

impl RecentQuantile {
    /// The latency that the share `quantile` (0 to 1) of the calls of the last one to two `window`s did not exceed. A
    /// window of 0 counts as a nanosecond.
    pub fn new(quantile: f64, window: Duration) -> Self {
        Self {
            quantile,
            window: Timestamp::ZERO.saturating_add(window).as_nanos().max(1),
            known: AtomicU64::new(UNKNOWN),
            rotation: Rotation::default(),
            windows: Default::default(),
        }
    }

    /// The latency, where enough is known at `now`.
    #[inline]
    pub fn get(&self, now: Timestamp) -> Option<Duration> {
        self.turn_to(now);
        // Relaxed, as everywhere here: the word guards no other memory, and `rotation` orders the windows.
        match self.known.load(Relaxed) & !FROZEN {
            UNKNOWN => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Whether so many calls failed that it stays as it is.
    #[inline]
    pub fn is_frozen(&self) -> bool {
        self.known.load(Relaxed) & FROZEN != 0
    }

    /// A call that counts ended at `now` after `latency`.
    #[inline]
    pub fn record(&self, now: Timestamp, latency: Duration) {
        if let Some(calls) = self.calls(now) {
            calls.latencies.record(latency);
        }
    }

    /// A call failed at `now`, or was cut: how long it would have taken nobody knows.
    #[inline]
    pub fn record_failure(&self, now: Timestamp) {
        if let Some(calls) = self.calls(now) {
            // A count at its end stays there.
            let _ = calls.failures.fetch_update(Relaxed, Relaxed, |failures| failures.checked_add(1));
        }
    }

    /// What was known is so no longer, frozen or not: until enough is known again there is no answer.
    pub fn forget(&self) {
        // A swap, so that this and the freezing of what is known come one after the other also in the eyes of the model
        // checker.
        self.known.swap(UNKNOWN, Relaxed);
    }

    #[inline]
    fn calls(&self, now: Timestamp) -> Option<&Calls> {
        self.windows.get(self.turn_to(now)?.place())
    }

    /// Begins a new window when it is time; gives the current one, unless another thread is beginning it.
    #[inline]
    fn turn_to(&self, now: Timestamp) -> Option<Window> {
        let number = now.as_nanos().checked_div(self.window).unwrap_or(0);
        self.rotation.turn_to(number, |ended, by| self.turn(ended, by))
    }

    /// `ended` began `by` windows before the one that begins.
    #[cold]
    fn turn(&self, ended: Window, by: u64) {
        let [last, before] = [ended.place(), ended.place_before(1)].map(|place| &self.windows[place]);
        if self.goes_on_failing(last) {
            self.known.fetch_or(FROZEN, Relaxed);
        } else {
            let learnt = match by {
                1 => quantile_of(&[&last.latencies, &before.latencies], self.quantile),
                2 => quantile_of(&[&last.latencies], self.quantile),
                _ => None,
            };
            let enough = learnt.filter(|(_, samples)| *samples >= MIN_SAMPLES);
            let nanos = enough.map(|(latency, _)| Timestamp::ZERO.saturating_add(latency).as_nanos());
            self.known.store(nanos.unwrap_or(UNKNOWN), Relaxed);
        }
        // What is two windows old makes room for the next; where nobody came for a whole window, all do.
        if by == 1 {
            before.clear();
        } else {
            self.windows.iter().for_each(Calls::clear);
        }
    }

    /// Whether too many calls of a window failed, or failed before it and none has succeeded since.
    fn goes_on_failing(&self, last: &Calls) -> bool {
        let (failed, succeeded) = (u64::from(last.failures.load(Relaxed)), last.latencies.count());
        let calls = failed.saturating_add(succeeded);
        failed.saturating_mul(FAILING_ONE_IN) > calls || (self.is_frozen() && succeeded == 0)
    }
}

#[cfg(all(test, not(seawall_loom)))]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn fewer_than_a_hundred_latencies_say_nothing() {
        let usual = RecentQuantile::new(0.95, 10_000 * MS);
        for _ in 0..99 {
            usual.record(seconds(5), MS);
        }
        assert_eq!(usual.get(seconds(10)), None);

        for _ in 0..99 {
            usual.record(seconds(15), MS);
        }

        assert!(usual.get(seconds(20)).unwrap().abs_diff(MS) < MS / 64);
    }

    fn record(usual: &RecentQuantile, at: u64, successes: u64, failures: u64, latency: Duration) {
        for _ in 0..successes {
            usual.record(seconds(at), latency);
        }
        for _ in 0..failures {
            usual.record_failure(seconds(at));
        }
    }

    fn about(answer: Option<Duration>, expected: Duration) -> bool {
        answer.is_some_and(|answer| answer.abs_diff(expected) <= expected / 64)
    }

    #[test]
    fn it_is_frozen_from_more_than_one_failure_in_ten_until_calls_succeed_again() {
        let usual = RecentQuantile::new(0.99, 10_000 * MS);
        record(&usual, 5, 1_000, 0, 20 * MS);
        record(&usual, 15, 900, 101, 400 * MS);

        assert!(about(usual.get(seconds(20)), 20 * MS) && usual.is_frozen());
        record(&usual, 25, 0, 7, MS);
        assert!(about(usual.get(seconds(30)), 20 * MS));
        assert!(about(usual.get(seconds(90)), 20 * MS) && usual.is_frozen());

        record(&usual, 95, 900, 100, 30 * MS);
        assert!(about(usual.get(seconds(100)), 30 * MS) && !usual.is_frozen());
    }

    #[test]
    fn what_is_forgotten_stays_so_until_enough_is_known() {
        let usual = RecentQuantile::new(0.99, 10_000 * MS);
        record(&usual, 5, 1_000, 0, 20 * MS);
        record(&usual, 15, 10, 10, MS);
        assert!(about(usual.get(seconds(20)), 20 * MS));

        usual.forget();

        assert_eq!((usual.get(seconds(21)), usual.is_frozen()), (None, false));
        record(&usual, 25, 1_000, 0, 300 * MS);
        assert!(about(usual.get(seconds(30)), 300 * MS));
    }

    #[test]
    fn a_clock_that_jumps_a_window_of_nothing_and_a_quantile_that_is_no_number_do_no_harm() {
        for (quantile, window) in [(0.5, Duration::ZERO), (f64::NAN, MS), (f64::INFINITY, Duration::MAX)] {
            let usual = RecentQuantile::new(quantile, window);
            for now in [Timestamp::ZERO, Timestamp::MAX, Timestamp::ZERO, seconds(1)] {
                usual.record(now, Duration::MAX);
                assert_eq!(usual.get(now), None);
            }
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    const NANOSECOND: Duration = Duration::from_nanos(1);

    /// The middle of the lowest bucket.
    const LEARNT: u64 = 1_280;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    /// Windows of 10 ns, of which the first has seen enough.
    fn seen_enough() -> Arc<RecentQuantile> {
        let usual = RecentQuantile::new(0.5, 10 * NANOSECOND);
        for _ in 0..MIN_SAMPLES {
            usual.record(at(5), NANOSECOND);
        }
        Arc::new(usual)
    }

    #[test]
    fn who_sees_a_window_sees_what_was_learnt_when_it_began() {
        loom::model(|| {
            let usual = seen_enough();
            let look = |usual: &RecentQuantile| usual.turn_to(at(15)).map(|_| usual.known.load(Relaxed));
            let other = Arc::clone(&usual);
            let there = thread::spawn(move || look(&other));

            let seen = [look(&usual), there.join().unwrap()];

            assert!(seen.iter().flatten().all(|known| *known == LEARNT), "{seen:?}");
            assert_eq!(usual.get(at(15)), Some(Duration::from_nanos(LEARNT)));
        });
    }

    #[test]
    fn what_is_forgotten_while_a_window_of_failures_ends_does_not_come_back() {
        loom::model(|| {
            let usual = seen_enough();
            usual.record_failure(at(15));
            assert_eq!(usual.get(at(15)), Some(Duration::from_nanos(LEARNT)));
            let other = Arc::clone(&usual);
            let turns = thread::spawn(move || other.get(at(25)));

            usual.forget();
            turns.join().unwrap();

            assert_eq!(usual.get(at(25)), None);
        });
    }
}

use std::time::Duration;

use crate::{
    LatencyQuantile, Timestamp,
    latency_quantile::quantile_of,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

/// Fewer latencies than this in the last two windows say nothing about a high percentile.
const MIN_SAMPLES: u64 = 100;
const UNKNOWN: u64 = u64::MAX;

/// The latency that a share of recent calls did not exceed, worked out once a window: a pure core, to which latencies
/// and time come as arguments.
///
/// It moves at the end of each window and looks back over the last two. With fewer than 100 latencies in them nothing is
/// known: a dependency that has changed for good is so found out within two windows.
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
    /// The number of the current window.
    current: AtomicU64,
    /// The current window, the one before, and the next, already empty.
    windows: [LatencyQuantile; 3],
}

impl RecentQuantile {
    /// The latency that the share `quantile` (0 to 1) of the calls of the last one to two `window`s did not exceed. A
    /// window of 0 counts as a nanosecond.
    pub fn new(quantile: f64, window: Duration) -> Self {
        Self {
            quantile,
            window: Timestamp::ZERO.saturating_add(window).as_nanos().max(1),
            known: AtomicU64::new(UNKNOWN),
            current: AtomicU64::new(0),
            windows: Default::default(),
        }
    }

    /// The latency, where enough is known at `now`.
    #[inline]
    pub fn get(&self, now: Timestamp) -> Option<Duration> {
        self.turn_to(now);
        // Relaxed: the word guards no other memory.
        match self.known.load(Relaxed) {
            UNKNOWN => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// A call that counts ended at `now` after `latency`.
    #[inline]
    pub fn record(&self, now: Timestamp, latency: Duration) {
        let number = self.turn_to(now);
        if let Some(window) = self.windows.get(place(number)) {
            window.record(latency);
        }
    }

    /// Begins a new window when it is time; gives the number of the current one.
    #[inline]
    fn turn_to(&self, now: Timestamp) -> u64 {
        let number = now.as_nanos().checked_div(self.window).unwrap_or(0);
        // Acquire: with the exchange in `turn`, after which the window's sketch is empty.
        let current = self.current.load(Acquire);
        if number > current { self.turn(current, number) } else { current }
    }

    #[cold]
    fn turn(&self, from: u64, to: u64) -> u64 {
        let [ended, before, next] = [from, from.wrapping_add(2), from.wrapping_add(1)].map(|n| &self.windows[place(n)]);
        if to > from.saturating_add(1) {
            // Nobody came for a whole window: the next one is empty, and so is what came before.
            before.clear();
            if to > from.saturating_add(2) {
                ended.clear();
            }
        }
        let known = match to.saturating_sub(from) {
            1 => quantile_of(&[ended, before], self.quantile),
            2 => quantile_of(&[ended], self.quantile),
            _ => None,
        };
        // AcqRel: releases the clearing of sketches to whoever then records into them.
        match self.current.compare_exchange(from, to, AcqRel, Acquire) {
            Ok(_) => {
                let enough = known.filter(|(_, samples)| *samples >= MIN_SAMPLES);
                let nanos = enough.map(|(latency, _)| Timestamp::ZERO.saturating_add(latency).as_nanos());
                self.known.store(nanos.unwrap_or(UNKNOWN), Relaxed);
                // What is two windows old makes room for the next. A late record may be lost here.
                self.windows[place(to.wrapping_add(1))].clear();
                if to > from.saturating_add(1) {
                    next.clear();
                }
                to
            }
            Err(newer) => newer,
        }
    }
}

#[inline]
const fn place(number: u64) -> usize {
    (number % 3) as usize
}

#[cfg(test)]
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

use std::time::Duration;

use crate::{
    Timestamp,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// Latencies below 2¹⁰ ns, about a microsecond, count as that.
const LOWEST_OCTAVE: u32 = 10;
/// Latencies from 2⁴⁰ ns, 18 minutes, count as the highest bucket.
const HIGHEST_OCTAVE: u32 = if cfg!(seawall_loom) { 12 } else { 40 };
/// Each octave is cut into 2⁵ buckets of equal width. The model checker has to follow fewer with two octaves of two.
const SPLIT_BITS: u32 = if cfg!(seawall_loom) { 1 } else { 5 };
const SPLIT: u32 = 1 << SPLIT_BITS;
const BUCKETS: usize = ((HIGHEST_OCTAVE - LOWEST_OCTAVE) * SPLIT) as usize;

/// A streaming quantile of latencies: buckets whose width grows with the latency.
///
/// From 1 µs to 18 minutes an answer is within 1/64 (1.6%) of a latency that was recorded at the rank asked for; outside
/// it is the nearer end. Memory is fixed, 3.8 kB. Recording writes one word and never waits; sketches are merged by
/// adding them up. Any number of threads may record, read and clear; who reads while others record sees some of theirs.
///
/// ```
/// use seawall_core::LatencyQuantile;
/// use std::time::Duration;
///
/// let latencies = LatencyQuantile::default();
/// for ms in 1..=100 {
///     latencies.record(Duration::from_millis(ms));
/// }
/// let p99 = latencies.quantile(0.99).unwrap().as_secs_f64();
/// assert!((p99 - 0.099).abs() < 0.099 / 64.0);
/// ```
///
/// # Source
/// Log-linear buckets as in `HdrHistogram`; Masson, Rim, Lee: "`DDSketch`", VLDB 2019, on relative error and merging.
#[derive(Debug)]
pub struct LatencyQuantile {
    buckets: Box<[AtomicU32]>,
}

impl Default for LatencyQuantile {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl LatencyQuantile {
    /// Counts one latency.
    #[inline]
    pub fn record(&self, latency: Duration) {
        if let Some(bucket) = self.buckets.get(bucket_of(Timestamp::ZERO.saturating_add(latency).as_nanos())) {
            // Relaxed, as everywhere here: each bucket counts for itself. 2³² of one latency wrap to none.
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// Adds what `other` has counted.
    pub fn merge(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            let count = theirs.load(Relaxed);
            if count > 0 {
                mine.fetch_add(count, Relaxed);
            }
        }
    }

    /// Adds what `other` has counted, which forgets it: what others record meanwhile is in one of the two.
    pub fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            // Most are empty, and to look is cheaper than to swap.
            if theirs.load(Relaxed) > 0 {
                mine.fetch_add(theirs.swap(0, Relaxed), Relaxed);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
    }

    /// How many latencies were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.load(Relaxed))).fold(0, u64::saturating_add)
    }

    /// The latency that the share `quantile` (0 to 1) of all calls did not exceed; `None` when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        quantile_of(&[self], quantile).map(|(latency, _)| latency)
    }
}

/// The quantile over several sketches as if they were merged, and how many latencies they hold.
pub(crate) fn quantile_of(sketches: &[&LatencyQuantile], quantile: f64) -> Option<(Duration, u64)> {
    let counts: [u64; BUCKETS] = std::array::from_fn(|index| {
        let count = |sketch: &&LatencyQuantile| sketch.buckets.get(index).map_or(0, |bucket| bucket.load(Relaxed));
        sketches.iter().map(count).map(u64::from).fold(0, u64::saturating_add)
    });
    let total = counts.iter().copied().fold(0, u64::saturating_add);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the count")]
    #[expect(clippy::cast_precision_loss, reason = "a rank need not be exact beyond 2⁵³ calls")]
    let rank = ((total as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
    let mut below = 0_u64;
    counts.iter().enumerate().find_map(|(index, count)| {
        below = below.saturating_add(*count);
        (below >= rank).then(|| (Duration::from_nanos(middle_of(index)), total))
    })
}

#[expect(clippy::cast_possible_truncation, reason = "at most 63, and below the split")]
#[expect(clippy::arithmetic_side_effects, reason = "the octave is from 10 to 39")]
#[inline]
const fn bucket_of(nanos: u64) -> usize {
    if nanos >> HIGHEST_OCTAVE != 0 {
        return BUCKETS - 1;
    }
    if nanos >> LOWEST_OCTAVE == 0 {
        return 0;
    }
    let octave = nanos.ilog2();
    let within = (nanos >> (octave - SPLIT_BITS)) as u32 & (SPLIT - 1);
    ((octave - LOWEST_OCTAVE) * SPLIT + within) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "an index is below 960")]
#[expect(clippy::arithmetic_side_effects, reason = "the octave is from 10 to 39")]
const fn middle_of(index: usize) -> u64 {
    let index = index as u32;
    let octave = LOWEST_OCTAVE + index / SPLIT;
    let width = 1_u64 << (octave - SPLIT_BITS);
    (SPLIT + index % SPLIT) as u64 * width + width / 2
}

#[cfg(all(test, not(seawall_loom)))]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answers_are_within_a_64th_of_the_sorted_list(
            mut nanos in prop::collection::vec(
                prop_oneof![1_024..1_000_000_u64, 1_024..10_000_000_000_u64, 1_024..(1_u64 << 40)], 1..300,
            ),
            quantile in 0.0..=1.0_f64,
            split in 0..300_usize,
        ) {
            let (one, two) = (LatencyQuantile::default(), LatencyQuantile::default());
            for (i, latency) in nanos.iter().enumerate() {
                (if i < split { &one } else { &two }).record(Duration::from_nanos(*latency));
            }
            one.absorb(&two);
            prop_assert_eq!(two.count(), 0);
            nanos.sort_unstable();
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let rank = ((nanos.len() as f64 * quantile).ceil() as usize).max(1);
            let truth = nanos[rank - 1];

            let answer = u64::try_from(one.quantile(quantile).unwrap().as_nanos()).unwrap();

            prop_assert!(answer.abs_diff(truth) <= truth / 64 + 1, "{} for {}", answer, truth);
            prop_assert_eq!(one.count(), nanos.len() as u64);
        }
    }

    #[test]
    fn nothing_and_the_extremes_are_answered_too() {
        let latencies = LatencyQuantile::default();
        assert_eq!(latencies.quantile(0.5), None);

        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);

        assert!(latencies.quantile(0.0).unwrap() < Duration::from_micros(2));
        assert!(latencies.quantile(f64::INFINITY).unwrap() > Duration::from_secs(1_000));
        assert!(latencies.quantile(f64::NAN).is_some());
        latencies.clear();
        assert_eq!(latencies.count(), 0);
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn a_latency_that_is_recorded_while_others_are_absorbed_is_in_one_of_the_two() {
        loom::model(|| {
            let (mine, theirs) = (LatencyQuantile::default(), Arc::new(LatencyQuantile::default()));
            theirs.record(Duration::ZERO);
            let other = Arc::clone(&theirs);
            let records = thread::spawn(move || other.record(Duration::ZERO));

            mine.absorb(&theirs);
            records.join().unwrap();

            assert_eq!(mine.count().saturating_add(theirs.count()), 2);
        });
    }
}

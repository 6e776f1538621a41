use std::{sync::OnceLock, time::Duration};

use seawall_core::{
    LatencyQuantile, Stripes,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{Sampling, Window};

/// The count of samples stands above the sum of their latencies, in one word, so that a mean is never torn.
const COUNT_SHIFT: u32 = 48;
const SUM: u64 = (1 << COUNT_SHIFT) - 1;
/// Latencies are summed in units of 16 ns: 65,535 of the longest fit below the count.
const UNIT_SHIFT: u32 = 4;
/// Longer latencies count as this, 64 s.
const LONGEST: u64 = 64_000_000_000 >> UNIT_SHIFT;
/// The squares of latencies below this, 134 ms, are summed as they are: 65,535 of them fit into a word.
const SHORT: u64 = 1 << 23;

/// The samples of one window, one stripe per core.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    stripes: Stripes<Stripe>,
    /// Samples below this, in units, are only summed: [`SHORT`], or 0 where some are left out or all are ranked.
    only_summed: AtomicU64,
    /// Calls that took less, in nanoseconds, are left out.
    least_latency: AtomicU64,
    /// The quantile that is asked for, as the bits of a float; 0 for none.
    quantile: AtomicU64,
    ranks: OnceLock<Ranks>,
}

/// What a quantile is taken of: there only where one was asked for.
#[derive(Debug, Default)]
struct Ranks {
    stripes: Stripes<LatencyQuantile>,
    /// Of all stripes, while a window is taken; empty otherwise.
    together: LatencyQuantile,
}

/// The latency that a call counts with.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) nanos: u64,
    /// It was cut: it would have taken longer.
    pub(crate) dropped: bool,
}

#[derive(Debug, Default)]
struct Stripe {
    count_and_sum: AtomicU64,
    /// The sum of the squares of short latencies.
    squares: AtomicU64,
    /// That of the others, as the bits of a float.
    long_squares: AtomicU64,
    max_in_flight: AtomicU32,
    dropped: AtomicU32,
}

impl Tally {
    pub(crate) fn new(sampling: &Sampling) -> Self {
        let tally = Self::default();
        tally.follow(sampling);
        tally
    }

    /// Samples are taken so from here on.
    pub(crate) fn follow(&self, sampling: &Sampling) {
        let least_latency = u64::try_from(sampling.least_latency().as_nanos()).unwrap_or(u64::MAX);
        let quantile = sampling.quantile().map_or(0, f64::to_bits);
        if quantile != 0 {
            self.ranks.get_or_init(Ranks::default);
        }
        self.least_latency.store(least_latency, Relaxed);
        self.quantile.store(quantile, Relaxed);
        self.only_summed.store(if quantile == 0 && least_latency == 0 { SHORT } else { 0 }, Relaxed);
    }

    #[inline]
    pub(crate) fn record(&self, sample: Sample, in_flight: u32) {
        let stripe = self.stripes.mine();
        let units = sample.nanos >> UNIT_SHIFT;
        // One comparison for whoever asks for the mean, which is nearly everybody.
        if units < self.only_summed.load(Relaxed) {
            stripe.record_short(units);
        } else if !self.record_otherwise(stripe, sample.nanos) {
            return;
        }
        stripe.raise(in_flight);
        if sample.dropped {
            stripe.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Whether it is a sample.
    #[inline(never)]
    fn record_otherwise(&self, stripe: &Stripe, nanos: u64) -> bool {
        if nanos < self.least_latency.load(Relaxed) {
            return false;
        }
        if self.quantile.load(Relaxed) != 0 {
            if let Some(ranks) = self.ranks.get() {
                ranks.stripes.mine().record(Duration::from_nanos(nanos));
            }
        }
        let units = nanos >> UNIT_SHIFT;
        if units < SHORT {
            stripe.record_short(units);
        } else {
            stripe.record_long(units.min(LONGEST) as u32);
        }
        true
    }

    /// So many calls were under way, or as good as.
    #[inline]
    pub(crate) fn note_in_flight(&self, in_flight: u32) {
        self.stripes.mine().raise(in_flight);
    }

    /// How many samples there are.
    pub(crate) fn samples(&self) -> u32 {
        self.stripes.iter().map(|stripe| count(stripe.count_and_sum.load(Relaxed))).fold(0, u32::saturating_add)
    }

    /// The window so far; the next one begins. `None` when it has no samples.
    #[expect(clippy::cast_precision_loss, reason = "sums of latencies, for a mean")]
    pub(crate) fn take(&self) -> Option<Window> {
        let (mut samples, mut sum, mut squares, mut max_in_flight, mut dropped) = (0_u32, 0.0, 0.0, 0, 0_u32);
        for stripe in self.stripes.iter() {
            let word = stripe.count_and_sum.swap(0, Relaxed);
            samples = samples.saturating_add(count(word));
            sum += (word & SUM) as f64;
            squares += stripe.squares.swap(0, Relaxed) as f64 + f64::from_bits(stripe.long_squares.swap(0, Relaxed));
            max_in_flight = max_in_flight.max(stripe.max_in_flight.swap(0, Relaxed));
            dropped = dropped.saturating_add(stripe.dropped.swap(0, Relaxed));
        }
        if samples == 0 {
            return None;
        }
        let mean = (sum / f64::from(samples)).max(f64::MIN_POSITIVE);
        let relative_variance = (squares / f64::from(samples) / (mean * mean) - 1.0).max(0.0);
        let nanos = mean * f64::from(1_u32 << UNIT_SHIFT);
        let window = Window::new(samples, nanos, relative_variance, max_in_flight).with_dropped(dropped);
        Some(Window { quantile: self.take_quantile(), ..window })
    }

    fn take_quantile(&self) -> Option<f64> {
        let ranks = self.ranks.get()?;
        ranks.stripes.iter().for_each(|stripe| ranks.together.absorb(stripe));
        let quantile = f64::from_bits(self.quantile.load(Relaxed));
        // Nothing, where it is not asked for any more, or where the samples of this window went to the one before.
        let latency = if quantile > 0.0 { ranks.together.quantile(quantile) } else { None };
        ranks.together.clear();
        latency.map(|latency| latency.as_secs_f64() * 1e9)
    }
}

impl Stripe {
    #[inline]
    fn record_short(&self, units: u64) {
        self.count_and_sum.fetch_add((1 << COUNT_SHIFT) | units, Relaxed);
        self.squares.fetch_add(units.wrapping_mul(units), Relaxed);
    }

    fn record_long(&self, units: u32) {
        self.count_and_sum.fetch_add((1 << COUNT_SHIFT) | u64::from(units), Relaxed);
        let square = f64::from(units) * f64::from(units);
        let mut seen = self.long_squares.load(Relaxed);
        while let Err(newer) =
            self.long_squares.compare_exchange_weak(seen, (f64::from_bits(seen) + square).to_bits(), Relaxed, Relaxed)
        {
            seen = newer;
        }
    }

    #[inline]
    fn raise(&self, in_flight: u32) {
        if self.max_in_flight.load(Relaxed) < in_flight {
            self.max_in_flight.fetch_max(in_flight, Relaxed);
        }
    }
}

const fn count(word: u64) -> u32 {
    (word >> COUNT_SHIFT) as u32
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    const fn answered(nanos: u64) -> Sample {
        Sample { nanos, dropped: false }
    }

    #[test]
    fn a_window_has_the_mean_and_the_spread_of_its_samples() {
        let tally = Tally::new(&Sampling::default());
        tally.record(answered(1_600), 3);
        tally.record(Sample { nanos: 4_800, dropped: true }, 2);

        assert_eq!(tally.samples(), 2);
        assert_eq!(tally.take(), Some(Window::new(2, 3_200.0, 0.25, 3).with_dropped(1)));
        assert_eq!(tally.take(), None);
    }

    #[test]
    fn short_and_long_latencies_have_one_spread() {
        let tally = Tally::new(&Sampling::default());
        for nanos in [134_000_000, 135_000_000, (SHORT - 1) << UNIT_SHIFT, SHORT << UNIT_SHIFT] {
            tally.record(answered(nanos), 1);
        }

        let window = tally.take().unwrap();

        let nanos = [134e6, 135e6, 134_217_712.0, 134_217_728.0];
        let mean = nanos.iter().sum::<f64>() / 4.0;
        let variance = nanos.iter().map(|nanos| (nanos - mean).powi(2)).sum::<f64>() / 4.0;
        assert!((window.mean / mean - 1.0).abs() < 1e-12);
        assert!((window.relative_variance / (variance / (mean * mean)) - 1.0).abs() < 1e-6, "{window:?}");
    }

    #[test]
    fn as_many_short_latencies_as_a_window_counts_do_not_overflow_their_squares() {
        let tally = Tally::new(&Sampling::default());
        for _ in 0..65_535 {
            tally.record(answered((SHORT - 1) << UNIT_SHIFT), 1);
        }

        let window = tally.take().unwrap();

        assert_eq!(window.samples, 65_535);
        assert!(window.relative_variance < 1e-9, "{window:?}");
    }

    #[test]
    fn the_longest_latencies_do_not_reach_the_count() {
        let tally = Tally::new(&Sampling::default());
        for _ in 0..1_000 {
            tally.record(answered(u64::MAX), u32::MAX);
        }

        let window = tally.take().unwrap();

        assert_eq!((window.samples, window.mean), (1_000, 64e9));
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    /// All threads of a model share one stripe.
    #[test]
    fn windows_that_are_taken_while_calls_end_hold_each_call_once_and_no_torn_mean() {
        loom::model(|| {
            let tally = Arc::new(Tally::new(&Sampling::default()));
            let other = Arc::clone(&tally);
            let records = thread::spawn(move || {
                other.record(Sample { nanos: 16, dropped: true }, 1);
            });
            tally.record(Sample { nanos: 48, dropped: false }, 2);

            let windows = [tally.take(), {
                records.join().unwrap();
                tally.take()
            }];

            let windows: Vec<_> = windows.into_iter().flatten().collect();
            let of_one = |mean: f64| windows.iter().filter(|window| (window.mean - mean).abs() < 0.1).count();
            assert!(matches!((of_one(16.0), of_one(48.0), of_one(32.0)), (1, 1, 0) | (0, 0, 1)), "{windows:?}");
            assert_eq!(windows.iter().map(|window| window.samples).sum::<u32>(), 2);
            assert_eq!(windows.iter().map(|window| window.max_in_flight).max(), Some(2));
        });
    }

    #[test]
    fn a_call_that_ends_while_a_window_is_taken_is_ranked_in_one() {
        loom::model(|| {
            let tally = Arc::new(Tally::new(&Sampling::default().with_quantile(0.5).unwrap()));
            let other = Arc::clone(&tally);
            let records = thread::spawn(move || other.record(Sample { nanos: 3_000, dropped: false }, 1));
            tally.record(Sample { nanos: 1_000, dropped: false }, 1);

            let windows = [tally.take(), {
                records.join().unwrap();
                tally.take()
            }];

            let [first, second] = windows.map(|window| window.map(|window| window.latency()));
            // The model's buckets are wide. Where the sample of the second was ranked in the first its mean stands in.
            let (quick, slow) = (|nanos: f64| nanos < 1_600.0, |nanos: f64| (2_500.0..3_100.0).contains(&nanos));
            assert!(first.is_some_and(quick) && second.is_none_or(slow), "{windows:?}");
            // One that was counted in the first and came too late to be ranked there is left to the next.
            let is_ranked = tally.ranks.get().unwrap().stripes.iter().all(|stripe| stripe.count() == 0);
            assert!(is_ranked || second.is_none(), "{windows:?}");
        });
    }

    #[test]
    fn calls_that_end_together_are_all_in_the_spread_and_in_the_most_under_way() {
        loom::model(|| {
            let tally = Arc::new(Tally::new(&Sampling::default()));
            let other = Arc::clone(&tally);
            let records = thread::spawn(move || other.record(Sample { nanos: 16, dropped: true }, 3));
            tally.record(Sample { nanos: 48, dropped: true }, 2);
            records.join().unwrap();

            assert_eq!(tally.take(), Some(Window::new(2, 32.0, 0.25, 3).with_dropped(2)));
        });
    }
}

//! Each sequence against a slow obvious one, and each jitter against the distribution that it documents.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use proptest::prelude::*;
use seawall_backoff_with_jitter::{Backoff, Jitter, Position};
use seawall_core::{Entropy, SeededEntropy};

const RUNS: u32 = 40_000;

fn ns(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn ceilings(backoff: &Backoff, count: u64) -> Vec<u64> {
    let nanos = |retry| u64::try_from(backoff.ceiling(retry).as_nanos()).expect("below 584 years");
    (0..count).map(nanos).collect()
}

proptest! {
    #[test]
    fn linear_waits_are_what_adding_again_and_again_gives(step in 1..1_u64 << 40, more in 0..1_u64 << 46) {
        let (max, mut wait, mut expected) = (step + more, 0, Vec::new());
        for _ in 0..70 {
            wait = (wait + step).min(max);
            expected.push(wait);
        }

        prop_assert_eq!(ceilings(&Backoff::linear(ns(step), ns(max)).expect("allowed"), 70), expected);
    }

    #[test]
    fn fibonacci_waits_are_what_adding_the_last_two_gives(initial in 1..1_u64 << 20, more in 0..1_u64 << 62) {
        let max = initial + more;
        let (mut last, mut wait, mut expected) = (0_u64, initial, Vec::new());
        for _ in 0..100 {
            expected.push(wait.min(max));
            (last, wait) = (wait, wait.saturating_add(last));
        }

        prop_assert_eq!(ceilings(&Backoff::fibonacci(ns(initial), ns(max)).expect("allowed"), 100), expected);
    }

    #[test]
    fn listed_waits_are_the_list_and_then_its_end(waits in prop::collection::vec(any::<u64>(), 1..20)) {
        let list: Vec<_> = waits.iter().copied().map(ns).collect();
        // The first need not be the shortest, but no wait is longer than the longest.
        let backoff = Backoff::listed(list).expect("allowed");
        let last = *waits.last().expect("not empty");
        let expected: Vec<u64> = waits.iter().copied().chain(std::iter::repeat(last)).take(40).collect();

        prop_assert_eq!(ceilings(&backoff, 40), expected);
    }

    #[test]
    fn constant_waits_are_constant(wait in any::<u64>()) {
        prop_assert_eq!(ceilings(&Backoff::constant(ns(wait)), 5), vec![wait; 5]);
    }
}

/// The waits before retry `retry`, in seconds, sorted.
fn samples(jitter: Jitter, retry: usize) -> Vec<f64> {
    let second = Duration::from_secs(1);
    let backoff =
        Backoff::exponential(second, 2.0, 1_000 * second).expect("allowed").with_jitter(jitter).expect("allowed");
    let entropy = SeededEntropy::new(11);
    let mut waits: Vec<f64> = (0..RUNS)
        .map(|_| {
            let mut position = Position::START;
            let draws: Vec<_> = (0..=retry).map(|_| backoff.next(&mut position, entropy.next_u64())).collect();
            draws[retry].as_secs_f64()
        })
        .collect();
    waits.sort_unstable_by(f64::total_cmp);
    waits
}

/// The greatest distance between the share of samples below a value and the share that should be (Kolmogorov, Smirnov).
fn distance(sorted: &[f64], below: impl Fn(f64) -> f64) -> f64 {
    let shares = (0..RUNS).map(|rank| f64::from(rank) / f64::from(RUNS));
    sorted.iter().zip(shares).map(|(wait, share)| (below(*wait) - share).abs()).fold(0.0, f64::max)
}

/// With 40,000 samples a true distribution is further off once in a million seeds.
const FAR: f64 = 0.014;

fn uniform(from: f64, to: f64) -> impl Fn(f64) -> f64 {
    move |wait| ((wait - from) / (to - from)).clamp(0.0, 1.0)
}

#[test]
fn each_jitter_is_distributed_as_documented() {
    // The ceiling before the third retry is 4 s.
    for (jitter, from, to) in
        [(Jitter::Full, 0.0, 4.0), (Jitter::Equal, 2.0, 4.0), (Jitter::Proportional(0.25), 3.0, 5.0)]
    {
        let off = distance(&samples(jitter, 2), uniform(from, to));
        assert!(off < FAR, "{jitter:?} is {off} off");
    }
    assert!(distance(&samples(Jitter::Decorrelated, 0), uniform(1.0, 3.0)) < FAR);
    assert!(distance(&samples(Jitter::None, 2), |wait| f64::from(u8::from(wait > 4.0))) <= 1.0);
    assert_eq!(samples(Jitter::None, 2)[0].to_bits(), 4.0_f64.to_bits());
}

#[test]
fn a_decorrelated_wait_is_uniform_up_to_three_times_the_last_one() {
    // Before the second retry: uniform in [1, 3p) where p is uniform in [1, 3).
    let below = |wait: f64| {
        let steps = 2_000;
        let at = |step: i32| 1.0 + 2.0 * (f64::from(step) + 0.5) / f64::from(steps);
        (0..steps).map(|step| uniform(1.0, 3.0 * at(step))(wait)).sum::<f64>() / f64::from(steps)
    };

    let off = distance(&samples(Jitter::Decorrelated, 1), below);

    assert!(off < FAR, "{off}");
}

#[test]
fn the_median_of_smooth_waits_doubles_and_they_have_no_steps() {
    let medians: Vec<f64> = (0..6).map(|retry| samples(Jitter::Smooth, retry)[RUNS as usize / 2]).collect();

    assert!((0.85..1.15).contains(&medians[0]), "{medians:?}");
    for pair in medians.windows(2).skip(1) {
        let growth = pair[1] / pair[0];
        assert!((1.75..2.05).contains(&growth), "{medians:?}");
    }
    // No value is taken by more than its share: the longest gap between neighbours is small beside the range.
    let waits = samples(Jitter::Smooth, 3);
    let range = waits[waits.len() - 1] - waits[0];
    let gap = waits.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(gap < range / 100.0, "{gap} of {range}");
}

#[test]
fn one_two_four_eight_seconds_with_full_jitter_add_seven_and_a_half_in_the_mean() {
    let entropy = SeededEntropy::new(5);
    let total: Duration = (0..RUNS).flat_map(|_| Backoff::unhurried().delays(entropy.clone()).take(4)).sum();

    let mean = total.as_secs_f64() / f64::from(RUNS);

    assert!((mean - 7.5).abs() < 0.07, "{mean}");
}

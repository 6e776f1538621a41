//! What of a window's samples the algorithms are told, against the sorted list of them.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::time::Duration;

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Class, Gate, Outcome, Timestamp};
use seawall_load_shedder::{
    Aimd, AimdConfig, Gradient2, Gradient2Config, LimitAlgorithm, LimitRange, LoadShedder, Sampling, Vegas,
    VegasConfig, Window, WindowSize,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: u64 = 1_000_000;
const SUCCESS: Outcome = Outcome::Finished(Class::Success);

/// Keeps its windows.
#[derive(Debug)]
struct Keeping {
    sampling: Sampling,
    windows: Vec<Window>,
}

impl LimitAlgorithm for Keeping {
    fn limit(&self) -> f64 {
        1_000.0
    }

    fn sampling(&self) -> Sampling {
        self.sampling
    }

    fn update(&mut self, window: &Window) {
        self.windows.push(*window);
    }
}

fn of(samples: u32) -> WindowSize {
    WindowSize { full: samples, enough: samples, at_most: SECOND }
}

fn keeping(sampling: Sampling) -> LoadShedder<Keeping> {
    LoadShedder::with_algorithm(Keeping { sampling, windows: Vec::new() })
}

/// One call after the other, each as long as said.
fn make<A: LimitAlgorithm>(shedder: &LoadShedder<A>, nanos: &[u64], outcome: Outcome) {
    let mut now = Timestamp::from_nanos(1);
    for latency in nanos {
        let Admission::Admitted(passage) = shedder.admit(CallContext::new, || now) else { continue };
        now = now.saturating_add(Duration::from_nanos(*latency));
        shedder.finish(passage, outcome, || now);
    }
}

fn windows(shedder: &LoadShedder<Keeping>) -> Vec<Window> {
    shedder.inspect(|keeping| keeping.windows.clone())
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
fn exact(nanos: &[u64], quantile: f64) -> f64 {
    let mut sorted = nanos.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() as f64 * quantile).ceil() as usize).max(1) - 1] as f64
}

proptest! {
    #[test]
    fn each_window_has_the_quantile_of_its_own_samples(
        windows_of in prop::collection::vec(
            prop::collection::vec(prop_oneof![1_024..MS, 1_024..100 * MS, 1_024..60_000 * MS], 50), 1..5,
        ),
        quantile in 0.01..0.999_f64,
    ) {
        let shedder = keeping(Sampling::default().with_quantile(quantile).unwrap().with_window(of(50)).unwrap());

        for nanos in &windows_of {
            make(&shedder, nanos, SUCCESS);
        }

        let told = windows(&shedder);
        prop_assert_eq!(told.len(), windows_of.len());
        for (window, nanos) in told.iter().zip(&windows_of) {
            let exact = exact(nanos, quantile);
            prop_assert!((window.latency() / exact - 1.0).abs() <= 1.0 / 64.0, "{} for {exact}", window.latency());
        }
    }
}

#[test]
fn without_a_quantile_the_latency_is_the_mean() {
    let shedder = keeping(Sampling::default().with_window(of(4)).unwrap());

    make(&shedder, &[MS, MS, MS, 5 * MS], SUCCESS);

    let [window] = windows(&shedder)[..] else { panic!("one window") };
    assert_eq!(window.quantile, None);
    assert!((window.latency() - 2e6).abs() < 20.0, "{window:?}");
}

#[test]
fn a_timeout_is_among_those_that_are_ranked() {
    let shedder = keeping(Sampling::default().with_quantile(0.9).unwrap().with_window(of(10)).unwrap());

    make(&shedder, &[MS; 8], SUCCESS);
    make(&shedder, &[80 * MS; 2], Outcome::TimedOut);

    let [window] = windows(&shedder)[..] else { panic!("one window") };
    assert!((window.latency() / 80e6 - 1.0).abs() < 1.0 / 64.0 && window.dropped == 2, "{window:?}");
}

#[test]
fn calls_below_the_least_latency_are_no_samples_and_no_drops() {
    let least = Duration::from_micros(100);
    let sampling = Sampling::default().with_least_latency(least).unwrap().with_window(of(2)).unwrap();
    for sampling in [sampling, sampling.with_quantile(0.5).unwrap()] {
        let shedder = keeping(sampling);

        make(&shedder, &[99_999; 100], SUCCESS);
        make(&shedder, &[99_999; 100], Outcome::TimedOut);
        make(&shedder, &[100_000, 300_000], SUCCESS);

        let [window] = windows(&shedder)[..] else { panic!("{sampling:?}") };
        assert_eq!((window.samples, window.dropped), (2, 0));
        let expected = if sampling.quantile().is_some() { 100_000.0 } else { 200_000.0 };
        assert!((window.latency() / expected - 1.0).abs() < 1.0 / 64.0, "{window:?}");
    }
}

#[test]
fn what_is_asked_for_may_change_while_calls_are_under_way() {
    let mean = Sampling::default().with_window(of(4)).unwrap();
    let median = mean.with_quantile(0.5).unwrap();
    let shedder = keeping(mean);

    let mut told = Vec::new();
    for sampling in [median, mean, median] {
        shedder.adjust(|keeping| keeping.sampling = sampling);
        make(&shedder, &[MS, MS, MS, 5 * MS], SUCCESS);
        told.extend(windows(&shedder).last().map(|window| window.quantile.is_some()));
    }

    assert_eq!(told, [true, false, true]);
}

#[test]
fn an_algorithm_in_a_box_is_asked_too() {
    let sampling = Sampling::default().with_quantile(0.99).unwrap().with_window(of(7)).unwrap();

    let boxed: Box<dyn LimitAlgorithm> = Box::new(Keeping { sampling, windows: Vec::new() });

    assert_eq!((boxed.sampling(), boxed.window_size()), (sampling, of(7)));
}

/// Nineteen quick calls and one that is a hundred times as long; and how the algorithm is asked.
fn mixed() -> [u64; 20] {
    let mut nanos = [10 * MS; 20];
    nanos[7] = 1_000 * MS;
    nanos
}

fn sampled_at(quantile: f64) -> Sampling {
    Sampling::default().with_quantile(quantile).and_then(|it| it.with_window(of(20))).expect("allowed")
}

/// What windows of mixed calls after those of quick ones do to the limit, of which half is in use all the time.
fn after_mixed<A: LimitAlgorithm>(algorithm: A) -> f64 {
    let shedder = LoadShedder::with_algorithm(algorithm);
    let now = Timestamp::from_nanos(1);
    let held: Vec<_> = (0..12).map(|_| shedder.admit(CallContext::new, || now)).collect();
    make(&shedder, &[10 * MS; 40], SUCCESS);
    let before = shedder.inspect(A::limit);
    (0..2).for_each(|_| make(&shedder, &mixed(), SUCCESS));
    assert_eq!(held.len(), 12);
    shedder.inspect(A::limit) - before
}

#[test]
fn a_limit_by_the_median_does_not_heed_what_a_limit_by_the_slowest_does() {
    let range = LimitRange::new(1, 20, 24).unwrap();
    let vegas = |quantile| Vegas::new(VegasConfig::default().with_range(range).with_sampling(sampled_at(quantile)));
    let gradient2 = |quantile| {
        let config = Gradient2Config::default().with_range(range);
        Gradient2::new(config.with_sampling(sampled_at(quantile)))
    };
    let aimd = |quantile| {
        let config = AimdConfig::default().with_range(range).with_timeout(Duration::from_millis(100)).unwrap();
        Aimd::new(config.with_sampling(sampled_at(quantile)))
    };

    for [median, slowest] in [
        [0.5, 0.99].map(|quantile| after_mixed(vegas(quantile))),
        [0.5, 0.99].map(|quantile| after_mixed(gradient2(quantile))),
        [0.5, 0.99].map(|quantile| after_mixed(aimd(quantile))),
    ] {
        assert!(median >= 0.0 && slowest < 0.0, "{median} and {slowest}");
    }
}

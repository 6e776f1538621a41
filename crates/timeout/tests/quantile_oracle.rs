//! The streaming quantile against the sorted list, and merged against one.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use proptest::prelude::*;
use seawall_timeout::LatencyQuantile;

fn latencies() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![1_024..1_000_000_u64, 1_024..10_000_000_000_u64, 1_024..(1_u64 << 40)], 1..400)
}

fn sketch(nanos: &[u64]) -> LatencyQuantile {
    let sketch = LatencyQuantile::default();
    for latency in nanos {
        sketch.record(Duration::from_nanos(*latency));
    }
    sketch
}

proptest! {
    #[test]
    fn every_quantile_is_within_a_64th_of_the_exact_one(mut nanos in latencies()) {
        let sketch = sketch(&nanos);
        nanos.sort_unstable();

        for quantile in [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0] {
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let rank = ((nanos.len() as f64 * quantile).ceil() as usize).max(1);
            let exact = Duration::from_nanos(nanos[rank - 1]);
            let answer = sketch.quantile(quantile).expect("something was counted");

            prop_assert!(answer.abs_diff(exact) <= exact / 64, "{} is {:?} for {:?}", quantile, answer, exact);
        }
    }

    #[test]
    fn merged_sketches_answer_as_one_that_saw_everything(nanos in latencies(), cut in any::<prop::sample::Index>()) {
        let (left, right) = nanos.split_at(cut.index(nanos.len()));
        let merged = sketch(left);
        merged.merge(&sketch(right));
        let other_way = sketch(right);
        other_way.merge(&sketch(left));
        let one = sketch(&nanos);

        prop_assert_eq!(merged.count(), one.count());
        for quantile in [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            prop_assert_eq!(merged.quantile(quantile), one.quantile(quantile));
            prop_assert_eq!(other_way.quantile(quantile), one.quantile(quantile));
        }
    }
}

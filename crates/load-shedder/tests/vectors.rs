//! Recorded and computed answers of others.
use std::{fs, path::PathBuf, time::Duration};

use seawall_load_shedder::{Aimd, AimdConfig, Gradient2, Gradient2Config, LimitAlgorithm, LimitRange, Window};
use serde_json::Value;

/// Runs the cases of `file` and prints how many pass.
fn run(file: &str, mut check: impl FnMut(&Value) -> bool) {
    let folder = std::env::var_os("SEAWALL_VECTORS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    let text = fs::read_to_string(folder.join(file)).expect("the file of vectors is there");
    let vectors: Value = serde_json::from_str(&text).expect("it is JSON");
    let cases = vectors["cases"].as_array().expect("it has cases");

    let good = cases.iter().filter(|case| check(case)).count();

    println!("{file} {good}/{}", cases.len());
    assert_eq!(good, cases.len());
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a whole number")
}

fn small(value: &Value) -> u32 {
    u32::try_from(number(value)).expect("a small number")
}

fn float(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "limits are small and positive")]
fn limits(mut algorithm: impl LimitAlgorithm, case: &Value) -> bool {
    let samples = case["samples"].as_array().expect("samples").iter();
    samples.zip(case["limits"].as_array().expect("limits")).all(|(sample, limit)| {
        let latency = Duration::from_nanos(number(&sample[0]));
        algorithm.update(&Window::of_one(latency, small(&sample[1]), sample[2].as_bool().expect("a flag")));
        algorithm.limit() as u64 == number(limit)
    })
}

#[test]
fn aimd_and_gradient2_move_as_recorded() {
    run("concurrency_limit.json", |case| {
        let config = &case["config"];
        let range =
            LimitRange::new(small(&config["min"]), small(&config["initial"]), small(&config["max"])).expect("in order");
        match case["algorithm"].as_str() {
            Some("aimd") => {
                let config = AimdConfig::default()
                    .with_range(range)
                    .with_backoff_ratio(float(&config["backoff_ratio"]))
                    .and_then(|aimd| aimd.with_timeout(Duration::from_nanos(number(&config["timeout_ns"]))))
                    .expect("allowed");
                limits(Aimd::new(config), case)
            }
            Some("gradient2") => {
                let config = Gradient2Config::default()
                    .with_range(range)
                    .with_smoothing(float(&config["smoothing"]))
                    .and_then(|gradient2| gradient2.with_tolerance(float(&config["rtt_tolerance"])))
                    .and_then(|gradient2| gradient2.with_long_window(small(&config["long_window"])))
                    .and_then(|gradient2| gradient2.with_queue_size(small(&config["queue_size"])))
                    .expect("allowed");
                limits(Gradient2::new(config), case)
            }
            other => unreachable!("an algorithm that is not here: {other:?}"),
        }
    });
}

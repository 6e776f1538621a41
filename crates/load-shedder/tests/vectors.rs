//! Recorded and computed answers of others.
use std::{collections::VecDeque, fs, path::PathBuf, time::Duration};

use seawall_core::Timestamp;
use seawall_load_shedder::{
    Aimd, AimdConfig, CoDel, ControlledDelay, Gradient2, Gradient2Config, LimitAlgorithm, LimitRange, ThrottleConfig,
    Waited, Window,
};
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

fn millis(value: &Value) -> Duration {
    Duration::from_millis(number(value))
}

fn nanos(value: &Value) -> Timestamp {
    Timestamp::from_nanos(number(value))
}

#[test]
fn codel_drops_when_the_rfc_says() {
    run("codel.json", |case| {
        let target = Duration::from_nanos(number(&case["target_ns"]));
        let interval = Duration::from_nanos(number(&case["interval_ns"]));
        let quiet_backlog = usize::try_from(number(&case["quiet_backlog"])).expect("small");
        let mut codel = CoDel::new(target, interval).expect("in order").with_quiet_backlog(quiet_backlog);
        let mut arrivals = case["arrivals_ns"].as_array().expect("arrivals").iter().map(nanos).enumerate().peekable();
        let mut queue = VecDeque::new();
        case["dequeues"].as_array().expect("dequeues").iter().all(|dequeue| {
            let now = nanos(&dequeue["t_ns"]);
            while let Some(arrival) = arrivals.next_if(|(_, at)| *at <= now) {
                queue.push_back(arrival);
            }
            let mut dropped = Vec::new();
            let next = || {
                let (item, since) = queue.pop_front()?;
                Some(Waited { item, since, left_behind: queue.len() })
            };
            let got = codel.pop(now, next, |item| dropped.push(item));
            Value::from(got) == dequeue["got"] && Value::from(dropped) == dequeue["dropped"]
        })
    });
}

#[test]
fn codel_drops_faster_by_the_root_of_the_count() {
    run("codel_control_law.json", |case| {
        let step = CoDel::control_law(millis(&case["interval_ms"]), small(&case["count"]));
        let wanted = float(&case["step_us"]);
        (step.as_secs_f64() * 1e6 - wanted).abs() <= 0.001 * wanted
    });
}

#[test]
fn a_request_may_wait_as_long_as_controlled_delay_says() {
    run("codel_request_queue.json", |case| {
        let mut delay =
            ControlledDelay::new(millis(&case["target_ms"]), millis(&case["interval_ms"])).expect("in order");
        let mut queued = 0_u32;
        case["events"].as_array().expect("events").iter().all(|event| {
            let now = Timestamp::ZERO.saturating_add(millis(&event["t_ms"]));
            if event["op"] == "pop" {
                queued = queued.saturating_sub(1);
                return true;
            }
            if queued == 0 {
                delay.was_empty(now);
            }
            queued = queued.saturating_add(1);
            delay.limit(now) == millis(&event["limit_ms"])
        })
    });
}

#[test]
fn a_throttle_holds_back_as_the_formula_says() {
    run("client_throttle.json", |case| {
        let config =
            ThrottleConfig::default().with_k(float(&case["k"])).expect("allowed").with_padding(small(&case["padding"]));
        let got = config.reject_probability(small(&case["requests"]), small(&case["accepts"]));
        (got - float(&case["reject_probability"])).abs() <= 1e-12
    });
}

//! How limits of concurrency move, and what a client holds back.

use std::time::Duration;

use seawall::load_shedder::{
    Aimd, AimdConfig, Gradient2, Gradient2Config, LimitAlgorithm, LimitRange, ThrottleConfig, Window,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{accepted, expect, expect_near, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "algorithm", rename_all = "lowercase")]
enum Case {
    Aimd { config: AimdSettings, samples: Vec<Sample>, limits: Vec<u64> },
    Gradient2 { config: Gradient2Settings, samples: Vec<Sample>, limits: Vec<u64> },
}

/// Latency in nanoseconds, calls in flight, whether it was dropped.
type Sample = (u64, u32, bool);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AimdSettings {
    initial: u32,
    min: u32,
    max: u32,
    backoff_ratio: f64,
    timeout_ns: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gradient2Settings {
    initial: u32,
    min: u32,
    max: u32,
    smoothing: f64,
    queue_size: u32,
    rtt_tolerance: f64,
    long_window: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThrottleCase {
    requests: u32,
    accepts: u32,
    k: f64,
    padding: u32,
    reject_probability: f64,
}

fn moves(mut algorithm: impl LimitAlgorithm, samples: &[Sample], limits: &[u64]) -> Result<(), String> {
    expect("limits, one for each sample", &samples.len(), &limits.len())?;
    for (number, ((latency, in_flight, dropped), limit)) in (0_u32..).zip(samples.iter().zip(limits)) {
        algorithm.update(&Window::of_one(Duration::from_nanos(*latency), *in_flight, *dropped));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "limits are small and positive")]
        let ours = algorithm.limit() as u64;
        expect(&format!("limit after sample {number}"), &ours, limit)?;
    }
    Ok(())
}

pub(crate) fn concurrency(case: &Value) -> Result<(), String> {
    match parse(case)? {
        Case::Aimd { config, samples, limits } => {
            let range = accepted(LimitRange::new(config.min, config.initial, config.max))?;
            let aimd = AimdConfig::default().with_range(range).with_backoff_ratio(config.backoff_ratio);
            let aimd = aimd.and_then(|aimd| aimd.with_timeout(Duration::from_nanos(config.timeout_ns)));
            moves(Aimd::new(accepted(aimd)?), &samples, &limits)
        }
        Case::Gradient2 { config, samples, limits } => {
            let range = accepted(LimitRange::new(config.min, config.initial, config.max))?;
            let gradient2 = Gradient2Config::default()
                .with_range(range)
                .with_smoothing(config.smoothing)
                .and_then(|gradient2| gradient2.with_tolerance(config.rtt_tolerance))
                .and_then(|gradient2| gradient2.with_long_window(config.long_window))
                .and_then(|gradient2| gradient2.with_queue_size(config.queue_size));
            moves(Gradient2::new(accepted(gradient2)?), &samples, &limits)
        }
    }
}

pub(crate) fn client_throttle(case: &Value) -> Result<(), String> {
    let case: ThrottleCase = parse(case)?;
    let config = accepted(ThrottleConfig::default().with_k(case.k))?.with_padding(case.padding);
    let ours = config.reject_probability(case.requests, case.accepts);
    expect_near("reject_probability", ours, case.reject_probability, 1e-12)
}

//! Endpoints whose success rate is an outlier among those of their peers.

use std::time::Duration;

use seawall::circuit_breaker::{Breaker, BreakerConfig, Class, Outcome, Peers, Timestamp, Window};
use serde::Deserialize;
use serde_json::Value;

use crate::{accepted, expect, expect_near, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    max_ejection_percent: usize,
    success_rate: SuccessRate,
    failure_percentage: Option<Value>,
    hosts: Vec<Host>,
    #[serde(deserialize_with = "Option::deserialize")]
    mean: Option<f64>,
    #[serde(deserialize_with = "Option::deserialize")]
    stdev: Option<f64>,
    #[serde(deserialize_with = "Option::deserialize")]
    threshold: Option<f64>,
    newly_ejected: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuccessRate {
    stdev_factor: u32,
    enforcement_percentage: u32,
    minimum_hosts: u32,
    request_volume: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    success: u32,
    failure: u32,
    #[serde(default)]
    ejected: bool,
}

const TOLERANCE: f64 = 1e-9;
const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// Whether a case is about the success rate, which is the rule that breakers have. The other one, over the share of failures
/// of one host alone, is a threshold that is exceeded, where a breaker's is reached.
pub(crate) fn is_about_peers(case: &Value) -> bool {
    !case["success_rate"].is_null()
}

fn peers(rule: &SuccessRate, factor: f64) -> Result<Peers, String> {
    let peers = accepted(Peers::by_deviations(factor))?;
    Ok(peers.with_min_peers(rule.minimum_hosts).with_min_calls(rule.request_volume))
}

/// Breakers that only their peers open, with the calls of the case in their windows.
fn breakers(case: &Case, peers: &Peers) -> Result<Vec<Breaker>, String> {
    let config = BreakerConfig::builder().no_failure_ratio().peers(peers.clone());
    let config = accepted(config.window(Window::Time(Duration::from_secs(60))).build())?;
    let filled = |success: u32, failure: u32| {
        let breaker = Breaker::from(config.clone());
        for call in 0..success.saturating_add(failure) {
            let class = if call < failure { Class::Failure } else { Class::Success };
            if let Ok(ticket) = breaker.try_admit(NOW) {
                breaker.record(ticket, Outcome::Finished(class), Duration::ZERO, NOW);
            }
        }
        breaker
    };
    // Peers are compared once a second at most: now, while there is only one that fails, so that no other opens while it is
    // filled.
    drop(filled(0, case.success_rate.request_volume.max(1)));
    Ok(case.hosts.iter().map(|host| filled(host.success, host.failure)).collect())
}

fn compare(what: &str, ours: Option<f64>, recorded: Option<f64>) -> Result<(), String> {
    match (ours, recorded) {
        (Some(ours), Some(recorded)) => expect_near(what, ours, recorded, TOLERANCE),
        _ => expect(what, &ours, &recorded),
    }
}

pub(crate) fn success_rate(case: &Value) -> Result<(), String> {
    let case: Case = parse(case)?;
    let factor = f64::from(case.success_rate.stdev_factor) / 1_000.0;
    let threshold_at = |factor| -> Result<Option<f64>, String> {
        let peers = peers(&case.success_rate, factor)?;
        let _breakers = breakers(&case, &peers)?;
        Ok(peers.threshold(NOW))
    };

    let mean = threshold_at(0.0)?;
    compare("mean", mean, case.mean)?;
    let stdev = mean.zip(threshold_at(1.0)?).map(|(mean, below)| mean - below);
    compare("stdev", stdev, case.stdev)?;
    let threshold = threshold_at(factor)?;
    compare("threshold", threshold, case.threshold)?;
    ejected(&case, threshold)
}

/// Who is an outlier, where the case has nothing else to say on it: breakers have no other rule, chance or ceiling.
fn ejected(case: &Case, threshold: Option<f64>) -> Result<(), String> {
    let most = case.hosts.len().saturating_mul(case.max_ejection_percent) / 100;
    let only_peers = case.failure_percentage.is_none() && case.success_rate.enforcement_percentage == 100;
    if !only_peers || case.newly_ejected.len() >= most || case.hosts.iter().any(|host| host.ejected) {
        return Ok(());
    }
    let is_outlier = |host: &Host| {
        let calls = host.success.saturating_add(host.failure);
        let enough = calls > 0 && calls >= case.success_rate.request_volume;
        enough && threshold.is_some_and(|threshold| f64::from(host.success) / f64::from(calls) < threshold)
    };
    let outliers: Vec<usize> =
        (0..).zip(&case.hosts).filter(|(_, host)| is_outlier(host)).map(|(index, _)| index).collect();
    expect("newly_ejected", &outliers, &case.newly_ejected)
}

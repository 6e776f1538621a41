//! A caller that sends three times what its API key may, to the two gateways, and one beside it that does not.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::{Router, body::Body, routing::any};
use http::{Request, Response, StatusCode, header};
use tokio::{sync::watch, time::MissedTickBehavior};
use tower::ServiceExt as _;

use super::Claims;
use crate::config::ApiKeys;
use crate::link::{Ending, Instance, InstanceOptions, Reporter, Role, Topology};
use crate::services::limits::{API_KEY, Limits};
use crate::verify::{report::Finding, web::Stopwatch};

/// Requests per second of a key, and at once.
const RATE: u32 = 200;
/// The two callers, each of which is its own key.
const KEYS: [&str; 2] = ["busy", "calm"];
const TICK: Duration = Duration::from_millis(10);
/// Two seconds.
const TICKS: u32 = 200;
/// Three times the quota.
const PER_TICK: u32 = 6;
/// The other caller sends a tenth of the quota.
const OTHER_EVERY: u32 = 5;
/// What is admitted may differ so much from the quota: a busy machine sends late.
const WITHIN: f64 = 0.05;

pub(super) const CLAIMS: Claims<Limited> = &[("golden-signals.traffic.auto-remediation", held_to_its_quota)];

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limited {
    sent: u32,
    admitted: u32,
    /// Refusals that were not 429 with `Retry-After`.
    ill_refused: u32,
    other_sent: u32,
    other_refused: u32,
    took: Duration,
}

/// Sends to two gateways' limits, which have no Redis: each holds half of the quota.
pub(super) async fn observe() -> anyhow::Result<Limited> {
    let gateways = [gateway(1)?, gateway(2)?];
    let (mut seen, watch) = (Limited::default(), Stopwatch::start());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for tick in 0..TICKS {
        ticks.tick().await;
        for (_, gateway) in (0..PER_TICK).zip(gateways.iter().cycle()) {
            let answer = ask(gateway, KEYS[0]).await?;
            seen.sent = seen.sent.saturating_add(1);
            if answer.status() == StatusCode::OK {
                seen.admitted = seen.admitted.saturating_add(1);
            } else if answer.status() != StatusCode::TOO_MANY_REQUESTS
                || !answer.headers().contains_key(header::RETRY_AFTER)
            {
                seen.ill_refused = seen.ill_refused.saturating_add(1);
            }
        }
        if tick % OTHER_EVERY == 0 {
            seen.other_sent = seen.other_sent.saturating_add(1);
            let refused = ask(&gateways[0], KEYS[1]).await?.status() != StatusCode::OK;
            seen.other_refused = seen.other_refused.saturating_add(u32::from(refused));
        }
    }
    seen.took = watch.elapsed();
    Ok(seen)
}

/// A gateway's limits before a route that answers everything.
fn gateway(number: u32) -> anyhow::Result<Router> {
    let (report, _said) = Reporter::new();
    let instance = Instance {
        role: Role::Gateway,
        number,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        capacity: f64::from(RATE),
        options: InstanceOptions {
            api_rate: RATE,
            api_keys: ApiKeys::of(KEYS.map(|key| (key, key))),
            ..InstanceOptions::default()
        },
        topology: watch::channel(Topology::default()).1,
        faults: watch::channel(Vec::new()).1,
        ending: watch::channel(Ending::NotYet).1,
        report,
    };
    Limits::new(&instance)?.before(Router::new().fallback(any(async || "served")))
}

async fn ask(gateway: &Router, key: &str) -> anyhow::Result<Response<Body>> {
    let request = Request::get("/").header(API_KEY, key).body(Body::empty())?;
    let Ok(answer) = gateway.clone().oneshot(request).await;
    Ok(answer)
}

fn held_to_its_quota(seen: &Limited) -> Finding {
    let quota = f64::from(RATE) * seen.took.as_secs_f64() + f64::from(RATE);
    let ratio = f64::from(seen.admitted) / quota;
    let well = seen.ill_refused == 0 && seen.other_sent > 0 && seen.other_refused == 0;
    Finding::judged(
        well && (ratio - 1.0).abs() <= WITHIN,
        format!(
            "{ratio:.3} of its quota admitted, {} of {} of another key refused",
            seen.other_refused, seen.other_sent
        ),
        format!(
            "always on, so there is nothing to enable: of {} requests of one API key, three times its quota, to both \
             gateways, {} were served, the others got 429 and Retry-After",
            seen.sent, seen.admitted
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    const GOOD: Limited = Limited {
        sent: 1_200,
        admitted: 600,
        ill_refused: 0,
        other_sent: 40,
        other_refused: 0,
        took: Duration::from_secs(2),
    };

    #[test]
    fn a_caller_that_gets_more_or_less_than_its_quota_is_not_held_to_it() {
        for (admitted, verdict) in
            [(560, Verdict::NotMet), (571, Verdict::Met), (629, Verdict::Met), (640, Verdict::NotMet)]
        {
            assert_eq!(held_to_its_quota(&Limited { admitted, ..GOOD }).verdict, verdict, "{admitted}");
        }
    }

    #[test]
    fn a_refusal_without_a_wait_or_of_somebody_else_is_none_that_counts() {
        for seen in [
            Limited { ill_refused: 1, ..GOOD },
            Limited { other_refused: 1, ..GOOD },
            Limited { other_sent: 0, ..GOOD },
        ] {
            assert_eq!(held_to_its_quota(&seen).verdict, Verdict::NotMet, "{seen:?}");
        }
    }
}

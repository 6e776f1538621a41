//! The same request over HTTP with and without a circuit breaker, in turn.

use std::time::Duration;

use axum::{Router, routing::get};
use seawall::circuit_breaker::{BreakerConfig, CircuitBreakerLayer, Error};
use tokio::net::TcpListener;

use super::{
    Claims,
    quantile::{microseconds, quantile},
};
use crate::verify::{report::Finding, web::Web};

/// Pairs of requests: in turn, so that whatever else the machine does meets both alike.
const PAIRS: usize = 3_000;

/// The document's share.
const COST: f64 = 0.05;

pub(super) const CLAIMS: Claims<BreakerCost> = &[("resilience-patterns.circuit-breaker.cost-impact", cost)];

/// How long each request took.
#[derive(Debug, Default)]
pub(super) struct BreakerCost {
    bare: Vec<Duration>,
    protected: Vec<Duration>,
}

/// Asks a server of our own that answers at once: the breaker's share of anything slower is smaller.
pub(super) async fn observe() -> anyhow::Result<BreakerCost> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let server = tokio::spawn(axum::serve(listener, Router::new().route("/", get(async || "ok"))).into_future());
    let web = Web::new();
    let breaker = CircuitBreakerLayer::new(BreakerConfig::default());
    let mut seen = BreakerCost::default();
    for _ in 0..PAIRS {
        seen.bare.push(web.get(&url).await?.took);
        let protected = breaker.run(web.get(&url)).await.map_err(|error| match error {
            Error::Inner(error) => error,
            Error::Rejected(rejection) => rejection.into(),
        });
        seen.protected.push(protected?.took);
    }
    server.abort();
    Ok(seen)
}

fn cost(seen: &BreakerCost) -> Finding {
    let median = |took: &[Duration]| quantile(took.iter().copied(), 0.5);
    let (Some(bare), Some(protected)) = (median(&seen.bare), median(&seen.protected)) else {
        return Finding::unobserved("no request was answered");
    };
    let more = protected.as_secs_f64() / bare.as_secs_f64().max(f64::MIN_POSITIVE) - 1.0;
    Finding::judged(
        more <= COST,
        format!("{:+.1}%: median {} with, {} without", more * 100.0, microseconds(protected), microseconds(bare)),
        format!("{} requests each over loopback HTTP to a server that answers at once, in turn", seen.bare.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[test]
    fn six_percent_more_is_too_much_and_less_is_not() {
        let seen = |protected| BreakerCost {
            bare: vec![Duration::from_micros(100)],
            protected: vec![Duration::from_micros(protected)],
        };

        assert_eq!(cost(&seen(106)).verdict, Verdict::NotMet);
        assert_eq!(cost(&seen(104)).verdict, Verdict::Met);
        assert_eq!(cost(&seen(90)).measured, "-10.0%: median 90.0 µs with, 100.0 µs without");
        assert_eq!(cost(&BreakerCost::default()).verdict, Verdict::NotMet);
    }
}

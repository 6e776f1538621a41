//! The same request over HTTP with and without a circuit breaker, in turn; and of the same requests the time inside of it and
//! around it.

use std::time::Duration;

use axum::{Router, routing::get};
use seawall::circuit_breaker::{BreakerConfig, CircuitBreakerLayer, Error};
use tokio::net::TcpListener;

use super::{
    Claims,
    quantile::{microseconds, quantile},
};
use crate::verify::{
    report::Finding,
    web::{Stopwatch, Web},
};

/// Pairs of requests: in turn, so that whatever else the machine does meets both alike.
const PAIRS: usize = 200;

/// Rounds of so many pairs, of which the median counts. What makes two requests of a round its slowest is chance, and not
/// the same for both kinds; so what the breaker adds to those is told by the same requests, inside of it and around it.
const ROUNDS: usize = 25;

/// The document's share.
const COST: f64 = 0.05;

pub(super) const CLAIMS: Claims<BreakerCost> = &[("resilience-patterns.circuit-breaker.cost-impact", cost)];

/// How long each request took.
#[derive(Debug, Default)]
pub(super) struct BreakerCost(Vec<Round>);

#[derive(Debug, Default)]
struct Round {
    bare: Vec<Duration>,
    protected: Vec<Duration>,
    /// Of the protected ones, from the inner call to its answer.
    inside: Vec<Duration>,
}

/// Asks a server of our own that answers at once: the breaker's share of anything slower is smaller.
pub(super) async fn observe() -> anyhow::Result<BreakerCost> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let server = tokio::spawn(axum::serve(listener, Router::new().route("/", get(async || "ok"))).into_future());
    let web = Web::new();
    let breaker = CircuitBreakerLayer::new(BreakerConfig::default());
    let mut seen = BreakerCost::default();
    for _ in 0..ROUNDS {
        let mut round = Round::default();
        for _ in 0..PAIRS {
            round.bare.push(web.get(&url).await?.took);
            let watch = Stopwatch::start();
            let protected = breaker.run(web.get(&url)).await.map_err(|error| match error {
                Error::Inner(error) => error,
                Error::Rejected(rejection) => rejection.into(),
            });
            round.inside.push(protected?.took);
            round.protected.push(watch.elapsed());
        }
        seen.0.push(round);
    }
    server.abort();
    Ok(seen)
}

/// What a round took without the breaker.
type Without = fn(&Round) -> &Vec<Duration>;

/// The median of what the rounds' quantiles grew by, and that quantile without and with the breaker.
fn growth(BreakerCost(rounds): &BreakerCost, share: f64, without: Without) -> Option<(f64, Duration, Duration)> {
    let of = |took: &[Duration]| quantile(took.iter().copied(), share);
    let mut ratios: Vec<f64> = rounds
        .iter()
        .filter_map(|round| Some(of(&round.protected)?.as_secs_f64() / of(without(round))?.as_secs_f64()))
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let median = ratios.get(ratios.len().checked_div(2)?)?;
    let all = |pick: Without| quantile(rounds.iter().flat_map(pick).copied(), share);
    Some((median - 1.0, all(without)?, all(|round| &round.protected)?))
}

fn cost(seen: &BreakerCost) -> Finding {
    let (Some(median), Some(p99)) = (growth(seen, 0.5, |round| &round.bare), growth(seen, 0.99, |round| &round.inside))
    else {
        return Finding::unobserved("no request was answered");
    };
    let text = |name: &str, (more, bare, protected): (f64, Duration, Duration)| {
        format!("{name} {:+.1}% ({} with, {} without)", more * 100.0, microseconds(protected), microseconds(bare))
    };
    Finding::judged(
        median.0 <= COST && p99.0 <= COST,
        format!("{}, {}", text("median", median), text("p99", p99)),
        format!(
            "{} rounds of {PAIRS} requests each over loopback HTTP to a server that answers at once, in turn; the median of \
             the rounds; p99 of the same requests, inside the breaker and around it",
            seen.0.len()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    fn round(bare: u64, protected: u64) -> Round {
        let micros = |micros| vec![Duration::from_micros(micros)];
        Round { bare: micros(bare), protected: micros(protected), inside: micros(protected.saturating_sub(1)) }
    }

    #[test]
    fn six_percent_more_is_too_much_and_less_is_not() {
        let seen = |protected| BreakerCost(vec![round(100, protected)]);

        assert_eq!(cost(&seen(106)).verdict, Verdict::NotMet);
        assert_eq!(cost(&seen(104)).verdict, Verdict::Met);
        assert_eq!(
            cost(&seen(90)).measured,
            "median -10.0% (90.0 µs with, 100.0 µs without), p99 +1.1% (90.0 µs with, 89.0 µs without)"
        );
        assert_eq!(cost(&BreakerCost::default()).verdict, Verdict::NotMet);
    }

    #[test]
    fn what_the_breaker_adds_to_the_slowest_requests_is_told_by_these_themselves() {
        let slow = |inside| {
            let micros = |micros| vec![Duration::from_micros(micros)];
            BreakerCost(vec![Round { bare: micros(1_000), protected: micros(1_000), inside: micros(inside) }])
        };

        assert_eq!(cost(&slow(960)).verdict, Verdict::Met);
        assert_eq!(cost(&slow(940)).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_round_that_was_disturbed_does_not_decide() {
        let seen = BreakerCost(vec![round(100, 101), round(100, 500), round(100, 102)]);

        assert_eq!(cost(&seen).verdict, Verdict::Met);
    }
}

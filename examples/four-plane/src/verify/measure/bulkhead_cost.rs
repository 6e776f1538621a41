//! The same requests over HTTP with and without a bulkhead, in turn: processor time and memory at equal goodput.

use axum::{Router, routing::get};
use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    Claims,
    resources::{Round, Rounds, begin},
};
use crate::verify::{report::Finding, web::Web};

/// Pairs of rounds: in turn, so that whatever else the machine does meets both alike.
const PAIRS: usize = 15;

/// Callers at once, and as many places: nobody is refused, so that both serve the same.
const CALLERS: usize = 16;

/// Requests of one caller in one round.
const REQUESTS: usize = 20;

/// The document's share.
const COST: f64 = 0.20;

pub(super) const CLAIMS: Claims<BulkheadCost> = &[("resilience-patterns.bulkhead-isolation.cost-impact", cost)];

/// What all rounds took.
#[derive(Debug, Default)]
pub(super) struct BulkheadCost(Rounds);

/// Asks a server of our own that answers at once: the bulkhead's share of anything dearer is smaller.
pub(super) async fn observe() -> anyhow::Result<BulkheadCost> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let server = tokio::spawn(axum::serve(listener, Router::new().route("/", get(async || "ok"))).into_future());
    let (web, bulkhead) = (Web::new(), BulkheadLayer::new(BulkheadConfig::new(CALLERS)?));
    // Connections are made, buffers and tables are there.
    round(&web, &url, None).await?;
    let mut rounds = Rounds::default();
    for _ in 0..PAIRS {
        rounds.without.push(round(&web, &url, None).await?);
        rounds.with.push(round(&web, &url, Some(&bulkhead)).await?);
    }
    server.abort();
    Ok(BulkheadCost(rounds))
}

async fn round(web: &Web, url: &str, bulkhead: Option<&BulkheadLayer>) -> anyhow::Result<Round> {
    let begun = begin()?;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (web, url, bulkhead) = (web.clone(), url.to_owned(), bulkhead.cloned());
        callers.spawn(async move {
            let mut answered = 0_usize;
            for _ in 0..REQUESTS {
                let served = match &bulkhead {
                    None => web.get(&url).await.is_ok(),
                    Some(bulkhead) => bulkhead.run(web.get(&url)).await.is_ok(),
                };
                answered = answered.saturating_add(usize::from(served));
            }
            answered
        });
    }
    begun.end(callers.join_all().await.into_iter().sum())
}

fn cost(BulkheadCost(rounds): &BulkheadCost) -> Finding {
    let growth = match rounds.growth("a bulkhead") {
        Ok(growth) => growth,
        Err(why) => return Finding::unobserved(why),
    };
    Finding::judged(
        growth.processor.max(growth.memory) <= COST,
        growth.to_string(),
        format!(
            "{} requests answered each over loopback HTTP by a server that answers at once, {CALLERS} at once, \
             medians of {PAIRS} rounds in turn; client and server together",
            growth.answered
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[test]
    fn more_than_a_fifth_of_either_is_too_much_and_less_is_not() {
        let judged = |processor, pages| cost(&BulkheadCost(Rounds::scripted((100, 1_000, 9), (processor, pages, 9))));

        assert_eq!(judged(121, 1_000).verdict, Verdict::NotMet);
        assert_eq!(judged(100, 1_210).verdict, Verdict::NotMet);
        assert_eq!(judged(119, 1_190).measured, "processor time +19.0%, memory +19.0%");
        assert_eq!(judged(119, 1_190).verdict, Verdict::Met);
        assert_eq!(cost(&BulkheadCost::default()).verdict, Verdict::NotMet);
    }
}

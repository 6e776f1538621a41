//! The same requests over HTTP over pooled connections and over one that is made for each, in turn: processor time and
//! memory at equal goodput.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::Request;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    Claims,
    resources::{Growth, Round, Rounds, begin},
};
use crate::{services::client::Client, verify::report::Finding};

/// Pairs of rounds: in turn, so that whatever else the machine does meets both alike.
const PAIRS: usize = 15;

/// Callers at once.
const CALLERS: usize = 16;

/// Requests of one caller in one round.
const REQUESTS: usize = 20;

/// The document's share.
const MEMORY: f64 = 0.10;

pub(super) const CLAIMS: Claims<PoolCost> = &[
    ("resilience-patterns.connection-pooling.cost-impact", memory),
    ("database-performance.connection-reuse.cost-impact", memory),
    ("database-performance.connection-pooling.cost-impact", nothing),
];

/// What all rounds took, without a pool and with one.
#[derive(Debug, Default)]
pub(super) struct PoolCost(Rounds);

/// Asks a server of our own that answers at once.
pub(super) async fn observe() -> anyhow::Result<PoolCost> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(axum::serve(listener, Router::new().route("/", get(async || "ok"))).into_future());
    let pooled = Client::default();
    // Buffers and tables are there.
    round(address, None).await?;
    let mut rounds = Rounds::default();
    for _ in 0..PAIRS {
        rounds.without.push(round(address, None).await?);
        rounds.with.push(round(address, Some(&pooled)).await?);
    }
    server.abort();
    Ok(PoolCost(rounds))
}

async fn round(address: SocketAddr, pooled: Option<&Client>) -> anyhow::Result<Round> {
    let begun = begin()?;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let pooled = pooled.cloned();
        callers.spawn(async move {
            let mut answered = 0_usize;
            for _ in 0..REQUESTS {
                // A pool of its own holds no connection yet, and is gone with the one that it makes.
                let client = pooled.clone().unwrap_or_default();
                let request = Request::get("/").body(Bytes::new())?;
                answered = answered.saturating_add(usize::from(client.send(address, request).await.is_ok()));
            }
            anyhow::Ok(answered)
        });
    }
    let mut answered = 0_usize;
    while let Some(caller) = callers.join_next().await {
        answered = answered.saturating_add(caller??);
    }
    begun.end(answered)
}

fn compared(PoolCost(rounds): &PoolCost, judge: impl FnOnce(Growth) -> Finding) -> Finding {
    rounds.growth("a pool").map_or_else(Finding::unobserved, judge)
}

fn found(met: bool, growth: Growth) -> Finding {
    Finding::judged(
        met,
        growth.to_string(),
        format!(
            "{} requests answered each over loopback HTTP, {CALLERS} at once, over pooled connections and over one for \
             each request, medians of {PAIRS} rounds in turn; client and server together",
            growth.answered
        ),
    )
}

fn memory(cost: &PoolCost) -> Finding {
    compared(cost, |growth| found(growth.memory <= MEMORY, growth))
}

/// It saves more processor time than it takes.
fn nothing(cost: &PoolCost) -> Finding {
    compared(cost, |growth| found(growth.processor <= 0.0 && growth.memory <= MEMORY, growth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    fn cost(processor: u64, resident_pages: u64) -> PoolCost {
        PoolCost(Rounds::scripted((100, 1_000, 9), (processor, resident_pages, 9)))
    }

    #[test]
    fn more_than_a_tenth_of_the_memory_is_too_much_and_less_is_not() {
        assert_eq!(memory(&cost(50, 1_101)).verdict, Verdict::NotMet);
        assert_eq!(memory(&cost(50, 1_099)).verdict, Verdict::Met);
        assert_eq!(memory(&cost(50, 1_099)).measured, "processor time -50.0%, memory +9.9%");
        assert_eq!(memory(&PoolCost::default()).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_pool_that_takes_processor_time_is_not_for_nothing() {
        assert_eq!(nothing(&cost(99, 1_000)).verdict, Verdict::Met);
        assert_eq!(nothing(&cost(101, 1_000)).verdict, Verdict::NotMet);
    }
}

//! The same requests over HTTP with and without a bulkhead, in turn: processor time and memory at equal goodput.

use std::{fs, time::Duration};

use anyhow::Context as _;
use axum::{Router, routing::get};
use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};
use tokio::{net::TcpListener, task::JoinSet};

use super::{Claims, quantile::quantile};
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

/// What one round took.
#[derive(Debug, Clone, Copy)]
struct Round {
    processor: Duration,
    resident_pages: u64,
    answered: usize,
}

/// What all rounds took.
#[derive(Debug, Default)]
pub(super) struct BulkheadCost {
    bare: Vec<Round>,
    protected: Vec<Round>,
}

/// Asks a server of our own that answers at once: the bulkhead's share of anything dearer is smaller.
pub(super) async fn observe() -> anyhow::Result<BulkheadCost> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let server = tokio::spawn(axum::serve(listener, Router::new().route("/", get(async || "ok"))).into_future());
    let (web, bulkhead) = (Web::new(), BulkheadLayer::new(BulkheadConfig::new(CALLERS)?));
    // Connections are made, buffers and tables are there.
    round(&web, &url, None).await?;
    let mut seen = BulkheadCost::default();
    for _ in 0..PAIRS {
        seen.bare.push(round(&web, &url, None).await?);
        seen.protected.push(round(&web, &url, Some(&bulkhead)).await?);
    }
    server.abort();
    Ok(seen)
}

async fn round(web: &Web, url: &str, bulkhead: Option<&BulkheadLayer>) -> anyhow::Result<Round> {
    let before = processor_time()?;
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
    let answered = callers.join_all().await.into_iter().sum();
    Ok(Round { processor: processor_time()?.saturating_sub(before), resident_pages: resident_pages()?, answered })
}

/// Time that the threads of this process have been on a processor: those that ended in between are left out, and in a
/// runtime none does.
fn processor_time() -> anyhow::Result<Duration> {
    let mut nanos = 0_u64;
    for thread in fs::read_dir("/proc/self/task")? {
        // A thread may end while it is looked at.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanos = nanos.saturating_add(first_number(&text, 0).context("schedstat has no time")?);
    }
    anyhow::ensure!(nanos > 0, "the kernel keeps no time of threads");
    Ok(Duration::from_nanos(nanos))
}

fn resident_pages() -> anyhow::Result<u64> {
    first_number(&fs::read_to_string("/proc/self/statm")?, 1).context("statm has no resident pages")
}

fn first_number(text: &str, index: usize) -> Option<u64> {
    text.split_whitespace().nth(index)?.parse().ok()
}

fn cost(seen: &BulkheadCost) -> Finding {
    let answered = |rounds: &[Round]| rounds.iter().map(|round| round.answered).sum::<usize>();
    let (bare, protected) = (answered(&seen.bare), answered(&seen.protected));
    if bare == 0 || bare != protected {
        return Finding::unobserved(format!("{protected} requests answered with a bulkhead, {bare} without"));
    }
    let median = |rounds: &[Round], of: fn(&Round) -> Duration| quantile(rounds.iter().map(of), 0.5);
    let more = |of: fn(&Round) -> Duration| {
        let (bare, protected) = (median(&seen.bare, of)?, median(&seen.protected, of)?);
        Some(protected.as_secs_f64() / bare.as_secs_f64().max(f64::MIN_POSITIVE) - 1.0)
    };
    let memory = more(|round| Duration::from_nanos(round.resident_pages));
    let (Some(processor), Some(memory)) = (more(|round| round.processor), memory) else {
        return Finding::unobserved("no round was made");
    };
    Finding::judged(
        processor.max(memory) <= COST,
        format!("processor time {:+.1}%, memory {:+.1}%", processor * 100.0, memory * 100.0),
        format!(
            "{bare} requests answered each over loopback HTTP by a server that answers at once, {CALLERS} at once, \
             medians of {} rounds in turn; client and server together",
            seen.bare.len()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    fn rounds(processor: u64, resident_pages: u64, answered: usize) -> Vec<Round> {
        vec![Round { processor: Duration::from_millis(processor), resident_pages, answered }; 3]
    }

    #[test]
    fn more_than_a_fifth_of_either_is_too_much_and_less_is_not() {
        let judged = |processor, pages| {
            cost(&BulkheadCost { bare: rounds(100, 1_000, 9), protected: rounds(processor, pages, 9) })
        };

        assert_eq!(judged(121, 1_000).verdict, Verdict::NotMet);
        assert_eq!(judged(100, 1_210).verdict, Verdict::NotMet);
        assert_eq!(judged(119, 1_190).measured, "processor time +19.0%, memory +19.0%");
        assert_eq!(judged(119, 1_190).verdict, Verdict::Met);
    }

    #[test]
    fn it_is_compared_at_equal_goodput_only() {
        let seen = BulkheadCost { bare: rounds(100, 1_000, 9), protected: rounds(100, 1_000, 8) };

        assert_eq!(cost(&seen).verdict, Verdict::NotMet);
        assert_eq!(cost(&BulkheadCost::default()).verdict, Verdict::NotMet);
    }

    #[test]
    fn this_process_has_used_processor_time_and_memory() {
        assert!(processor_time().unwrap() > Duration::ZERO);
        assert!(resident_pages().unwrap() > 0);
    }
}

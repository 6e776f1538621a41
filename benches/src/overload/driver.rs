//! The driver: sends when a request is due, whatever became of those before.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use seawall::core::{Clock, Entropy, MonotonicClock, SeededEntropy, unit_interval};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

/// After this its caller has left.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer that comes later is of no use.
const IN_TIME: Duration = Duration::from_millis(250);
/// Not counted: limits find their place, connections are made.
const SETTLE: Duration = Duration::from_secs(3);
/// Requests under way while the capacity is measured.
const CLOSED_LOOP: usize = 8;
/// Requests under way at most, so that file descriptors last.
const MOST: usize = 8_000;

type Http = Client<HttpConnector, Empty<Bytes>>;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Answered,
    Refused,
    Failed,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    ending: Ending,
    due: Duration,
    took: Duration,
}

/// What a load came to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// Requests per second that were sent.
    pub offered: f64,
    /// Answers in time per second.
    pub goodput: f64,
    /// Of the answers.
    pub p50: Option<Duration>,
    /// Of the answers.
    pub p99: Option<Duration>,
    /// Requests that were refused.
    pub refused: usize,
    /// How long half of the refusals took at most.
    pub refused_p50: Option<Duration>,
    /// Requests that nobody answered in time, or at all.
    pub failed: usize,
}

impl Outcome {
    /// As a row, beside what the server can do and its p99 when it has little to do.
    pub fn json(&self, protection: &str, multiple: f64, capacity: f64, unloaded: Option<Duration>) -> Value {
        let millis = |time: Option<Duration>| time.map(|time| (time.as_secs_f64() * 1e5).round() / 100.0);
        let over = self.p99.zip(unloaded).map(|(p99, unloaded)| p99.as_secs_f64() / unloaded.as_secs_f64());
        json!({
            "protection": protection,
            "multiple": multiple,
            "offered_rps": self.offered.round(),
            "goodput_rps": self.goodput.round(),
            "goodput_of_capacity": (self.goodput / capacity * 1000.0).round() / 1000.0,
            "p50_ms": millis(self.p50),
            "p99_ms": millis(self.p99),
            "p99_over_unloaded": over.map(|over| (over * 10.0).round() / 10.0),
            "refused": self.refused,
            "refused_p50_ms": millis(self.refused_p50),
            "failed": self.failed,
        })
    }
}

fn now() -> Duration {
    MonotonicClock.now().since(seawall::core::Timestamp::ZERO)
}

fn client() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn ask(client: &Http, to: SocketAddr, due: Duration) -> Ended {
    let exchange = async {
        let request = Request::get(format!("http://{to}/")).body(Empty::new()).map_err(|_| ())?;
        let answer = client.request(request).await.map_err(|_| ())?;
        let status = answer.status();
        answer.into_body().collect().await.map_err(|_| ())?;
        Ok::<_, ()>(status)
    };
    let ending = match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(StatusCode::OK)) => Ending::Answered,
        Ok(Ok(StatusCode::SERVICE_UNAVAILABLE)) => Ending::Refused,
        _ => Ending::Failed,
    };
    Ended { ending, due, took: now().saturating_sub(due) }
}

/// Requests per second that a server answers to a few callers who wait for each answer.
pub async fn capacity(to: SocketAddr, time: Duration) -> f64 {
    let begin = now();
    let (settled, end) = (begin.saturating_add(SETTLE), begin.saturating_add(SETTLE).saturating_add(time));
    let mut callers = JoinSet::new();
    for _ in 0..CLOSED_LOOP {
        callers.spawn(async move {
            let (client, mut count) = (client(), 0_u32);
            loop {
                let due = now();
                if due >= end {
                    return count;
                }
                let ended = ask(&client, to, due).await;
                if due >= settled && ended.ending == Ending::Answered {
                    count = count.saturating_add(1);
                }
            }
        });
    }
    let answered = callers.join_all().await.into_iter().fold(0_u32, u32::saturating_add);
    f64::from(answered) / time.as_secs_f64()
}

/// An open loop of `rate` requests per second, as independent callers make one; the first seconds are not counted.
pub async fn open_loop(to: SocketAddr, rate: f64, time: Duration, seed: u64) -> Outcome {
    let (client, entropy) = (client(), SeededEntropy::new(seed));
    let places = Arc::new(tokio::sync::Semaphore::new(MOST));
    let (ends, mut ended) = mpsc::unbounded_channel();
    let begin = now();
    let counted = begin.saturating_add(SETTLE);
    let end = counted.saturating_add(time);
    let mut due = begin;
    loop {
        let gap = -(1.0 - unit_interval(entropy.next_u64())).ln() / rate;
        due = due.saturating_add(Duration::try_from_secs_f64(gap).unwrap_or(time));
        if due >= end {
            break;
        }
        let early = due.saturating_sub(now());
        if !early.is_zero() {
            tokio::time::sleep(early).await;
        }
        let (client, ends, places) = (client.clone(), ends.clone(), Arc::clone(&places));
        tokio::spawn(async move {
            let asked = match places.try_acquire() {
                Ok(_place) => ask(&client, to, due).await,
                Err(_) => Ended { ending: Ending::Failed, due, took: PATIENCE },
            };
            // Nobody counts any more.
            let _over = ends.send(asked);
        });
    }
    drop(ends);
    let mut all = Vec::new();
    while let Some(one) = ended.recv().await {
        if one.due >= counted {
            all.push(one);
        }
    }
    outcome(&all, time)
}

fn outcome(all: &[Ended], time: Duration) -> Outcome {
    let took = |ending| {
        let mut took: Vec<_> = all.iter().filter(|one| one.ending == ending).map(|one| one.took).collect();
        took.sort_unstable();
        took
    };
    let (answers, refusals) = (took(Ending::Answered), took(Ending::Refused));
    let per_second = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64();
    Outcome {
        offered: per_second(all.len()),
        goodput: per_second(answers.iter().filter(|took| **took <= IN_TIME).count()),
        p50: quantile(&answers, 50),
        p99: quantile(&answers, 99),
        refused: refusals.len(),
        refused_p50: quantile(&refusals, 50),
        failed: all.len().saturating_sub(answers.len()).saturating_sub(refusals.len()),
    }
}

/// The smallest of the sorted times that so many percent do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100).max(1);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ended(ending: Ending, millis: u64) -> Ended {
        Ended { ending, due: Duration::ZERO, took: Duration::from_millis(millis) }
    }

    #[test]
    fn only_answers_in_time_are_goodput_and_only_answers_have_latencies() {
        let all = [
            ended(Ending::Answered, 250),
            ended(Ending::Answered, 251),
            ended(Ending::Refused, 5),
            ended(Ending::Failed, 1_000),
        ];

        let outcome = outcome(&all, Duration::from_secs(2));

        assert_eq!((outcome.offered, outcome.goodput, outcome.refused, outcome.failed), (2.0, 0.5, 1, 1));
        assert_eq!(outcome.p50, Some(Duration::from_millis(250)));
        assert_eq!(
            (outcome.p99, outcome.refused_p50),
            (Some(Duration::from_millis(251)), Some(Duration::from_millis(5)))
        );
    }

    #[test]
    fn of_nothing_there_is_no_quantile() {
        assert_eq!(quantile(&[], 99), None);
    }
}

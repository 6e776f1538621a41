//! A gateway's call to a service that takes requests and answers none, and how long an attempt may take once latencies
//! are known.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use seawall::{
    core::{Error, Reason},
    timeout::{AdaptiveConfig, TimeoutConfig, TimeoutLayer},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{
    Claims,
    quantile::{milliseconds, quantile},
};
use crate::link::{Ending, Endpoint, Instance, InstanceOptions, Reporter, Role, Topology};
use crate::services::{client::Client, gateway, upstream::Upstream};
use crate::verify::{report::Finding, web::Stopwatch};

/// Of the gateway's calls.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a busy machine adds.
const TOLERANCE: Duration = Duration::from_millis(250);

/// The document's factor, and by how much the one that is seen may differ: quantiles of a few hundred calls do.
const FACTOR: f64 = 3.0;
const FACTOR_WITHIN: f64 = 0.3;

/// The timeout moves at the end of each window.
const WINDOW: Duration = Duration::from_secs(1);

/// Calls that teach the timeout, each a little slower than the one before.
const CALLS: u32 = 400;
const FASTEST: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_micros(200);

pub(super) const CLAIMS: Claims<Calls> = &[
    ("figure.failure-first.api-gateway.circuit-breaker", whole_call),
    ("resilience-patterns.circuit-breaker.timeout", attempt),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// How long the gateway's call took that nobody answered, if it ended because the time was over.
    whole: Option<Duration>,
    /// The 99th percentile of calls that were answered.
    p99: Option<Duration>,
    /// When a call was cut that was not.
    cut: Option<Duration>,
}

/// Makes one call as the gateway makes it, and many through a timeout that learns.
pub(super) async fn observe() -> anyhow::Result<Calls> {
    let (whole, learnt) = tokio::join!(unanswered(), learnt());
    let (p99, cut) = learnt?;
    Ok(Calls { whole: whole?, p99, cut })
}

/// Three instances whose connections are made by the kernel and read by nobody.
async fn unanswered() -> anyhow::Result<Option<Duration>> {
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    }
    let addresses = silent.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    let endpoints = (1..).zip(addresses).map(|(instance, address)| Endpoint {
        role: Role::Catalog,
        instance,
        address,
        cache: None,
        healthy: true,
    });
    let (topology, known) = watch::channel(Topology { endpoints: endpoints.collect(), state: None });
    let (_no_faults, faults) = watch::channel(Vec::new());
    let (_no_end, ending) = watch::channel(Ending::NotYet);
    let (report, _said) = Reporter::new();
    let caller = Instance {
        role: Role::Gateway,
        number: 1,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        capacity: 1.0,
        options: InstanceOptions::default(),
        topology: known,
        faults,
        ending,
        report,
    };
    let upstream = Upstream::new(Client::default(), &caller, Role::Catalog, &gateway::TO_SERVICE)?;
    let request = http::Request::get("/catalog/items/1").body(Bytes::new())?;
    let watch = Stopwatch::start();
    let answer = upstream.call(request).await;
    let took = watch.elapsed();
    drop(topology);
    // The last attempt has no more time than the call, so either of them may be the first to say that it is over.
    let over = [Reason::TotalTimeout, Reason::AttemptTimeout, Reason::DeadlineExceeded, Reason::DeadlineTooClose];
    let timed_out = matches!(answer, Err(Error::Rejected(rejection)) if over.contains(&rejection.reason()));
    Ok(timed_out.then_some(took))
}

/// The 99th percentile of many calls, and when one was cut afterwards that does not end.
async fn learnt() -> anyhow::Result<(Option<Duration>, Option<Duration>)> {
    let config = AdaptiveConfig::new(Duration::from_millis(1), TIMEOUT)?.with_window(WINDOW)?;
    let timeout = TimeoutLayer::new(TimeoutConfig::adaptive(config));
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let timeout = timeout.clone();
        calls.spawn(async move {
            let watch = Stopwatch::start();
            let latency = FASTEST.saturating_add(STEP.saturating_mul(call));
            let call = async {
                tokio::time::sleep(latency).await;
                Ok::<_, std::convert::Infallible>(())
            };
            timeout.run(call).await.is_ok().then(|| watch.elapsed())
        });
    }
    let p99 = quantile(calls.join_all().await.into_iter().flatten(), 0.99);
    tokio::time::sleep(WINDOW).await;
    let watch = Stopwatch::start();
    let hung = timeout.run(std::future::pending::<Result<(), std::convert::Infallible>>()).await;
    Ok((p99, hung.is_err().then(|| watch.elapsed())))
}

fn whole_call(calls: &Calls) -> Finding {
    let Some(whole) = calls.whole else {
        return Finding::unobserved("the call to a service that answers nothing did not time out");
    };
    let limits = TIMEOUT.saturating_sub(TOLERANCE)..=TIMEOUT.saturating_add(TOLERANCE);
    Finding::judged(
        limits.contains(&whole),
        format!("timed out after {:.2} s", whole.as_secs_f64()),
        "a call as a gateway makes it that has just started, to three instances that take requests and answer none; once \
         latencies are known, its attempts are cut earlier",
    )
}

fn attempt(calls: &Calls) -> Finding {
    let (Some(p99), Some(cut)) = (calls.p99, calls.cut) else {
        return Finding::unobserved("no call was answered, or the one that hung was not cut");
    };
    let factor = cut.as_secs_f64() / p99.as_secs_f64();
    Finding::judged(
        (factor - FACTOR).abs() <= FACTOR_WITHIN,
        format!("{factor:.2} × p99: cut after {}, p99 {}", milliseconds(cut), milliseconds(p99)),
        format!("{CALLS} calls through the adaptive timeout, then one that hangs"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[test]
    fn an_answer_long_before_or_after_five_seconds_is_not_the_timeout() {
        for (millis, verdict) in [(4_000, Verdict::NotMet), (5_010, Verdict::Met), (6_000, Verdict::NotMet)] {
            let calls = Calls { whole: Some(Duration::from_millis(millis)), ..Calls::default() };

            assert_eq!(whole_call(&calls).verdict, verdict, "{millis} ms");
        }
    }

    #[test]
    fn a_call_cut_at_twice_the_p99_is_cut_too_early() {
        let calls = |cut| Calls {
            p99: Some(Duration::from_millis(100)),
            cut: Some(Duration::from_millis(cut)),
            ..Calls::default()
        };

        assert_eq!(attempt(&calls(200)).verdict, Verdict::NotMet);
        assert_eq!(attempt(&calls(310)).verdict, Verdict::Met);
        assert_eq!(attempt(&Calls::default()).verdict, Verdict::NotMet);
    }
}

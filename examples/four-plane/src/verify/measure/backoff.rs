//! The backoff schedule, drawn many times, calls that fail to their end, and what retries add to a server that fails.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{Router, routing::get};
use http::StatusCode;
use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, RetryConfig, RetryLayer},
    core::{Clock, Env, Error, ThreadEntropy, Timestamp, VirtualClock},
};

use tokio::{net::TcpListener, task::JoinSet};

use super::Claims;
use crate::verify::{report::Finding, web::Web};

/// The document's waits, in seconds.
const SCHEDULE: [f64; RETRIES] = [1.0, 2.0, 4.0, 8.0];

const RETRIES: usize = 4;

/// With so many draws, the largest of each wait is within a percent of its ceiling, and the mean within three of its
/// own, but for one run in millions.
const DRAWS: usize = 10_000;

const CLOSE: f64 = 0.03;

/// Half of what the four waits are at most: what full jitter adds in the mean, in seconds, and how far from it the mean of
/// a hundred callers may be: four of its deviations.
const MEAN: f64 = 7.5;
const MEAN_WITHIN: f64 = 1.07;
const CALLERS: usize = 100;

/// Callers over HTTP, and the calls of each.
const HTTP_CALLERS: u64 = 30;
const FAILING: u64 = 100;

/// What a server may get that fails everything, for each ten calls: one more.
const TEN: u64 = 10;
const ELEVEN: u64 = 11;

/// What the document says that a failure costs, in seconds.
const COST: std::ops::RangeInclusive<f64> = 2.0..=10.0;

pub(super) const CLAIMS: Claims<Backoffs> = &[
    ("resilience-patterns.exponential-backoff", waits),
    ("resilience-patterns.exponential-backoff.timeout", increases),
    ("resilience-patterns.exponential-backoff.retry-strategy", schedule),
    ("resilience-patterns.exponential-backoff.fallback", error_response),
    ("resilience-patterns.exponential-backoff.cost-impact", cost),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Backoffs {
    /// The four waits of one failure each, in seconds.
    draws: Vec<[f64; RETRIES]>,
    /// Of a call whose every attempt failed.
    attempts: usize,
    waited: f64,
    error: String,
    /// How long callers in the background waited until they gave up, in seconds.
    background: Vec<f64>,
    /// Requests that a server got that failed them all, and calls that were made to it.
    requests: u64,
    calls: u64,
}

/// Draws schedules, and lets one call fail in virtual time.
pub(super) async fn observe() -> anyhow::Result<Backoffs> {
    let draw = |_| {
        let mut waits = Backoff::unhurried().delays(ThreadEntropy);
        std::array::from_fn(|_| waits.next().unwrap_or_default().as_secs_f64())
    };
    let mut seen = Backoffs { draws: (0..DRAWS).map(draw).collect(), ..Backoffs::default() };

    (seen.waited, seen.attempts, seen.error) = give_up().await?;
    for _ in 0..CALLERS {
        seen.background.push(give_up().await?.0);
    }
    (seen.requests, seen.calls) = retries_over_http().await?;
    Ok(seen)
}

/// A call in the background, which has the time, to what is down, in virtual time: how long it waited, how often it was
/// tried, and with what it ended.
async fn give_up() -> anyhow::Result<(f64, usize, String)> {
    let mut attempts = 0_usize;
    let clock = VirtualClock::new();
    let config =
        RetryConfig::new(IfUnknown::Repeat).with_attempts(5)?.with_backoff(Backoff::unhurried()).without_budget();
    let retry = RetryLayer::<_>::with_env(config, Env::new().with_clock(clock.clone()));
    let call = retry.run(|| {
        attempts = attempts.saturating_add(1);
        async { Err::<(), _>("the dependency is down") }
    });
    let outcome = tokio::select! {
        biased;
        outcome = call => outcome,
        () = pass_the_time(&clock) => Ok(()),
    };
    let error = match outcome {
        Ok(()) => "no error".into(),
        Err(Error::Inner(error)) => error.into(),
        Err(Error::Rejected(rejection)) => rejection.to_string(),
    };
    Ok((clock.now().since(Timestamp::ZERO).as_secs_f64(), attempts, error))
}

/// Calls with the default retry, and its budget, to a server that fails them all.
async fn retries_over_http() -> anyhow::Result<(u64, u64)> {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let answer = move || {
        count.fetch_add(1, Relaxed);
        async { StatusCode::INTERNAL_SERVER_ERROR }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let server = tokio::spawn(axum::serve(listener, Router::new().route("/", get(answer))).into_future());
    let (web, retry) = (Web::new(), RetryLayer::<_>::new(RetryConfig::new(IfUnknown::Repeat)));
    let call = move || {
        let (web, url) = (web.clone(), url.clone());
        async move {
            let answer = web.get(&url).await?;
            anyhow::ensure!(answer.status.is_success(), "{}", answer.status);
            anyhow::Ok(())
        }
    };
    let mut callers = JoinSet::new();
    for _ in 0..HTTP_CALLERS {
        let (retry, call) = (retry.clone(), call.clone());
        callers.spawn(async move {
            for _ in 0..FAILING {
                // That it fails is what is wanted.
                let _failed = retry.run(call.clone()).await;
            }
        });
    }
    callers.join_all().await;
    server.abort();
    Ok((asked.load(Relaxed), HTTP_CALLERS.saturating_mul(FAILING)))
}

/// Moves on to whatever is slept for next, without end.
async fn pass_the_time(clock: &VirtualClock) {
    loop {
        if let Some(deadline) = clock.next_deadline() {
            clock.advance_to(deadline);
        }
        tokio::task::yield_now().await;
    }
}

fn column(seen: &Backoffs, retry: usize) -> impl Iterator<Item = f64> {
    seen.draws.iter().filter_map(move |draw| draw.get(retry).copied())
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    if count > 0.0 { sum / count } else { 0.0 }
}

fn means(seen: &Backoffs) -> [f64; RETRIES] {
    std::array::from_fn(|retry| mean(column(seen, retry)))
}

fn longest(seen: &Backoffs) -> [f64; RETRIES] {
    std::array::from_fn(|retry| column(seen, retry).fold(0.0, f64::max))
}

fn listed(seconds: [f64; RETRIES]) -> String {
    seconds.map(|seconds| format!("{seconds:.2}")).join(", ")
}

fn drawn(seen: &Backoffs) -> String {
    format!("{} schedules of four waits drawn from the crate", seen.draws.len())
}

fn waits(seen: &Backoffs) -> Finding {
    let within = seen.requests.saturating_mul(TEN) <= seen.calls.saturating_mul(ELEVEN);
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let extra = seen.requests as f64 / (seen.calls as f64).max(1.0) - 1.0;
    Finding::judged(
        seen.attempts == 5 && seen.waited > 0.0 && seen.calls > 0 && within,
        format!(
            "{} attempts over {:.1} s; {:+.1}% load when everything fails",
            seen.attempts,
            seen.waited,
            extra * 100.0
        ),
        format!(
            "a call whose every attempt failed, in virtual time; {} requests for {} calls with the default budget, over \
             loopback HTTP to a server that fails them all",
            seen.requests, seen.calls
        ),
    )
}

fn increases(seen: &Backoffs) -> Finding {
    let means = means(seen);
    let met = means.first().is_some_and(|first| *first > 0.0) && means.is_sorted_by(|a, b| *b > *a * 1.5);
    Finding::judged(met, format!("mean waits {} s", listed(means)), drawn(seen))
}

fn schedule(seen: &Backoffs) -> Finding {
    let (means, longest) = (means(seen), longest(seen));
    let met = SCHEDULE.into_iter().zip(means.into_iter().zip(longest)).all(|(ceiling, (mean, longest))| {
        // Full jitter: uniform from nothing to the ceiling.
        longest <= ceiling && longest > ceiling * (1.0 - CLOSE) && (mean / ceiling - 0.5).abs() < 0.5 * CLOSE
    });
    Finding::judged(met, format!("longest {} s, mean {} s", listed(longest), listed(means)), drawn(seen))
}

fn error_response(seen: &Backoffs) -> Finding {
    Finding::judged(
        seen.error == "the dependency is down",
        format!("after {} attempts the caller got: {}", seen.attempts, seen.error),
        "a call whose every attempt failed, in virtual time",
    )
}

fn cost(seen: &Backoffs) -> Finding {
    let sums: Vec<f64> = seen.draws.iter().map(|draw| draw.iter().sum()).collect();
    let (drawn_mean, waited) = (mean(sums.iter().copied()), mean(seen.background.iter().copied()));
    let within = sums.iter().filter(|sum| COST.contains(*sum)).count();
    let close = |mean: f64| (mean - MEAN).abs() <= MEAN_WITHIN;
    Finding::judged(
        COST.contains(&drawn_mean) && close(drawn_mean) && close(waited),
        format!("mean {drawn_mean:.1} s, {within} of {} between 2 and 10 s", sums.len()),
        format!(
            "{}; {} callers in the background whose every attempt failed waited {waited:.1} s in the mean, in virtual time",
            drawn(seen),
            seen.background.len()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[tokio::test]
    async fn the_schedule_of_the_crate_is_the_one_of_the_document() {
        let seen = observe().await.unwrap();

        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&seen).verdict, Verdict::Met, "{id}: {}", judgement(&seen).measured);
        }
    }

    #[test]
    fn waits_without_jitter_are_not_the_schedule() {
        let seen = Backoffs { draws: vec![SCHEDULE; 100], ..Backoffs::default() };

        assert_eq!(schedule(&seen).verdict, Verdict::NotMet);
        assert_eq!(increases(&seen).verdict, Verdict::Met);
    }

    #[test]
    fn waits_that_stay_equal_do_not_increase() {
        let seen = Backoffs { draws: vec![[1.0; RETRIES]; 100], ..Backoffs::default() };

        assert_eq!(increases(&seen).verdict, Verdict::NotMet);
    }

    #[test]
    fn retries_that_add_more_than_a_tenth_are_too_many() {
        let seen = |requests| Backoffs { attempts: 5, waited: 7.0, requests, calls: 1_000, ..Backoffs::default() };

        assert_eq!(waits(&seen(1_100)).verdict, Verdict::Met);
        assert_eq!(waits(&seen(1_101)).verdict, Verdict::NotMet);
        assert_eq!(waits(&Backoffs { calls: 0, ..seen(0) }).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_schedule_that_costs_a_minute_is_not_met() {
        let seen = Backoffs { draws: vec![[15.0; RETRIES]; 100], ..Backoffs::default() };

        assert_eq!(cost(&seen).verdict, Verdict::NotMet);
    }
}

//! The backoff schedule, drawn many times, and a call that fails to its end.

use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, RetryConfig, RetryLayer},
    core::{Clock, Env, Error, ThreadEntropy, Timestamp, VirtualClock},
};

use super::Claims;
use crate::verify::report::Finding;

/// The document's waits, in seconds.
const SCHEDULE: [f64; RETRIES] = [1.0, 2.0, 4.0, 8.0];

const RETRIES: usize = 4;

/// With so many draws, the largest of each wait is within a percent of its ceiling, and the mean within three of its
/// own, but for one run in millions.
const DRAWS: usize = 10_000;

const CLOSE: f64 = 0.03;

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
}

/// Draws schedules, and lets one call fail in virtual time.
pub(super) async fn observe() -> anyhow::Result<Backoffs> {
    let draw = |_| {
        let mut waits = Backoff::unhurried().delays(ThreadEntropy);
        std::array::from_fn(|_| waits.next().unwrap_or_default().as_secs_f64())
    };
    let mut seen = Backoffs { draws: (0..DRAWS).map(draw).collect(), ..Backoffs::default() };

    let clock = VirtualClock::new();
    let config =
        RetryConfig::new(IfUnknown::Repeat).with_attempts(5)?.with_backoff(Backoff::unhurried()).without_budget();
    let retry = RetryLayer::<_>::with_env(config, Env::new().with_clock(clock.clone()));
    let call = retry.run(|| {
        seen.attempts = seen.attempts.saturating_add(1);
        async { Err::<(), _>("the dependency is down") }
    });
    let outcome = tokio::select! {
        biased;
        outcome = call => outcome,
        () = pass_the_time(&clock) => Ok(()),
    };
    seen.error = match outcome {
        Ok(()) => "no error".into(),
        Err(Error::Inner(error)) => error.into(),
        Err(Error::Rejected(rejection)) => rejection.to_string(),
    };
    seen.waited = clock.now().since(Timestamp::ZERO).as_secs_f64();
    Ok(seen)
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
    Finding::judged(
        seen.attempts == 5 && seen.waited > 0.0,
        format!("{} attempts over {:.1} s", seen.attempts, seen.waited),
        "a call whose every attempt failed, in virtual time",
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
    let mean = mean(sums.iter().copied());
    let within = sums.iter().filter(|sum| COST.contains(*sum)).count();
    Finding::judged(
        COST.contains(&mean),
        format!("mean {mean:.1} s, {within} of {} between 2 and 10 s", sums.len()),
        drawn(seen),
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
    fn a_schedule_that_costs_a_minute_is_not_met() {
        let seen = Backoffs { draws: vec![[15.0; RETRIES]; 100], ..Backoffs::default() };

        assert_eq!(cost(&seen).verdict, Verdict::NotMet);
    }
}

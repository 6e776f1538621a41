//! When each attempt of a call starts, and how the call ends.

use std::time::Duration;

use seawall::{
    backoff_with_jitter::{Advice, Backoff, Ended, Hint, IfUnknown, Jitter, Next, RetryConfig, RetrySchedule},
    core::CallContext,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{accepted, at_ms, expect, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    max_attempts: u32,
    delays_ms: Vec<u64>,
    #[serde(deserialize_with = "Option::deserialize")]
    attempt_timeout_ms: Option<u64>,
    #[serde(deserialize_with = "Option::deserialize")]
    deadline_ms: Option<u64>,
    idempotent: bool,
    calls: Vec<Call>,
    attempt_starts_ms: Vec<u64>,
    ends_ms: u64,
    result: Verdict,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    takes_ms: u64,
    outcome: Outcome,
    retry_after_ms: Option<u64>,
}

#[derive(Copy, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Success,
    Transient,
    Fatal,
}

#[derive(Copy, Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Success,
    Failure,
    Timeout,
    Deadline,
}

/// When an attempt that starts then ends, with which result of the call if it is the last, and what it tells the retry.
fn attempt(case: &Case, call: &Call, start: u64) -> (u64, Verdict, Ended) {
    let stop = Ended::new(Advice::Stop);
    let cut = case.attempt_timeout_ms.filter(|limit| call.takes_ms >= *limit);
    let end = start.saturating_add(cut.unwrap_or(call.takes_ms));
    if let Some(deadline) = case.deadline_ms.filter(|deadline| end >= *deadline) {
        return (deadline, Verdict::Deadline, stop);
    }
    if cut.is_some() {
        return (end, Verdict::Timeout, Ended::new(Advice::IfIdempotent));
    }
    match call.outcome {
        Outcome::Success => (end, Verdict::Success, stop),
        Outcome::Fatal => (end, Verdict::Failure, stop),
        Outcome::Transient => {
            let again = Ended::new(Advice::Again);
            let hint = call.retry_after_ms.map(|wait| Hint::Remote(Duration::from_millis(wait)));
            (end, Verdict::Failure, hint.map_or(again, |hint| again.with_hint(hint)))
        }
    }
}

pub(crate) fn schedule(case: &Value) -> Result<(), String> {
    let case: Case = parse(case)?;
    let delays: Vec<_> = case.delays_ms.iter().copied().map(Duration::from_millis).collect();
    let backoff = accepted(Backoff::listed(delays).and_then(|listed| listed.with_jitter(Jitter::None)))?;
    let config = RetryConfig::new(IfUnknown::OnlyUnsent).with_backoff(backoff).with_max_hint(Duration::MAX);
    let config = accepted(config.with_attempts(case.max_attempts))?;
    let mut context = CallContext::new().with_idempotent(case.idempotent);
    context.deadline = case.deadline_ms.map(at_ms);

    let mut schedule = RetrySchedule::default();
    let (mut now, mut starts) = (0, Vec::new());
    let mut calls = case.calls.iter();
    let result = loop {
        starts.push(now);
        let call = calls.next().ok_or_else(|| format!("an attempt that is not recorded starts at {now} ms"))?;
        let (end, verdict, ended) = attempt(&case, call, now);
        now = end;
        match schedule.next(&config, ended, &context, at_ms(now), u64::MAX, || true) {
            Next::Retry { at, .. } => now = at.as_nanos() / 1_000_000,
            Next::Stop(_) => break verdict,
        }
    };

    expect("attempt_starts_ms", &starts, &case.attempt_starts_ms)?;
    expect("ends_ms", &now, &case.ends_ms)?;
    expect("result", &result, &case.result)
}

//! Replays the recorded vectors of backoff, retry schedule and budgets.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{path::PathBuf, time::Duration};

use seawall_backoff_with_jitter::{
    Advice, Backoff, Ended, Hint, IfUnknown, Jitter, Next, Position, RetryConfig, RetrySchedule,
};
use seawall_core::{BudgetError, CallContext, Entropy, SeededEntropy, Stamping, Timestamp, TokenBudget, WindowBudget};
use serde_json::Value;

fn cases(file: &str) -> Vec<Value> {
    let folder = std::env::var_os("SEAWALL_VECTORS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    let text = std::fs::read_to_string(folder.join(file)).expect("the vectors are where SEAWALL_VECTORS says");
    let file: Value = serde_json::from_str(&text).expect("valid JSON");
    file["cases"].as_array().expect("a list of cases").clone()
}

fn replay(file: &str, passes: impl Fn(&Value)) {
    let cases = cases(file);
    for case in &cases {
        passes(case);
    }
    println!("{file} {0}/{0}", cases.len());
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(number).collect()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().expect("a whole number")
}

fn ms(value: &Value) -> Duration {
    Duration::from_secs_f64(number(value) / 1e3)
}

fn at_ms(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

fn exponential(case: &Value) -> Backoff {
    Backoff::exponential(ms(&case["initial_ms"]), number(&case["factor"]), ms(&case["max_ms"])).expect("allowed")
}

fn with(case: &Value, jitter: Jitter) -> Backoff {
    exponential(case).with_jitter(jitter).expect("allowed")
}

fn off_by_ns(wait: Duration, expected_ms: f64) -> f64 {
    (wait.as_secs_f64() * 1e9 - expected_ms * 1e6).abs()
}

#[test]
fn backoff_exponential() {
    replay("backoff_exponential.json", |case| {
        let backoff = exponential(case);
        for (retry, expected) in (0..).zip(numbers(&case["delays_ms"])) {
            assert!(off_by_ns(backoff.ceiling(retry), expected) <= 1.0, "{case} {retry}");
        }
        for retry in [1_u64 << 16, 1 << 31, 1 << 32] {
            assert_eq!(backoff.ceiling(retry), ms(&case["max_ms"]));
        }
    });
}

#[test]
fn backoff_jitter_given_u() {
    replay("backoff_jitter_given_u.json", |case| {
        for (name, jitter) in [
            ("ceiling_ms", Jitter::None),
            ("full_ms", Jitter::Full),
            ("equal_ms", Jitter::Equal),
            ("decorrelated_ms", Jitter::Decorrelated),
            ("decorrelated_v2_ms", Jitter::Smooth),
        ] {
            let backoff = with(case, jitter);
            let mut position = Position::START;
            for (u, expected) in numbers(&case["u"]).into_iter().zip(numbers(&case[name])) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "u is in [0, 1)")]
                let word = (u * 2_f64.powi(64)) as u64;
                let wait = backoff.next(&mut position, word);
                assert!(off_by_ns(wait, expected) <= 1_000.0, "{name} of {case}: {wait:?}, not {expected}");
            }
        }
    });
}

#[test]
fn backoff_jitter_moments() {
    const RUNS: u32 = 100_000;
    replay("backoff_jitter_moments.json", |case| {
        for (name, jitter, slack) in
            [("full", Jitter::Full, 0.0), ("equal", Jitter::Equal, 0.0), ("decorrelated", Jitter::Decorrelated, 0.005)]
        {
            let backoff = with(case, jitter);
            let (means, sds) = (numbers(&case[format!("{name}_mean")]), numbers(&case[format!("{name}_sd")]));
            let entropy = SeededEntropy::new(0x5EA_0A11);
            let mut sums = vec![(0.0, 0.0); means.len()];
            for _ in 0..RUNS {
                let mut position = Position::START;
                for (sum, squares) in &mut sums {
                    let wait = backoff.next(&mut position, entropy.next_u64()).as_secs_f64() * 1e3;
                    *sum += wait;
                    *squares += wait * wait;
                }
            }
            for ((mean, sd), (sum, squares)) in means.into_iter().zip(sds).zip(sums) {
                let seen = sum / f64::from(RUNS);
                let off = (seen - mean).abs();
                assert!(off <= 5.0 * sd / f64::from(RUNS).sqrt() + slack * mean, "{name}: {seen}, not {mean}");
                let seen = (squares / f64::from(RUNS) - seen * seen).sqrt();
                assert!((seen - sd).abs() <= 0.01 * sd, "{name}: {seen}, not {sd}");
            }
        }
    });
}

/// What one attempt comes to, and when.
fn attempt(call: &Value, start: u64, case: &Value) -> (u64, &'static str) {
    let timeout = case["attempt_timeout_ms"].as_u64().map(|limit| start + limit);
    let deadline = case["deadline_ms"].as_u64();
    let end = start + whole(&call["takes_ms"]);
    let (end, outcome) = match timeout {
        Some(cut) if end >= cut => (cut, "timeout"),
        _ => match call["outcome"].as_str() {
            Some("success") => (end, "success"),
            Some("transient") => (end, "transient"),
            _ => (end, "fatal"),
        },
    };
    match deadline {
        Some(deadline) if end >= deadline => (deadline, "deadline"),
        _ => (end, outcome),
    }
}

#[test]
fn retry_schedule() {
    replay("retry_schedule.json", |case| {
        let delays: Vec<Duration> = case["delays_ms"].as_array().expect("a list").iter().map(ms).collect();
        let backoff = Backoff::listed(delays).and_then(|listed| listed.with_jitter(Jitter::None)).expect("allowed");
        let attempts = u32::try_from(whole(&case["max_attempts"])).expect("few");
        let config = RetryConfig::new(IfUnknown::OnlyUnsent).with_backoff(backoff);
        let config = config.with_attempts(attempts).expect("allowed").with_max_hint(Duration::MAX);
        let mut context = CallContext::new().with_idempotent(case["idempotent"].as_bool().expect("yes or no"));
        context.deadline = case["deadline_ms"].as_u64().map(at_ms);
        let mut schedule = RetrySchedule::default();
        let (mut now, mut starts) = (0, Vec::new());
        let mut calls = case["calls"].as_array().expect("a list").iter();
        let result = loop {
            let call = calls.next().expect("as many calls as attempts");
            starts.push(now);
            let (end, outcome) = attempt(call, now, case);
            now = end;
            let ended = match outcome {
                "transient" => call["retry_after_ms"].as_u64().map_or(Ended::new(Advice::Again), |hint| {
                    Ended::new(Advice::Again).with_hint(Hint::Remote(Duration::from_millis(hint)))
                }),
                "timeout" => Ended::new(Advice::IfIdempotent),
                _ => Ended::new(Advice::Stop),
            };
            match schedule.next(&config, ended, &context, at_ms(now), u64::MAX, || true) {
                Next::Retry { at, .. } => now = at.as_nanos() / 1_000_000,
                Next::Stop(_) => break outcome,
            }
        };
        let expected: Vec<u64> = case["attempt_starts_ms"].as_array().expect("a list").iter().map(whole).collect();
        assert_eq!((starts, now), (expected, whole(&case["ends_ms"])), "{case}");
        let result = if matches!(result, "transient" | "fatal") { "failure" } else { result };
        assert_eq!(Some(result), case["result"].as_str(), "{case}");
    });
}

#[test]
fn retry_budget_window() {
    replay("retry_budget_window.json", |case| {
        let budget = WindowBudget::new(
            number(&case["percent_can_retry"]),
            u32::try_from(whole(&case["min_retries_per_s"])).expect("few"),
            Duration::from_secs(whole(&case["ttl_s"])),
        )
        .expect("allowed")
        .with_stamping(Stamping::Each);
        for step in case["steps"].as_array().expect("a list") {
            let now = at_ms(whole(&step["t_ms"]));
            if step["op"] == "request" {
                budget.deposit(|| now);
            } else {
                assert_eq!(Some(budget.withdraw(now)), step["granted"].as_bool(), "{step}");
            }
        }
    });
}

#[test]
fn grpc_retry_throttle() {
    replay("grpc_retry_throttle.json", |case| {
        let ratio = case["token_ratio"].as_str().expect("a decimal").parse().expect("a decimal");
        let budget = TokenBudget::new(u32::try_from(whole(&case["max_tokens"])).expect("few"), ratio).expect("allowed");
        for step in case["steps"].as_array().expect("a list") {
            match step["op"].as_str() {
                Some("failure") => budget.failure(),
                Some("success") => budget.success(),
                _ => {}
            }
            assert_eq!(Some(u64::from(budget.milli_tokens())), step["milli_tokens"].as_u64(), "{step}");
            assert_eq!(Some(budget.allows_retry()), step["retry_allowed"].as_bool(), "{step}");
        }
    });
}

#[test]
fn grpc_retry_throttle_config() {
    replay("grpc_retry_throttle_config.json", |case| {
        let tokens = case["max_tokens"].as_u64().and_then(|tokens| u32::try_from(tokens).ok());
        let ratio = case["token_ratio"].as_f64();
        let built: Option<Result<TokenBudget, BudgetError>> =
            tokens.zip(ratio).map(|(tokens, ratio)| TokenBudget::new(tokens, ratio));
        assert_eq!(Some(built.is_some_and(|built| built.is_ok())), case["valid"].as_bool(), "{case}");
    });
}

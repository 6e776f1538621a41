//! Which retries a budget grants.

use std::time::Duration;

use seawall::core::{Stamping, TokenBudget, WindowBudget};
use serde::Deserialize;
use serde_json::Value;

use crate::{accepted, at_ms, expect, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowCase {
    ttl_s: u64,
    min_retries_per_s: u32,
    percent_can_retry: f64,
    steps: Vec<WindowStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "op", rename_all = "lowercase")]
enum WindowStep {
    Request { t_ms: u64 },
    Retry { t_ms: u64, granted: bool },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenCase {
    max_tokens: u32,
    token_ratio: String,
    steps: Vec<TokenStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenStep {
    op: TokenOp,
    milli_tokens: u32,
    retry_allowed: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TokenOp {
    Success,
    Failure,
    Other,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenConfig {
    max_tokens: Value,
    token_ratio: Value,
    valid: bool,
}

/// What happened in the window that ends at a time: as many of `times` as are in its ten slots.
fn in_window(times: &[u64], now_ms: u64, ttl_s: u64) -> f64 {
    let slot = |ms: u64| ms.checked_div(ttl_s.saturating_mul(100)).unwrap_or(0);
    times.iter().filter(|then| slot(now_ms).saturating_sub(slot(**then)) < 10).map(|_| 1.0).sum()
}

/// Replays with deposits stamped in one of two ways. Each of them keeps the bound; only exact ones grant as recorded.
fn replay(case: &WindowCase, stamping: Stamping) -> Result<(), String> {
    let ttl = Duration::from_secs(case.ttl_s);
    let budget = accepted(WindowBudget::new(case.percent_can_retry, case.min_retries_per_s, ttl))?;
    let budget = budget.with_stamping(stamping);
    let reserve = f64::from(case.min_retries_per_s) * ttl.as_secs_f64();
    let (mut requests, mut grants) = (Vec::new(), Vec::new());
    for (number, step) in (0_u32..).zip(&case.steps) {
        match *step {
            WindowStep::Request { t_ms } => {
                budget.deposit(|| at_ms(t_ms));
                requests.push(t_ms);
            }
            WindowStep::Retry { t_ms, granted } => {
                let ours = budget.withdraw(at_ms(t_ms));
                if stamping == Stamping::Each {
                    expect(&format!("granted at step {number}"), &ours, &granted)?;
                }
                if ours {
                    grants.push(t_ms);
                    let spent = in_window(&grants, t_ms, case.ttl_s);
                    let bound = case.percent_can_retry * in_window(&requests, t_ms, case.ttl_s) + reserve;
                    if spent > bound + 1.0 {
                        return Err(format!("step {number}, {stamping:?}: {spent} retries in a window, bound {bound}"));
                    }
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn window(case: &Value) -> Result<(), String> {
    let case: WindowCase = parse(case)?;
    replay(&case, Stamping::Each)?;
    replay(&case, Stamping::Sampled)
}

pub(crate) fn tokens(case: &Value) -> Result<(), String> {
    let case: TokenCase = parse(case)?;
    let ratio = case.token_ratio.parse().map_err(|error| format!("token_ratio {}: {error}", case.token_ratio))?;
    let budget = accepted(TokenBudget::new(case.max_tokens, ratio))?;
    for (number, step) in (0_u32..).zip(&case.steps) {
        match step.op {
            TokenOp::Success => budget.success(),
            TokenOp::Failure => budget.failure(),
            TokenOp::Other => {}
        }
        expect(&format!("milli_tokens after step {number}"), &budget.milli_tokens(), &step.milli_tokens)?;
        expect(&format!("retry_allowed after step {number}"), &budget.allows_retry(), &step.retry_allowed)?;
    }
    Ok(())
}

pub(crate) fn tokens_config(case: &Value) -> Result<(), String> {
    let case: TokenConfig = parse(case)?;
    // What the types of the settings do not hold, nobody can set.
    let tokens = case.max_tokens.as_u64().and_then(|tokens| u32::try_from(tokens).ok());
    let built = tokens.zip(case.token_ratio.as_f64()).map(|(tokens, ratio)| TokenBudget::new(tokens, ratio));
    expect("valid", &matches!(built, Some(Ok(_))), &case.valid)
}

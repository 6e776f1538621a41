//! What a circuit breaker permits, which state it is in, and what it has counted, step by step.

use std::{collections::HashMap, time::Duration};

use seawall::circuit_breaker::{
    Breaker, BreakerConfig, BreakerTicket, Class, CountAs, Figures, Outcome, Recovery, Snapshot, Window,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{accepted, at_ms, expect, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    config: Config,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    window: WindowKind,
    size: u32,
    minimum_calls: u32,
    failure_pct: f64,
    slow_pct: f64,
    slow_ms: u64,
    open_ms: u64,
    half_open_calls: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WindowKind {
    Count,
    Time,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    t_ms: u64,
    op: Op,
    id: Option<u64>,
    outcome: Option<Recorded>,
    latency_ms: Option<u64>,
    permitted: Option<bool>,
    state: String,
    window: Option<[u64; 3]>,
    stale: Option<bool>,
}

#[derive(Copy, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Call,
    Start,
    Finish,
    Cancel,
}

#[derive(Copy, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Recorded {
    Success,
    Failure,
}

impl From<Recorded> for Outcome {
    fn from(recorded: Recorded) -> Self {
        Self::Finished(match recorded {
            Recorded::Success => Class::Success,
            Recorded::Failure => Class::Failure,
        })
    }
}

/// What a file records of calls that end, beside the state.
#[derive(Copy, Clone, PartialEq)]
enum Records {
    /// The window that each result was judged by.
    Windows,
    /// Whether the call started before the last change of state.
    Staleness,
}

/// What a step does, with exactly the fields that it needs.
enum Action {
    Call(Outcome, Duration),
    Start(u64),
    End(u64, Outcome, Duration),
}

impl Step {
    fn action(&self) -> Result<Action, String> {
        let latency = self.latency_ms.map(Duration::from_millis);
        match (self.op, self.id, self.outcome, latency) {
            (Op::Call, None, Some(outcome), Some(latency)) => Ok(Action::Call(outcome.into(), latency)),
            (Op::Start, Some(id), None, None) => Ok(Action::Start(id)),
            (Op::Finish, Some(id), Some(outcome), Some(latency)) => Ok(Action::End(id, outcome.into(), latency)),
            (Op::Cancel, Some(id), None, None) => Ok(Action::End(id, Outcome::Cancelled, Duration::ZERO)),
            _ => Err("its fields are not those of its operation".to_owned()),
        }
    }
}

fn breaker(config: &Config) -> Result<Breaker, String> {
    let window = match config.window {
        WindowKind::Count => Window::Calls(config.size),
        WindowKind::Time => Window::Time(Duration::from_secs(config.size.into())),
    };
    let open_for = Duration::from_millis(config.open_ms);
    let config = BreakerConfig::builder()
        .window(window)
        .min_calls(config.minimum_calls)
        .failure_ratio(config.failure_pct / 100.0)
        .slow_ratio(config.slow_pct / 100.0)
        .slow_after(Duration::from_millis(config.slow_ms))
        .open_for(open_for)
        .max_open_for(open_for)
        .jitter(0.0)
        .probes(config.half_open_calls)
        .probes_at_once(config.half_open_calls)
        .recovery(Recovery::ByRatio)
        .max_probe_age(Duration::MAX)
        .cancelled(CountAs::Nothing)
        .build();
    accepted(config).map(Breaker::from)
}

/// What the window was when the last result was judged: before the change, if the state changed.
fn judged(before: &Snapshot, after: &Snapshot) -> Figures {
    match after.last_change {
        Some(change) if after.last_change != before.last_change => change.figures,
        _ => after.figures,
    }
}

/// Takes one step, and compares all that is recorded of it.
fn take(
    breaker: &Breaker,
    in_flight: &mut HashMap<u64, BreakerTicket>,
    step: &Step,
    records: Records,
) -> Result<(), String> {
    let now = at_ms(step.t_ms);
    let mut permitted = None;
    let ended = match step.action()? {
        Action::Call(outcome, latency) => {
            let ticket = breaker.try_admit(now).ok();
            permitted = Some(ticket.is_some());
            ticket.map(|ticket| (ticket, outcome, latency))
        }
        Action::Start(id) => {
            let ticket = breaker.try_admit(now).ok();
            permitted = Some(ticket.is_some());
            if ticket.and_then(|ticket| in_flight.insert(id, ticket)).is_some() {
                return Err(format!("call {id} starts twice"));
            }
            None
        }
        Action::End(id, outcome, latency) => {
            let ticket = in_flight.remove(&id).ok_or_else(|| format!("call {id} ends and is not in flight"))?;
            Some((ticket, outcome, latency))
        }
    };
    expect("permitted", &permitted, &step.permitted)?;

    let before = breaker.snapshot(now);
    let (has_ended, has_result) = (ended.is_some(), ended.is_some() && step.outcome.is_some());
    if let Some((ticket, outcome, latency)) = ended {
        breaker.record(ticket, outcome, latency, now);
    }
    let after = breaker.snapshot(now);

    expect("state", &after.state.as_str(), &step.state.as_str())?;
    if records == Records::Windows || step.window.is_some() {
        let figures = judged(&before, &after);
        let window = has_result.then_some([figures.calls, figures.failures, figures.slow]);
        expect("window", &window, &step.window)?;
    }
    if records == Records::Staleness || step.stale.is_some() {
        expect("stale", &has_ended.then_some(after.late > before.late), &step.stale)?;
    }
    Ok(())
}

fn replay(case: &Value, records: Records) -> Result<(), String> {
    let case: Case = parse(case)?;
    let breaker = breaker(&case.config)?;
    let mut in_flight = HashMap::new();
    for (number, step) in case.steps.iter().enumerate() {
        take(&breaker, &mut in_flight, step, records).map_err(|why| format!("step {number}: {why}"))?;
    }
    Ok(())
}

pub(crate) fn trace(case: &Value) -> Result<(), String> {
    replay(case, Records::Windows)
}

pub(crate) fn stale_trace(case: &Value) -> Result<(), String> {
    replay(case, Records::Staleness)
}

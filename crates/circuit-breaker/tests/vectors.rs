//! Replays the recorded vectors: `SEAWALL_VECTORS` names their folder, by default the copy in the repository.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{collections::HashMap, path::PathBuf, time::Duration};

use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerTicket, Class, CountAs, Figures, Outcome, Snapshot, Timestamp, Window,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Config,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Config {
    window: String,
    size: u32,
    minimum_calls: u32,
    failure_pct: f64,
    slow_pct: f64,
    slow_ms: u64,
    open_ms: u64,
    half_open_calls: u32,
}

#[derive(Deserialize)]
struct Step {
    t_ms: u64,
    op: String,
    id: Option<u64>,
    outcome: Option<String>,
    #[serde(default)]
    latency_ms: u64,
    permitted: Option<bool>,
    state: String,
    window: Option<[u64; 3]>,
    stale: Option<bool>,
}

fn breaker(config: &Config) -> Breaker {
    let window = match config.window.as_str() {
        "count" => Window::Calls(config.size),
        _ => Window::Time(Duration::from_secs(config.size.into())),
    };
    let open_for = Duration::from_millis(config.open_ms);
    BreakerConfig::builder()
        .window(window)
        .min_calls(config.minimum_calls)
        .failure_ratio(config.failure_pct / 100.0)
        .slow_ratio(config.slow_pct / 100.0)
        .slow_after(Duration::from_millis(config.slow_ms))
        .open_for(open_for)
        .max_open_for(open_for)
        .jitter(0.0)
        .probes(config.half_open_calls)
        .max_probe_age(Duration::MAX)
        .cancelled(CountAs::Nothing)
        .build()
        .expect("the settings of a recorded case are valid")
        .into()
}

/// What the window was when the last result was judged: before the change, if the state changed.
fn judged(before: &Snapshot, after: &Snapshot) -> Figures {
    match after.last_change {
        Some(change) if after.last_change != before.last_change => change.figures,
        _ => after.figures,
    }
}

fn replay(case: &Case) -> Result<(), String> {
    let breaker = breaker(&case.config);
    let mut in_flight: HashMap<u64, BreakerTicket> = HashMap::new();
    for (number, step) in case.steps.iter().enumerate() {
        let now = Timestamp::from_nanos(step.t_ms * 1_000_000);
        let latency = Duration::from_millis(step.latency_ms);
        let outcome = match step.outcome.as_deref() {
            Some("success") => Outcome::Finished(Class::Success),
            Some(_) => Outcome::Finished(Class::Failure),
            None => Outcome::Cancelled,
        };
        let mut permitted = None;
        let ticket = match step.op.as_str() {
            "call" | "start" => {
                let admitted = breaker.try_admit(now).ok();
                permitted = Some(admitted.is_some());
                match (step.op.as_str(), admitted) {
                    ("start", Some(ticket)) => {
                        in_flight.insert(step.id.unwrap_or_default(), ticket);
                        None
                    }
                    (_, admitted) => admitted,
                }
            }
            _ => Some(in_flight.remove(&step.id.unwrap_or_default()).ok_or("a call ends that never started")?),
        };
        let before = breaker.snapshot(now);
        if let Some(ticket) = ticket {
            breaker.record(ticket, outcome, latency, now);
        }
        let after = breaker.snapshot(now);
        let stale = (step.stale.is_some()).then_some(after.late > before.late);
        let figures = judged(&before, &after);
        let window = step.window.map(|_| [figures.calls, figures.failures, figures.slow]);
        if (permitted, after.state.as_str(), window, stale)
            != (step.permitted, step.state.as_str(), step.window, step.stale)
        {
            return Err(format!(
                "{} step {number} {}: permitted {permitted:?} {}, window {window:?}, stale {stale:?}; expected {:?} {}, {:?}, {:?}",
                case.name, step.op, after.state, step.permitted, step.state, step.window, step.stale
            ));
        }
    }
    Ok(())
}

fn check(name: &str) {
    let folder = std::env::var_os("SEAWALL_VECTORS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    let text = std::fs::read_to_string(folder.join(name)).expect("the vectors are in the repository");
    let file: File = serde_json::from_str(&text).expect("the vectors have the format that they describe");

    let failures: Vec<String> = file.cases.iter().filter_map(|case| replay(case).err()).collect();

    println!("{name} {}/{}", file.cases.len() - failures.len(), file.cases.len());
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn agrees_with_every_recorded_trace() {
    check("circuit_breaker.json");
}

#[test]
fn agrees_with_every_recorded_trace_with_stale_results() {
    check("circuit_breaker_stale.json");
}

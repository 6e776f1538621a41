//! Replays the recorded cases of other implementations and of specifications.
//!
//! The folder comes from `SEAWALL_VECTORS`; the default is the copy beside this package. Prints one line per file,
//! `file passed/total`, also for files that nothing here answers yet.

mod backoff;
mod budget;
mod circuit_breaker;
mod health;
mod http;
mod limit;
mod metrics;
mod outliers;
mod queue;
mod rate;
mod retry;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs,
    io::Write,
    panic::catch_unwind,
    path::{Path, PathBuf},
    time::Duration,
};

use seawall::core::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Says what is wrong with one case, if something is.
type Check = fn(&Value) -> Result<(), String>;

/// What a case is called and what was remarked on it. Everything else in a case is for its check to understand.
const LABELS: [&str; 2] = ["name", "note"];

fn folder() -> PathBuf {
    std::env::var_os("SEAWALL_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), PathBuf::from)
}

fn checks() -> BTreeMap<&'static str, Check> {
    BTreeMap::from([
        ("backoff_exponential.json", backoff::exponential as Check),
        ("backoff_jitter_given_u.json", backoff::jitter_given_u),
        ("backoff_jitter_moments.json", backoff::jitter_moments),
        ("circuit_breaker.json", circuit_breaker::trace),
        ("circuit_breaker_stale.json", circuit_breaker::stale_trace),
        ("client_throttle.json", limit::client_throttle),
        ("codel.json", queue::codel),
        ("codel_control_law.json", queue::control_law),
        ("codel_request_queue.json", queue::request_queue),
        ("concurrency_limit.json", limit::concurrency),
        ("grpc_pushback.json", http::grpc_pushback),
        ("grpc_retry_throttle.json", budget::tokens),
        ("grpc_retry_throttle_config.json", budget::tokens_config),
        ("grpc_timeout.json", http::grpc_timeout),
        ("health_json.json", health::document),
        ("http_methods.json", http::http_methods),
        ("http_status.json", http::http_status),
        ("outlier_detection.json", outliers::success_rate),
        ("prometheus_text.json", metrics::prometheus_text),
        ("rate_gcra.json", rate::gcra),
        ("retry_after.json", http::retry_after),
        ("retry_budget_window.json", budget::window),
        ("retry_schedule.json", retry::schedule),
        ("traceparent.json", http::traceparent),
    ])
}

/// Whether a file's check has something to say on a case.
fn applies(file: &str, case: &Value) -> bool {
    file != "outlier_detection.json" || outliers::is_about_peers(case)
}

/// Reads a case as its file's format describes it. A field that the format does not have is an error.
fn parse<'a, T: Deserialize<'a>>(case: &'a Value) -> Result<T, String> {
    T::deserialize(case).map_err(|error| format!("not in the format that the file describes: {error}"))
}

/// Compares, and says both sides when they differ.
fn expect<T: PartialEq + Debug>(what: &str, ours: &T, recorded: &T) -> Result<(), String> {
    if ours == recorded { Ok(()) } else { Err(format!("{what}: ours is {ours:?}, recorded is {recorded:?}")) }
}

/// Compares numbers that may differ by so much.
fn expect_near(what: &str, ours: f64, recorded: f64, tolerance: f64) -> Result<(), String> {
    // Not the other way round: a number that is none is near nothing.
    if (ours - recorded).abs() <= tolerance {
        Ok(())
    } else {
        Err(format!("{what}: ours is {ours}, recorded is {recorded}, they may differ by {tolerance}"))
    }
}

/// A setting of a case that seawall does not take is a case that fails.
fn accepted<T, E: std::fmt::Display>(built: Result<T, E>) -> Result<T, String> {
    built.map_err(|error| format!("refused: {error}"))
}

fn at_ms(ms: u64) -> Timestamp {
    Timestamp::ZERO.saturating_add(Duration::from_millis(ms))
}

/// Runs one case, without what only labels it.
fn run(check: Check, case: &Value) -> Result<(), String> {
    let mut bare = case.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.retain(|field, value| !(value.is_string() && LABELS.contains(&field.as_str())));
    }
    // One case that panics leaves the lines of the other files.
    let result = catch_unwind(|| check(&bare)).unwrap_or_else(|_| Err("panicked".to_owned()));
    result.map_err(|why| case["name"].as_str().map_or_else(|| why.clone(), |name| format!("{name}: {why}")))
}

fn cases(path: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let file: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    match file["cases"].as_array() {
        Some(cases) if !cases.is_empty() => Ok(cases.clone()),
        _ => Err("holds no cases".to_owned()),
    }
}

/// Past the capture of the test harness, which would show the lines of a failure only.
fn report(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone misses lines; the verdict is the test's.
    let _ = writeln!(stdout, "{line}");
}

#[test]
fn every_recorded_case_that_applies_passes() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap_or_else(|error| panic!("the folder of vectors, {}: {error}", folder().display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no vectors", folder().display());

    let checks = checks();
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let cases = cases(&path).unwrap_or_else(|why| {
            wrong.push(format!("{name}: {why}"));
            Vec::new()
        });
        let Some(check) = checks.get(name.as_str()) else {
            report(&format!("{name} 0/{} (not applicable)", cases.len()));
            continue;
        };
        let applicable = (0..).zip(&cases).filter(|(_, case)| applies(&name, case));
        let others = cases.len().saturating_sub(applicable.clone().count());
        let failed: Vec<_> = applicable
            .filter_map(|(index, case)| run(*check, case).err().map(|why| format!("{name} case {index}: {why}")))
            .collect();
        let passed = cases.len().saturating_sub(failed.len()).saturating_sub(others);
        let note = if others == 0 { String::new() } else { format!(" ({others} not applicable)") };
        report(&format!("{name} {passed}/{}{note}", cases.len()));
        wrong.extend(failed);
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

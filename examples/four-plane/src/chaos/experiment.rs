//! Kills and injected faults under a steady load.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::asked::Asked;
use super::progress::Progress;
use super::{Fault, Kills, Row};
use crate::client::Client;
use crate::clock;
use crate::load::{self, LoadOptions, LoadReport};
use crate::trial::{Stack, instance, items, services};

/// Requests per second beside an injected fault, well within every capacity.
const RPS: u32 = 280;
/// Requests per second that each edge declares where instances are killed: enough that a busy machine's hiccup is not
/// overload, and what fails is the kill's doing.
pub(super) const EDGE_CAPACITY: f64 = 500.0;
/// Load before the fault, so that caches and windows are filled.
const WARM_UP: u32 = 6;
/// Load after the recovery, which has to stay clean.
const COOL_DOWN: Duration = Duration::from_secs(3);
/// The longest that is waited for a recovery.
pub(super) const LIMIT: Duration = Duration::from_secs(LIMIT_SECONDS as u64);
const LIMIT_SECONDS: u32 = 120;
/// Without a bad answer for this long, the stack has recovered.
const CLEAN: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Kills instances of a role under load, the next one when the last has been replaced.
pub(super) async fn kills(binary: &Path, name: &'static str, kills: Kills, progress: Progress) -> anyhow::Result<Row> {
    let capacity = json!({"capacity": {"edge": EDGE_CAPACITY}});
    progress.step("a stack starts");
    let stack = Stack::configured(binary, &capacity, &["--load", "0"]).await?;
    let (mut detected, mut recovered) = (Duration::ZERO, Duration::ZERO);
    progress.step(format_args!("{} requests/s, {WARM_UP} s before anything happens", kills.rps));
    let (report, outcome) = under_load(&stack, kills.rps, async {
        for number in 1..=kills.count {
            let begin = clock::since_start();
            let (gone, back) = kill(&stack, kills.role).await?;
            (detected, recovered) = (detected.max(gone), recovered.max(back));
            let (count, role, after) = (kills.count, kills.role, rounded(back));
            progress.step(format_args!("kill {number} of {count}: one of {role}, replaced after {after} s"));
            let next = begin.saturating_add(kills.every).saturating_sub(clock::since_start());
            tokio::time::sleep(next.max(CLEAN)).await;
        }
        Ok(())
    })
    .await?;
    outcome?;
    let retried = retries(&stack.status().await?);
    stack.stop().await?;
    let seen = [
        (true, "restart by the supervisor"),
        (retried > 0.0, "retry on another instance"),
        (report.totals.degraded > 0, "fallbacks"),
    ];
    let figures = json!({
        "kills": kills.count,
        "retries": retried,
        "p99_ms": report.totals.p99_ms,
        "statuses": report.statuses,
    });
    Ok(row(name, Some(detected), Some(recovered), &report, &seen, figures))
}

/// Kills the longest running instance of a role, and returns the time until that was seen and until it was replaced.
async fn kill(stack: &Stack, role: &str) -> anyhow::Result<(Duration, Duration)> {
    let before = stack.status().await?;
    let kill = json!({"kind": "kill", "target": role}).to_string();
    let begin = clock::since_start();
    let killed = stack.control(http::Method::POST, "/control/faults", &kill).await?.json();
    let name = killed.get("target").and_then(Value::as_str).unwrap_or_default();
    let pid = instance(&before, name)["pid"].clone();
    ensure!(pid.is_u64(), "the kill was refused: {killed}");
    let gone = |status: &Value| instance(status, name)["pid"] != pid;
    let back = |status: &Value| gone(status) && instance(status, name)["health"] == "pass";
    stack.until("the kill is noticed", LIMIT, gone).await?;
    let detected = clock::since_start().saturating_sub(begin);
    stack.until("the instance is replaced", LIMIT, back).await?;
    Ok((detected, clock::since_start().saturating_sub(begin)))
}

/// A stack under a load of its own that fills caches and windows.
pub(super) async fn warm(binary: &Path, progress: Progress) -> anyhow::Result<Stack> {
    progress.step("a stack starts");
    let stack = Stack::start(binary, &["--load", "20"]).await?;
    progress.step(format_args!("{RPS} requests/s, {WARM_UP} s before anything happens"));
    load::run(&steady(&stack, WARM_UP, 7), std::future::pending()).await?;
    Ok(stack)
}

fn steady(stack: &Stack, seconds: u32, seed: u64) -> LoadOptions {
    LoadOptions { rps: RPS.into(), seconds, seed, ..LoadOptions::new(stack.ready().edge.clone()) }
}

/// Injects a fault under load, and waits until every answer is as asked again.
pub(super) async fn fault(stack: &Stack, name: &'static str, fault: &Fault, progress: Progress) -> anyhow::Result<Row> {
    let client = Client::new();
    let asked = async || Asked::of(fault.target, stack.ready(), &client).await;
    let (before, asked_before) = (stack.status().await?, asked().await?);
    let begin = clock::since_start();
    let Fault { kind, target, value, seconds } = *fault;
    stack.inject(&json!({"kind": kind, "target": target, "value": value, "seconds": seconds})).await?;
    progress.step(format_args!("{kind} at {target} for {seconds} s"));
    let during = steady(stack, seconds, 8);
    let end = begin.saturating_add(Duration::from_secs(seconds.into()));
    let (during, seen) = tokio::join!(load::run(&during, std::future::pending()), watched(stack, &before, begin, end));
    let (during, (detected, opened)) = (during?, seen?);
    let extra = asked().await?.extra_since(asked_before);
    progress.step("that has ended; waiting until every answer is as asked again");

    let (stop, stopped) = oneshot::channel::<()>();
    let after = steady(stack, LIMIT_SECONDS, 9);
    let after = load::run(&after, async {
        let _dropped = stopped.await;
    });
    let recovering = async {
        let outcome = recovery(stack, end).await;
        tokio::time::sleep(COOL_DOWN).await;
        drop(stop);
        outcome
    };
    let (after, recovering) = tokio::join!(after, recovering);
    let (after, (closed, recovered)) = (after?, recovering?);
    let (sent, degraded) = (during.sorted.sent, during.totals.degraded);
    let share = |part: u64| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    let seen = [
        (opened.is_some(), "circuit breakers"),
        (extra > 0.0, "retries"),
        (degraded > 0, "fallbacks"),
        (during.totals.shed > 0, "shedding"),
    ];
    let figures = json!({
        "p99_ms": during.totals.p99_ms,
        "p99_afterwards_ms": after.totals.p99_ms,
        "statuses": during.statuses,
    });
    let both = |count: fn(&LoadReport) -> u64| count(&during).saturating_add(count(&after));
    let row = row(name, detected, Some(recovered), &during, &seen, figures);
    Ok(Row {
        requests: Some(both(|report| report.totals.sent)),
        errors: Some(both(|report| report.totals.failed.saturating_sub(report.unanswered()))),
        degraded: Some(both(|report| report.totals.degraded)),
        shed: Some(both(|report| report.totals.shed)),
        lost: Some(both(LoadReport::unanswered)),
        opened_s: opened.map(rounded),
        closed_s: opened.map(|_| rounded(closed)),
        fallback_share: Some(to_thousandths(share(degraded) / share(sent).max(1.0))),
        extra_load: Some(to_thousandths(extra)),
        ..row
    })
}

/// When the stack showed that something is wrong, and when it showed an open breaker, until `end`.
async fn watched(
    stack: &Stack,
    before: &Value,
    begin: Duration,
    end: Duration,
) -> anyhow::Result<(Option<Duration>, Option<Duration>)> {
    let (mut detected, mut opened) = (None, None);
    let before = bad_answers(before);
    while clock::since_start() < end {
        let status = stack.status().await?;
        let passed = clock::since_start().saturating_sub(begin);
        if breaker_is_open(&status) {
            opened.get_or_insert(passed);
        }
        if opened.is_some() || bad_answers(&status) > before || fails_a_check(&status) {
            detected.get_or_insert(passed);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok((detected, opened))
}

/// Whether an instance is out of the pool.
fn fails_a_check(status: &Value) -> bool {
    let mut instances = services(status).flat_map(|service| items(service, "/instances"));
    instances.any(|instance| instance["health"].as_str().is_some_and(|health| health != "pass"))
}

/// The times from `end` until every breaker was closed, and to the last bad answer or open breaker, once it has been clean
/// for long enough.
async fn recovery(stack: &Stack, end: Duration) -> anyhow::Result<(Duration, Duration)> {
    let (mut closed, mut last_bad) = (None, end);
    let mut seen = bad_answers(&stack.status().await?);
    loop {
        let status = stack.status().await?;
        let now = clock::since_start();
        let bad = bad_answers(&status);
        let is_open = breaker_is_open(&status);
        if !is_open {
            closed.get_or_insert(now);
        }
        if bad > seen || is_open {
            (seen, last_bad) = (bad, now);
        }
        if let Some(closed) = closed.filter(|_| now.saturating_sub(last_bad) >= CLEAN) {
            return Ok((closed.saturating_sub(end), last_bad.saturating_sub(end)));
        }
        ensure!(
            now.saturating_sub(end) < LIMIT,
            "not recovered after {} s; the load is {}",
            LIMIT.as_secs(),
            status["load"]
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// What the built-in load has not got as it asked.
fn bad_answers(status: &Value) -> u64 {
    let count = |name: &str| status.pointer(&format!("/load/{name}")).and_then(Value::as_u64).unwrap_or_default();
    ["degraded", "shed", "failed"].into_iter().map(count).fold(0, u64::saturating_add)
}

/// Attempts of the retry layers. What the pools before the state plane ask once more, on a connection in the place of one
/// that was found closed, is shown there.
fn retries(status: &Value) -> f64 {
    let retrying = services(status).filter(|service| service["service"] != "database" && service["service"] != "cache");
    retrying.filter_map(|service| service["retried_total"].as_f64()).sum()
}

fn breaker_is_open(status: &Value) -> bool {
    let mut breakers = services(status).flat_map(|service| items(service, "/breakers"));
    breakers.any(|breaker| breaker["state"].as_str().is_some_and(|state| state != "closed"))
}

/// Runs an experiment between a warm-up and a cool-down, with a load of this process's own.
pub(super) async fn under_load<T>(
    stack: &Stack,
    rps: u32,
    experiment: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(LoadReport, anyhow::Result<T>)> {
    let options =
        LoadOptions { rps: rps.into(), seconds: 600, seed: 7, ..LoadOptions::new(stack.ready().edge.clone()) };
    let (stop, stopped) = oneshot::channel::<()>();
    let load = load::run(&options, async {
        let _dropped = stopped.await;
    });
    let experiment = async {
        tokio::time::sleep(Duration::from_secs(WARM_UP.into())).await;
        let outcome = experiment.await;
        tokio::time::sleep(COOL_DOWN).await;
        drop(stop);
        outcome
    };
    let (report, outcome) = tokio::join!(load, experiment);
    Ok((report?, outcome))
}

/// Seconds, to the millisecond.
pub(super) fn rounded(duration: Duration) -> f64 {
    to_thousandths(duration.as_secs_f64())
}

fn to_thousandths(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// A measured row; `seen` is what was seen to help.
pub(super) fn row(
    fault: &'static str,
    detected: Option<Duration>,
    recovered: Option<Duration>,
    report: &LoadReport,
    seen: &[(bool, &str)],
    figures: Value,
) -> Row {
    let lost = report.unanswered();
    let remedies: Vec<_> = seen.iter().filter(|(seen, _)| *seen).map(|(_, remedy)| *remedy).collect();
    Row {
        fault,
        detected_s: detected.map(rounded),
        recovered_s: recovered.map(rounded),
        requests: Some(report.totals.sent),
        errors: Some(report.totals.failed.saturating_sub(lost)),
        degraded: Some(report.totals.degraded),
        shed: Some(report.totals.shed),
        lost: Some(lost),
        opened_s: None,
        closed_s: None,
        fallback_share: None,
        extra_load: None,
        remedied_by: (!remedies.is_empty()).then(|| remedies.join(", ")),
        verdict: "measured",
        reason: None,
        missed: Vec::new(),
        figures,
    }
}

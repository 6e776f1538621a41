//! Five times the edge's declared capacity.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::Row;
use super::experiment::row;
use super::progress::Progress;
use crate::clock;
use crate::link::Role;
use crate::load::{self, LoadOptions};
use crate::supervisor::Plan;
use crate::trial::{Stack, service};

/// Of the declared capacity of all edge processes.
const MULTIPLE: f64 = 5.0;
/// Of the declared capacity: a load that loads nothing, to compare with.
const UNLOADED: f64 = 0.1;
/// How long each load lasts.
const SECONDS: u32 = 10;
/// The longest that is waited for a recovery.
const LIMIT: Duration = Duration::from_secs(30);
/// This many answers in a row as asked are a recovery.
const STREAK: u32 = 20;

pub(super) async fn measure(binary: &Path, name: &'static str, each: f64, progress: Progress) -> anyhow::Result<Row> {
    progress.step("a stack starts");
    let stack = Stack::configured(binary, &json!({"capacity": {"edge": each}}), &["--load", "0"]).await?;
    let capacity = each * f64::from(Plan::count(Role::Edge));
    let url = stack.ready().edge.clone();
    let unloaded = LoadOptions { rps: capacity * UNLOADED, seconds: SECONDS, ..LoadOptions::new(url.clone()) };
    progress.step(format_args!("{:.0} requests/s for {SECONDS} s, to compare with", unloaded.rps));
    let unloaded = load::run(&unloaded, std::future::pending()).await?;

    let begin = clock::since_start();
    let burst = LoadOptions { rps: capacity * MULTIPLE, seconds: SECONDS, seed: 2, ..LoadOptions::new(url) };
    progress.step(format_args!("{:.0} requests/s for {SECONDS} s", burst.rps));
    let sheds = |status: &Value| service(status, "edge")["shed_total"].as_f64().is_some_and(|count| count > 0.0);
    // A stack that does not shed is a result too, so this only looks while the burst lasts.
    let detecting = stack.until("the edge sheds", Duration::from_secs(SECONDS.into()), sheds);
    let (burst, detected) = tokio::join!(load::run(&burst, std::future::pending()), detecting);
    let (burst, detected) = (burst?, detected.ok().map(|(_, waited)| waited));

    let end = clock::since_start();
    progress.step("that has ended; waiting until every answer is as asked again");
    let recovered = recovery(&stack, end).await?;
    stack.stop().await?;
    let accepted = burst.totals.ok.saturating_add(burst.totals.degraded);
    let goodput = f64::from(u32::try_from(accepted).unwrap_or(u32::MAX)) / end.saturating_sub(begin).as_secs_f64();
    let figures = json!({
        "capacity_rps": capacity,
        "offered_rps": capacity * MULTIPLE,
        "goodput_rps": goodput.round(),
        "goodput_of_capacity": (goodput / capacity * 100.0).round() / 100.0,
        "p50_ms": burst.totals.p50_ms,
        "p99_ms": burst.totals.p99_ms,
        "unloaded_p99_ms": unloaded.totals.p99_ms,
        "statuses": burst.statuses,
    });
    let seen = [(burst.totals.shed > 0, "shedding at the edge"), (burst.totals.degraded > 0, "fallbacks")];
    Ok(row(name, detected, Some(recovered), &burst, &seen, figures))
}

/// The time from `end` to the first of enough answers in a row that are as asked.
async fn recovery(stack: &Stack, end: Duration) -> anyhow::Result<Duration> {
    let (mut streak, mut first) = (0_u32, end);
    while streak < STREAK {
        let sent = clock::since_start();
        ensure!(sent.saturating_sub(end) < LIMIT, "not recovered after {} s", LIMIT.as_secs());
        let clean = stack
            .get("/catalog/popular")
            .await
            .is_ok_and(|answer| answer.status.is_success() && answer.header("x-seawall-degraded").is_empty());
        if streak == 0 {
            first = sent;
        }
        streak = if clean { streak.saturating_add(1) } else { 0 };
    }
    Ok(first.saturating_sub(end))
}

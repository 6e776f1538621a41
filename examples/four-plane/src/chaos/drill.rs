//! The overload drill: several times what the edges declare, with the stack's protection and without it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;

use super::experiment::rounded;
use super::progress::Progress;
use crate::clock;
use crate::link::{ProtectionMode, Role};
use crate::load::{self, IN_TIME, LoadOptions, LoadReport, Sorted};
use crate::say;
use crate::supervisor::Plan;
use crate::trial::Stack;

/// What is sent, as multiples of what all edges declare together.
pub const MULTIPLES: [f64; 3] = [2.0, 5.0, 10.0];
/// Of the declared capacity: a load that loads nothing, to fill caches and to compare with.
const UNLOADED: f64 = 0.1;
/// How long the unloaded load lasts, in seconds.
const WARM_UP: u32 = 10;
/// The longest that is waited for a recovery.
const LIMIT: Duration = Duration::from_mins(2);
/// This many answers in a row in time and as asked are a recovery.
const STREAK: u32 = 20;

/// What `four-plane drill` is told.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct DrillOptions {
    /// How long each overload lasts, 1 to 600 seconds. Default 60.
    pub seconds: u32,
    /// What each edge declares, in requests per second. Default 100: ten times that of two is what two cores can send and
    /// refuse.
    pub capacity: f64,
    /// How long the load lasts that loads nothing, to fill caches and to compare with, in seconds. Default 10.
    pub warm_up: u32,
    /// The longest that is waited for a recovery. Default two minutes.
    pub patience: Duration,
    /// One JSON object a line.
    pub json: bool,
}

impl Default for DrillOptions {
    fn default() -> Self {
        Self { seconds: 60, capacity: 100.0, warm_up: WARM_UP, patience: LIMIT, json: false }
    }
}

/// What one overload came to.
#[derive(Serialize, Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DrillRow {
    /// `on` or `off`.
    pub protection: &'static str,
    /// What was sent, as a multiple of the declared capacity.
    pub multiple: f64,
    /// The same in requests per second.
    pub offered_rps: f64,
    /// Answered within a second, per second of the overload.
    pub goodput_rps: f64,
    /// The same as a share of the declared capacity.
    pub goodput_of_capacity: f64,
    /// Of the accepted answers.
    pub p50_ms: Option<f64>,
    /// Likewise.
    pub p99_ms: Option<f64>,
    /// The p99 of the same stack when it has nothing to do.
    pub unloaded_p99_ms: Option<f64>,
    /// How long half of the refusals took at most.
    pub shed_p50_ms: Option<f64>,
    /// From the overload's end to the first of twenty answers in a row in time; nothing when they did not come within two
    /// minutes.
    pub recovered_s: Option<f64>,
    /// Critical requests that were not answered in time while sheddable ones were.
    pub passed_over: u64,
    /// What became of all requests.
    pub all: Sorted,
    /// The same by what requests are worth.
    pub by_criticality: BTreeMap<&'static str, Sorted>,
}

/// `four-plane drill`: each multiple with protection and without, a row for each as soon as it is there, and on standard error
/// what it is at.
///
/// # Errors
/// When a stack does not start, or the load cannot reach it.
pub async fn run(options: &DrillOptions) -> anyhow::Result<()> {
    let binary = std::env::current_exe().context("cannot find the program itself")?;
    if !options.json {
        say::out(HEADER);
    }
    for (mode, measured) in [(ProtectionMode::On, "protection on"), (ProtectionMode::Off, "protection off")] {
        overload(&binary, mode, &MULTIPLES, options, Progress::Of(measured), |row| {
            say::out(if options.json { serde_json::to_string(row)? } else { line(row) });
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Overloads one stack, a multiple after the other, each when it has recovered from the one before.
///
/// # Errors
/// As [`run`], and those of `each`.
pub async fn measure(
    binary: &Path,
    mode: ProtectionMode,
    multiples: &[f64],
    options: &DrillOptions,
    each: impl FnMut(&DrillRow) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    overload(binary, mode, multiples, options, Progress::Silent, each).await
}

async fn overload(
    binary: &Path,
    mode: ProtectionMode,
    multiples: &[f64],
    options: &DrillOptions,
    progress: Progress,
    mut each: impl FnMut(&DrillRow) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let config = json!({
        "capacity": {"edge": options.capacity},
        "protection": mode.name(),
        // Here the callers are ours: there is nobody who would call everything critical.
        "trust_criticality": "true",
    });
    progress.step("a stack starts");
    let stack = Stack::configured(binary, &config, &["--load", "0"]).await?;
    let capacity = options.capacity * f64::from(Plan::count(Role::Edge));
    let load = |multiple: f64, seconds, seed| LoadOptions {
        rps: capacity * multiple,
        seconds,
        seed,
        criticalities: true,
        ..LoadOptions::new(stack.ready().edge.clone())
    };
    progress.step(format_args!("{:.0} requests/s for {} s, to compare with", capacity * UNLOADED, options.warm_up));
    let unloaded = load::run(&load(UNLOADED, options.warm_up, 1), std::future::pending()).await?;
    for (multiple, seed) in multiples.iter().zip(2..) {
        let overload = load(*multiple, options.seconds, seed);
        progress.step(format_args!("{:.0} requests/s for {} s", overload.rps, options.seconds));
        let recovery = async {
            tokio::time::sleep(Duration::from_secs(options.seconds.into())).await;
            progress.step("that has ended; waiting until every answer is in time again");
            recovery(&stack, options.patience).await
        };
        let (report, recovered) = tokio::join!(load::run(&overload, std::future::pending()), recovery);
        let report = report?;
        ensure!(report.sorted.sent > 0, "nothing was sent");
        each(&row(mode, *multiple, capacity, options.seconds, &unloaded, report, recovered))?;
    }
    stack.stop().await
}

fn row(
    mode: ProtectionMode,
    multiple: f64,
    capacity: f64,
    seconds: u32,
    unloaded: &LoadReport,
    report: LoadReport,
    recovered: Option<Duration>,
) -> DrillRow {
    let in_time = f64::from(u32::try_from(report.sorted.in_time).unwrap_or(u32::MAX));
    let goodput = in_time / f64::from(seconds);
    DrillRow {
        protection: mode.name(),
        multiple,
        offered_rps: capacity * multiple,
        goodput_rps: goodput.round(),
        goodput_of_capacity: (goodput / capacity * 100.0).round() / 100.0,
        p50_ms: report.totals.p50_ms,
        p99_ms: report.totals.p99_ms,
        unloaded_p99_ms: unloaded.totals.p99_ms,
        shed_p50_ms: report.shed_p50_ms,
        recovered_s: recovered.map(rounded),
        passed_over: report.passed_over,
        all: report.sorted,
        by_criticality: report.by_criticality,
    }
}

/// The time from now to the first of enough answers in a row in time and as asked.
async fn recovery(stack: &Stack, patience: Duration) -> Option<Duration> {
    let end = clock::since_start();
    let (mut streak, mut first) = (0_u32, end);
    while streak < STREAK {
        let sent = clock::since_start();
        if sent.saturating_sub(end) >= patience {
            return None;
        }
        let answered = tokio::time::timeout(IN_TIME, stack.get("/catalog/popular")).await;
        let clean = answered.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status.is_success()));
        if streak == 0 {
            first = sent;
        }
        streak = if clean { streak.saturating_add(1) } else { 0 };
    }
    Some(first.saturating_sub(end))
}

const HEADER: &str = "protection  offered/s  goodput/s  of capacity       p99  refused in  recovered     shed  passed over  critical  \
                      default  degraded  sheddable";

fn line(row: &DrillRow) -> String {
    let millis = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.0} ms"));
    let lost = |worth: &str| {
        let sorted = row.by_criticality.get(worth).copied().unwrap_or_default();
        let not_in_time = sorted.sent.saturating_sub(sorted.in_time);
        let share = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        format!("{:.1}%", share(not_in_time) / share(sorted.sent).max(1.0) * 100.0)
    };
    format!(
        "{:<10}  {:>9.0}  {:>9.0}  {:>11.2}  {:>8}  {:>10}  {:>9}  {:>7}  {:>11}  {:>8}  {:>7}  {:>8}  {:>9}",
        row.protection,
        row.offered_rps,
        row.goodput_rps,
        row.goodput_of_capacity,
        millis(row.p99_ms),
        millis(row.shed_p50_ms),
        row.recovered_s.map_or_else(|| "no".to_owned(), |seconds| format!("{seconds:.2} s")),
        row.all.shed,
        row.passed_over,
        lost("critical"),
        lost("default"),
        lost("degraded"),
        lost("sheddable"),
    )
}

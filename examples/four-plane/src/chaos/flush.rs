//! The cache emptied under a steady load.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Row;
use super::experiment::{EDGE_CAPACITY, LIMIT, row, under_load};
use super::progress::Progress;
use crate::clock;
use crate::trial::{Stack, service};

/// Requests per second: enough that what is asked for most is soon back.
const RPS: u32 = 300;
/// Until the cache answers most of what it is asked for.
const FILL: Duration = Duration::from_secs(20);
/// The status shows shares of the last five seconds: all of them are from after the flush by then.
const SETTLE: Duration = Duration::from_millis(5_500);
/// A share that has fallen by so much has not done so by chance.
const FALL: f64 = 0.1;
/// A cache that answers more than it does not has come back.
const BACK: f64 = 0.5;

pub(super) async fn measure(binary: &Path, name: &'static str, progress: Progress) -> anyhow::Result<Row> {
    let capacity = json!({"capacity": {"edge": EDGE_CAPACITY}});
    progress.step("a stack starts");
    let stack = Stack::configured(binary, &capacity, &["--load", "0"]).await?;
    progress.step(format_args!("{RPS} requests/s, which fill the cache for {} s", FILL.as_secs()));
    let flushed = async {
        tokio::time::sleep(FILL).await;
        let before = hits(&stack.status().await?);
        let begin = clock::since_start();
        stack.inject(&json!({"kind": "flush", "target": "cache", "seconds": 1})).await?;
        progress.step("the cache is emptied; waiting until it answers most look-ups again");
        let fallen = |status: &Value| hits(status).zip(before).is_some_and(|(now, before)| now <= before - FALL);
        let (_, detected) = stack.until("the cache answers less", LIMIT, fallen).await?;
        tokio::time::sleep(SETTLE.saturating_sub(clock::since_start().saturating_sub(begin))).await;
        let least = hits(&stack.status().await?);
        let back = |status: &Value| hits(status).is_some_and(|share| share >= BACK);
        stack.until("the cache answers most again", LIMIT, back).await?;
        Ok((before, least, detected, clock::since_start().saturating_sub(begin)))
    };
    let (report, outcome) = under_load(&stack, RPS, flushed).await?;
    let (before, least, detected, back) = outcome?;
    stack.stop().await?;
    let figures = json!({
        "hits_before": before,
        "hits_after": least,
        "p99_ms": report.totals.p99_ms,
        "statuses": report.statuses,
    });
    let seen = [(true, "the database, which fills the cache again"), (report.totals.degraded > 0, "fallbacks")];
    Ok(row(name, Some(detected), Some(back), &report, &seen, figures))
}

/// The catalog's share of look-ups that the cache answered.
fn hits(status: &Value) -> Option<f64> {
    service(status, "catalog")["cache_hit_ratio"].as_f64()
}

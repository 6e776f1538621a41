//! The document's scorecard, filled in from what a stack of its own shows.

use anyhow::Context;
use serde::Serialize;

use crate::client::Client;
use crate::say;
use crate::trial::{Stack, items};

/// The highest level of an area.
const LEVELS: u8 = 3;
/// How long one look may take.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// The four golden signals, by a metric that shows each.
const GOLDEN_SIGNALS: [(&str, &str); 4] = [
    ("traffic and errors", "four_plane_requests_total"),
    ("latency", "four_plane_request_duration_seconds"),
    ("saturation", "four_plane_in_flight"),
    ("limit", "four_plane_limit"),
];

/// One area of the scorecard.
#[derive(Serialize, Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The area, as the document names it.
    pub area: &'static str,
    /// 0 to 3: the highest level whose evidence is there.
    pub level: u8,
    /// The highest level that exists.
    pub of: u8,
    /// `measured` on the stack, or `argued`.
    pub basis: &'static str,
    /// What shows the level.
    pub evidence: String,
    /// What the next level asks for.
    pub missing: &'static str,
}

/// Starts a stack and fills in the scorecard.
///
/// # Errors
/// When the stack does not come up.
pub async fn measure(binary: &std::path::Path) -> anyhow::Result<Vec<Row>> {
    let stack = Stack::start(binary, &["--load", "50"]).await?;
    let rows = vec![
        monitoring(&stack).await?,
        row("Deployment", 1, "argued", "instances are started by hand, with one command".to_owned(), "blue-green with rollback"),
        incidents(&stack).await?,
        row(
            "Testing",
            1,
            "argued",
            "unit, property and whole-stack tests run with `cargo test`; `four-plane chaos` measures kills, latency and \
             overload, on demand"
                .to_owned(),
            "every layer of the pyramid, measured",
        ),
        row("Security", 0, "argued", "requests are not authenticated".to_owned(), "basic authentication"),
        performance(&stack).await?,
    ];
    stack.stop().await?;
    Ok(rows)
}

/// `four-plane score`: prints it.
///
/// # Errors
/// As [`measure`].
pub async fn run(json: bool) -> anyhow::Result<()> {
    let binary = std::env::current_exe().context("cannot find the program itself")?;
    let rows = measure(&binary).await?;
    for row in &rows {
        if json {
            say::out(serde_json::to_string(row)?);
        } else {
            say::out(format_args!(
                "{:<18} {}/{}  {}: {}; missing: {}",
                row.area, row.level, row.of, row.basis, row.evidence, row.missing
            ));
        }
    }
    if !json {
        let of: u32 = rows.iter().map(|row| u32::from(row.of)).fold(0, u32::saturating_add);
        let total: u32 = rows.iter().map(|row| u32::from(row.level)).fold(0, u32::saturating_add);
        say::out(format_args!("{:<18} {total}/{of}", "Total"));
    }
    Ok(())
}

pub(crate) const fn row(
    area: &'static str,
    level: u8,
    basis: &'static str,
    evidence: String,
    missing: &'static str,
) -> Row {
    Row { area, level, of: LEVELS, basis, evidence, missing }
}

async fn monitoring(stack: &Stack) -> anyhow::Result<Row> {
    let client = Client::new();
    let (mut answering, mut complete) = (0_u32, 0_u32);
    for process in stack.ready().processes.iter().filter(|process| !process.url.is_empty()) {
        let answer = client.get(&format!("{}/metrics", process.url), LIMIT).await?;
        let text = String::from_utf8_lossy(&answer.body);
        answering = answering.saturating_add(u32::from(answer.status.is_success()));
        let all = GOLDEN_SIGNALS.iter().all(|(_, metric)| text.contains(metric));
        complete = complete.saturating_add(u32::from(all));
    }
    let names: Vec<_> = GOLDEN_SIGNALS.iter().map(|(signal, _)| *signal).collect();
    let evidence = format!("{answering} processes answer /metrics, {complete} with {}", names.join(", "));
    Ok(row("Monitoring", u8::from(answering > 0), "measured", evidence, "alerting on the golden signals"))
}

async fn incidents(stack: &Stack) -> anyhow::Result<Row> {
    let status = stack.status().await?;
    let events = items(&status, "/events").count();
    let evidence =
        format!("the status lists {events} events to investigate by hand; killed instances are started again");
    Ok(row("Incident Response", u8::from(events > 0), "measured", evidence, "runbooks and escalation"))
}

async fn performance(stack: &Stack) -> anyhow::Result<Row> {
    let path = format!("/catalog/items/{}", crate::data::cities().first().map_or(0, |city| city.id));
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(stack.get(&path).await?.header("x-cache").to_owned());
    }
    let hits = answers.iter().filter(|answer| *answer == "hit").count();
    let evidence = format!("{hits} of {} reads of one page came from the cache", answers.len());
    Ok(row("Performance", u8::from(hits > 0), "measured", evidence, "a cache of several tiers"))
}

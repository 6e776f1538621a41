//! Breaks a stack of its own and measures what it does.

mod asked;
pub mod drill;
mod experiment;
mod flush;
mod overload;
mod progress;
pub(crate) mod promises;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use self::progress::Progress;
use crate::config::{ConfigError, RunOptions, wrong};
use crate::say;

/// What is done to the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Instances of a role are killed, one after another.
    Kill(Kills),
    /// A fault on one target.
    Fault(Fault),
    /// The cache forgets everything, once.
    Flush,
    /// Five times the edge's declared capacity.
    Overload,
    /// The part that would be broken does not exist.
    NotYet { missing: &'static str },
}

/// Kills under a steady load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kills {
    role: &'static str,
    /// How often.
    count: u32,
    /// Requests per second meanwhile.
    rps: u32,
    /// From one kill to the next; longer where the replacement takes longer.
    every: Duration,
}

/// A fault of a kind and with a value on one target, for some seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault {
    kind: &'static str,
    target: &'static str,
    value: u32,
    seconds: u32,
}

/// As short as three kills can show what happens.
const fn few(role: &'static str) -> Kind {
    Kind::Kill(Kills { role, count: 3, rps: 200, every: Duration::from_secs(2) })
}

/// All of one dependency's instances for as long as a breaker needs to open, be open, and find that nothing has changed.
const fn dependency(kind: &'static str, target: &'static str, value: u32) -> Kind {
    Kind::Fault(Fault { kind, target, value, seconds: 10 })
}

/// Ten kills within more than 30,000 requests: enough to show that none is lost.
const MANY: Kills = Kills { role: "catalog", count: 10, rps: 300, every: Duration::from_secs(10) };

/// Every fault by name, the document's five experiments first.
const FAULTS: [(&str, Kind); 26] = [
    ("instance-termination", Kind::Kill(MANY)),
    ("network-latency", Kind::Fault(Fault { kind: "latency", target: "database", value: 500, seconds: 15 })),
    ("database-failure", Kind::NotYet { missing: "a replica to fail over to" }),
    ("cache-invalidation", Kind::Flush),
    ("region-isolation", Kind::NotYet { missing: "a second region" }),
    ("overload", Kind::Overload),
    ("gateway-termination", few("gateway")),
    ("recommendation-termination", few("recommendation")),
    ("edge-termination", few("edge")),
    ("state-termination", few("state")),
    ("catalog-hang", dependency("hang", "catalog", 0)),
    ("catalog-errors", dependency("error", "catalog", 1)),
    ("catalog-refusal", dependency("refuse", "catalog", 0)),
    ("catalog-trickle", dependency("trickle", "catalog", 20)),
    ("recommendation-hang", dependency("hang", "recommendation", 0)),
    ("recommendation-errors", dependency("error", "recommendation", 1)),
    ("recommendation-refusal", dependency("refuse", "recommendation", 0)),
    ("recommendation-trickle", dependency("trickle", "recommendation", 20)),
    ("database-hang", dependency("hang", "database", 0)),
    ("database-errors", dependency("error", "database", 1)),
    ("database-refusal", dependency("refuse", "database", 0)),
    ("database-trickle", dependency("trickle", "database", 20)),
    ("cache-hang", dependency("hang", "cache", 0)),
    ("cache-errors", dependency("error", "cache", 1)),
    ("cache-refusal", dependency("refuse", "cache", 0)),
    ("cache-trickle", dependency("trickle", "cache", 20)),
];
const NAMES: &str = "instance-termination, network-latency, database-failure, cache-invalidation, region-isolation, \
                     overload, gateway-termination, recommendation-termination, edge-termination, \
                     state-termination, catalog-hang, catalog-errors, catalog-refusal, catalog-trickle, \
                     recommendation-hang, recommendation-errors, recommendation-refusal, recommendation-trickle, \
                     database-hang, database-errors, database-refusal, database-trickle, cache-hang, cache-errors, \
                     cache-refusal, cache-trickle";

/// One line of the result. Figures that were not measured are `None`.
#[derive(Serialize, Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The fault's name.
    pub fault: &'static str,
    /// From the injection until the stack's status showed it; the slowest where it was injected several times.
    pub detected_s: Option<f64>,
    /// From the kill until the replacement was healthy, or from the fault's end until every answer was as asked again.
    pub recovered_s: Option<f64>,
    /// Requests sent at the edge meanwhile.
    pub requests: Option<u64>,
    /// Answers with an error status that is no refusal.
    pub errors: Option<u64>,
    /// Answers by a fallback.
    pub degraded: Option<u64>,
    /// Refusals with 429 or 503 and `Retry-After`.
    pub shed: Option<u64>,
    /// Requests without an answer.
    pub lost: Option<u64>,
    /// From the injection until a circuit breaker was open.
    pub opened_s: Option<f64>,
    /// From the fault's end until every breaker was closed.
    pub closed_s: Option<f64>,
    /// The part of the answers during the fault that fallbacks gave.
    pub fallback_share: Option<f64>,
    /// Attempts at the broken part during the fault beyond one for each call to it.
    pub extra_load: Option<f64>,
    /// What was seen to bring the stack through.
    pub remedied_by: Option<String>,
    /// `measured`, `not-yet`, or `failed` where the stack did not come up or did not recover.
    pub verdict: &'static str,
    /// What is missing to measure it, or how the measurement failed.
    pub reason: Option<String>,
    /// What the stack promises under this fault and did not keep, a sentence each.
    pub missed: Vec<String>,
    /// Further figures of this fault alone.
    pub figures: Value,
}

impl Row {
    pub(crate) fn without_figures(fault: &'static str, verdict: &'static str, reason: String) -> Self {
        Self {
            fault,
            detected_s: None,
            recovered_s: None,
            requests: None,
            errors: None,
            degraded: None,
            shed: None,
            lost: None,
            opened_s: None,
            closed_s: None,
            fallback_share: None,
            extra_load: None,
            remedied_by: None,
            verdict,
            reason: Some(reason),
            missed: Vec::new(),
            figures: json!({}),
        }
    }
}

/// The names of all faults.
pub fn faults() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|(name, _)| *name)
}

fn known(fault: &str) -> Result<(&'static str, Kind), ConfigError> {
    FAULTS.into_iter().find(|(name, _)| *name == fault).ok_or_else(|| wrong("--fault", fault, NAMES))
}

/// Starts a stack, breaks it, and measures what it does. A fault that cannot be measured gives a row that says so.
///
/// Each edge declares `edge_capacity` requests per second in the experiment that exceeds it: with less than the machine
/// can do, it is the declared capacity that is exceeded and not the machine's.
///
/// # Errors
/// [`ConfigError::Value`] for an unknown fault.
pub async fn measure(binary: &Path, fault: &str, edge_capacity: f64) -> Result<Row, ConfigError> {
    let (name, kind) = known(fault)?;
    Ok(of_kind(binary, name, kind, edge_capacity, Progress::Silent).await)
}

async fn of_kind(binary: &Path, name: &'static str, kind: Kind, edge_capacity: f64, progress: Progress) -> Row {
    let measured = match kind {
        Kind::NotYet { missing } => {
            return Row::without_figures(name, "not-yet", format!("there is not yet {missing}"));
        }
        Kind::Kill(kills) => experiment::kills(binary, name, kills, progress).await,
        Kind::Fault(fault) => alone(binary, name, &fault, progress).await,
        Kind::Flush => flush::measure(binary, name, progress).await,
        Kind::Overload => overload::measure(binary, name, edge_capacity, progress).await,
    };
    match measured {
        Ok(row) => Row { missed: promises::missed(&row), ..row },
        Err(error) => Row::without_figures(name, "failed", format!("{error:#}")),
    }
}

async fn alone(binary: &Path, name: &'static str, fault: &Fault, progress: Progress) -> anyhow::Result<Row> {
    let stack = experiment::warm(binary, progress).await?;
    let row = experiment::fault(&stack, name, fault, progress).await?;
    stack.stop().await?;
    Ok(row)
}

/// Breaks dependencies of one stack, one after another, each when it has recovered from the one before.
///
/// # Errors
/// When the stack does not come up or does not recover, or a name is not that of a fault on a dependency.
pub async fn in_turn(binary: &Path, names: &[&str]) -> anyhow::Result<Vec<Row>> {
    let stack = experiment::warm(binary, Progress::Silent).await?;
    let mut rows = Vec::new();
    for name in names {
        let (name, Kind::Fault(fault)) = known(name)? else { anyhow::bail!("{name} is no fault on a dependency") };
        let row = experiment::fault(&stack, name, &fault, Progress::Silent).await?;
        rows.push(Row { missed: promises::missed(&row), ..row });
    }
    stack.stop().await?;
    Ok(rows)
}

/// `four-plane chaos`: measures one fault, or all, and prints a row for each as soon as it is there, and on standard error what
/// it is at.
///
/// # Errors
/// [`ConfigError::Value`] for an unknown fault; any other error when a measurement failed or a promise was not kept.
pub async fn run(fault: Option<&str>, json: bool) -> anyhow::Result<()> {
    let binary = std::env::current_exe().context("cannot find the program itself")?;
    let names: Vec<&str> = fault.map_or_else(|| faults().collect(), |fault| vec![fault]);
    let kinds = names.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
    if !json {
        say::out(HEADER);
    }
    let (mut failed, mut missed) = (Vec::new(), Vec::new());
    let edge_capacity = RunOptions::default().capacity.edge;
    for (name, kind) in kinds {
        let row = of_kind(&binary, name, kind, edge_capacity, Progress::Of(name)).await;
        say::out(if json { serde_json::to_string(&row)? } else { line(&row) });
        if row.verdict == "failed" {
            failed.push(name);
        }
        missed.extend(row.missed.iter().map(|promise| format!("{name}: {promise}")));
    }
    ensure!(missed.is_empty(), "not kept: {}", missed.join("; "));
    ensure!(failed.is_empty(), "could not be measured: {}", failed.join(", "));
    Ok(())
}

const HEADER: &str = "fault                       detected  recovered  requests  errors  degraded    shed  lost  opened  closed  \
                      fallbacks  extra load  remedied by";

fn line(row: &Row) -> String {
    let seconds = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1} s"));
    let count = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    let share = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{:.1}%", figure * 100.0));
    format!(
        "{:<27} {:>8}  {:>9}  {:>8}  {:>6}  {:>8}  {:>6}  {:>4}  {:>6}  {:>6}  {:>9}  {:>10}  {}",
        row.fault,
        seconds(row.detected_s),
        seconds(row.recovered_s),
        count(row.requests),
        count(row.errors),
        count(row.degraded),
        count(row.shed),
        count(row.lost),
        seconds(row.opened_s),
        seconds(row.closed_s),
        share(row.fallback_share),
        share(row.extra_load),
        row.reason.as_ref().or(row.remedied_by.as_ref()).map_or("nothing that was seen", String::as_str),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_that_cannot_be_measured_has_no_figures() {
        let row = measure(Path::new("/nowhere"), "region-isolation", 1.0).await.unwrap();

        assert_eq!((row.verdict, row.detected_s, row.requests, row.lost), ("not-yet", None, None, None));
        assert!(line(&row).ends_with("there is not yet a second region"), "{}", line(&row));
    }

    #[tokio::test]
    async fn a_stack_that_does_not_come_up_is_a_failed_measurement() {
        let row = measure(Path::new("/nowhere"), "overload", 1.0).await.unwrap();

        assert_eq!((row.verdict, row.errors), ("failed", None));
        assert_eq!(row.reason.as_deref(), Some("cannot start /nowhere: No such file or directory (os error 2)"));
    }

    #[tokio::test]
    async fn an_unknown_fault_is_named_with_those_that_exist() {
        let error = measure(Path::new("/nowhere"), "meteor", 1.0).await.unwrap_err();

        let text = error.to_string();
        assert!(text.starts_with("--fault is \"meteor\"; allowed is instance-termination, "), "{text}");
        assert!(faults().all(|fault| text.contains(fault)), "{text}");
    }

    #[test]
    fn a_row_has_every_field_that_readers_rely_on() {
        let row = serde_json::to_value(Row::without_figures("overload", "not-yet", String::new())).unwrap();

        for field in ["fault", "detected_s", "recovered_s", "requests", "errors", "degraded", "lost", "remedied_by"] {
            assert!(row.get(field).is_some(), "{field}");
        }
    }
}

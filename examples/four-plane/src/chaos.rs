//! Breaks a stack of its own and measures what it does.

mod experiment;
mod overload;

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::ConfigError;
use crate::say;

/// What is done to the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Instances of a role are killed, one after another.
    Kill(&'static str),
    /// A fault on one target, of a kind and with a value, for some seconds.
    Fault { kind: &'static str, target: &'static str, value: u32, seconds: u32 },
    /// Five times the edge's declared capacity.
    Overload,
    /// The part that would be broken does not exist.
    NotYet,
}

/// One fault of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    fault: &'static str,
    kind: Kind,
    /// What brings the stack through, or what is missing to measure it.
    remedy: &'static str,
}

/// Every fault, the document's five experiments first.
const ENTRIES: [Entry; 12] = [
    Entry {
        fault: "instance-termination",
        kind: Kind::Kill("catalog"),
        remedy: "the gateway retries on another instance; the supervisor starts the killed one again",
    },
    Entry {
        fault: "network-latency",
        kind: Kind::Fault { kind: "latency", target: "database", value: 500, seconds: 15 },
        remedy: "timeouts and circuit breakers; cached and popular items instead",
    },
    Entry { fault: "database-failure", kind: Kind::NotYet, remedy: "there is no replica to fail over to" },
    Entry { fault: "cache-invalidation", kind: Kind::NotYet, remedy: "the cache cannot be emptied by a fault" },
    Entry { fault: "region-isolation", kind: Kind::NotYet, remedy: "there is one region" },
    Entry { fault: "overload", kind: Kind::Overload, remedy: "the edge sheds what is above its capacity" },
    Entry {
        fault: "gateway-termination",
        kind: Kind::Kill("gateway"),
        remedy: "the edge sends to the other gateway; the supervisor starts the killed one again",
    },
    Entry {
        fault: "recommendation-termination",
        kind: Kind::Kill("recommendation"),
        remedy: "the gateway retries on another instance; the supervisor starts the killed one again",
    },
    Entry {
        fault: "edge-termination",
        kind: Kind::Kill("edge"),
        remedy: "new connections reach the other edge process; the supervisor starts the killed one again",
    },
    Entry {
        fault: "state-termination",
        kind: Kind::Kill("state"),
        remedy: "the supervisor starts the state instance again; fallbacks answer meanwhile",
    },
    Entry {
        fault: "database-errors",
        kind: Kind::Fault { kind: "error", target: "database", value: 1, seconds: 10 },
        remedy: "circuit breakers; cached and popular items instead",
    },
    Entry {
        fault: "cache-errors",
        kind: Kind::Fault { kind: "error", target: "cache", value: 1, seconds: 10 },
        remedy: "reads go to the database",
    },
];

/// One line of the result. Figures that were not measured are `None`.
#[derive(Serialize, Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The fault's name.
    pub fault: &'static str,
    /// From the injection until the stack's status showed it.
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
    /// What brought the stack through, or what is missing.
    pub remedied_by: &'static str,
    /// `measured` or `not-yet`.
    pub verdict: &'static str,
    /// Further figures of this fault alone.
    pub figures: Value,
}

impl Row {
    fn not_yet(entry: Entry) -> Self {
        Self {
            fault: entry.fault,
            detected_s: None,
            recovered_s: None,
            requests: None,
            errors: None,
            degraded: None,
            shed: None,
            lost: None,
            remedied_by: entry.remedy,
            verdict: "not-yet",
            figures: json!({}),
        }
    }
}

/// The names of all faults.
pub fn faults() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.fault)
}

/// Starts a stack, breaks it, and measures what it does. A fault that cannot be measured gives a row that says so.
///
/// # Errors
/// [`ConfigError::Value`] for an unknown fault; any other error when the stack does not come up or never recovers.
pub async fn measure(binary: &Path, fault: &str) -> anyhow::Result<Row> {
    let entry = ENTRIES.into_iter().find(|entry| entry.fault == fault).ok_or_else(|| ConfigError::Value {
        field: "--fault".to_owned(),
        value: fault.to_owned(),
        allowed: "instance-termination, network-latency, database-failure, cache-invalidation, region-isolation, overload, \
                  gateway-termination, recommendation-termination, edge-termination, state-termination, database-errors, \
                  cache-errors",
    })?;
    match entry.kind {
        Kind::NotYet => Ok(Row::not_yet(entry)),
        Kind::Kill(role) => experiment::kills(binary, entry, role).await,
        Kind::Fault { kind, target, value, seconds } => {
            let fault = json!({"kind": kind, "target": target, "value": value, "seconds": seconds});
            experiment::fault(binary, entry, &fault, seconds).await
        }
        Kind::Overload => overload::measure(binary, entry).await,
    }
}

/// `four-plane chaos`: measures one fault, or all, and prints a row for each as soon as it is there.
///
/// # Errors
/// As [`measure`].
pub async fn run(fault: Option<&str>, json: bool) -> anyhow::Result<()> {
    let binary = std::env::current_exe().context("cannot find the program itself")?;
    let names: Vec<&str> = fault.map_or_else(|| faults().collect(), |fault| vec![fault]);
    if !json {
        say::out(HEADER);
    }
    for name in names {
        let row = measure(&binary, name).await.with_context(|| format!("fault {name}"))?;
        say::out(if json { serde_json::to_string(&row)? } else { line(&row) });
    }
    Ok(())
}

const HEADER: &str =
    "fault                       detected  recovered  requests  errors  degraded    shed  lost  remedied by";

fn line(row: &Row) -> String {
    let seconds = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2} s"));
    let count = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    format!(
        "{:<27} {:>8}  {:>9}  {:>8}  {:>6}  {:>8}  {:>6}  {:>4}  {}{}",
        row.fault,
        seconds(row.detected_s),
        seconds(row.recovered_s),
        count(row.requests),
        count(row.errors),
        count(row.degraded),
        count(row.shed),
        count(row.lost),
        if row.verdict == "not-yet" { "not yet: " } else { "" },
        row.remedied_by,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_that_cannot_be_measured_has_no_figures() {
        let row = measure(Path::new("/nowhere"), "region-isolation").await.unwrap();

        assert_eq!((row.verdict, row.detected_s, row.requests, row.lost), ("not-yet", None, None, None));
        assert!(line(&row).contains("not yet: there is one region"), "{}", line(&row));
    }

    #[tokio::test]
    async fn an_unknown_fault_is_named_with_those_that_exist() {
        let error = measure(Path::new("/nowhere"), "meteor").await.unwrap_err();

        let text = error.to_string();
        assert!(text.starts_with("--fault is \"meteor\"; allowed is instance-termination, "), "{text}");
        assert!(faults().all(|fault| text.contains(fault)), "{text}");
    }

    #[test]
    fn a_row_has_every_field_that_readers_rely_on() {
        let row = serde_json::to_value(Row::not_yet(ENTRIES[0])).unwrap();

        for field in ["fault", "detected_s", "recovered_s", "requests", "errors", "degraded", "lost", "remedied_by"] {
            assert!(row.get(field).is_some(), "{field}");
        }
    }
}

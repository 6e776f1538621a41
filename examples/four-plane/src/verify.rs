//! One row for every figure, box, cell and arrow of the document, and what this machine measures of them.

pub mod measure;
pub mod report;
pub mod rows;
mod stack;
mod web;

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use report::{Record, Report, Verdict};

/// Measures what can be measured, on a stack of its own, and prints every row: `json` as one JSON object a line,
/// otherwise as a table.
///
/// # Errors
/// After printing, when a measured row is not met; also when the stack does not start, or the output cannot be written.
pub async fn run(json: bool) -> anyhow::Result<()> {
    let rows = rows::all()?;
    let mut findings = tokio::select! {
        findings = measure::all() => findings?,
        // Dropping the measurement kills the stack, which would otherwise outlive it.
        () = interrupted() => anyhow::bail!("interrupted"),
    };
    let records = rows.into_iter().map(|row| {
        let finding = findings.remove(row.id.as_str());
        Record::new(row, finding)
    });
    let report = Report::new(records.collect());
    let mut out = io::stdout().lock();
    if json { report.write_json(&mut out) } else { report.write_table(&mut out) }?;
    anyhow::ensure!(report.holds(), "{} measured rows are not met", report.count(Verdict::NotMet));
    Ok(())
}

async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

//! One row for every figure, box, cell and arrow of the document, and what this machine measures of them.

pub mod measure;
pub mod report;
pub mod rows;
mod stack;
mod web;

use std::io::{self, Write};
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::ConfigError;
use crate::state::provision::is_installed;
use report::{Record, Report};

/// Measures what can be measured, on a stack of its own, and prints every row: `json` as one JSON object a line,
/// otherwise as a table. With `output` the JSON goes there and the table is printed.
///
/// # Errors
/// After printing, when a row of the baseline `verify/met.txt` is not met, or not measured where its server is installed; also when the stack does not start, or the
/// output cannot be written.
pub async fn run(json: bool, output: Option<&Path>) -> anyhow::Result<()> {
    let rows = [rows::all()?, rows::promises()?].concat();
    // Made before minutes of measuring, so that a path that cannot be written to is said at once.
    let file = output.map(|path| create(path).map(io::BufWriter::new)).transpose()?;
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
    match file {
        Some(mut file) => {
            report.write_json(&mut file)?;
            file.flush()?;
            report.write_table(&mut out)?;
        }
        None if json => report.write_json(&mut out)?,
        None => report.write_table(&mut out)?,
    }
    let regressed = report.regressed(rows::baseline(), is_installed);
    anyhow::ensure!(regressed.is_empty(), "not met or not measured, and in verify/met.txt: {}", regressed.join(", "));
    Ok(())
}

fn create(path: &Path) -> Result<std::fs::File, ConfigError> {
    let field = "--output";
    std::fs::File::create(path).map_err(|cause| ConfigError::Path { field, path: path.to_owned(), cause })
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

//! Rows as JSON, one object a line, or as a table.

use serde_json::{Value, json};

use crate::{measure::Measured, rows::Row};

/// One row as DESIGN's consumers read it.
pub fn json(row: &Row, measured: &Measured, instructions: Option<f64>) -> Value {
    let ratios = |peers: &[(&str, f64)]| {
        peers.iter().map(|(name, ratio)| ((*name).to_owned(), json!(round(*ratio)))).collect::<serde_json::Map<_, _>>()
    };
    json!({
        "group": row.name.split_once('/').map_or(row.name, |(group, _)| group),
        "name": row.name,
        "ns_min": round(measured.ns_min),
        "ns_median": round(measured.ns_median),
        "instructions": instructions.map(round),
        "allocs": measured.allocs,
        "clock": row.clock,
        "two_threads_over_one": round(measured.two_threads_over_one),
        "peers": ratios(&measured.peers),
        "peers_two_threads": ratios(&measured.peers_two_threads),
        "two_threads_over_one_to_peers": ratios(&measured.peers_scaling),
    })
}

/// The same for people.
pub fn text(row: &Row, measured: &Measured, instructions: Option<f64>) -> String {
    let instructions = instructions.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"));
    let peers = |peers: &[(&str, f64)]| {
        peers.iter().map(|(name, ratio)| format!("{name} {ratio:.2}")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "{:<36} {:>8.1} ns {:>6} instr {:>4.1} allocs  2T {:>4.2}  [{}]  2T [{}]",
        row.name,
        measured.ns_median,
        instructions,
        measured.allocs,
        measured.two_threads_over_one,
        peers(&measured.peers),
        peers(&measured.peers_two_threads),
    )
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

//! Experiments as tables.
use std::fmt::Write;

use crate::{
    Kind, Protection,
    bars::{means, quantile},
    experiments::{Case, JITTERS, LOADS, Retries, breakers, contended, critical, fair, goodput, recovery, throttled},
};

const MILLISECONDS_50: u64 = 50_000_000;

/// All that are compared: the peers' algorithms, none, and ours.
pub const PROTECTIONS: [Protection; 7] = [
    Protection::None,
    Protection::Aimd(MILLISECONDS_50),
    Protection::Vegas,
    Protection::Gradient2,
    Protection::KneeCoDel,
    Protection::Knee,
    Protection::KneeQueue,
];

/// A table as text: a row per line, cells between bars, as Markdown has it.
#[derive(Debug, Default)]
struct Table {
    text: String,
}

impl Table {
    fn with_head(cells: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(cells);
        table.row(&vec!["---"; cells.len()]);
        table
    }

    fn row<C: AsRef<str>>(&mut self, cells: &[C]) {
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }
}

/// The names of the tables.
pub const NAMES: [&str; 8] = ["goodput", "latency", "recovery", "breaker", "throttle", "critical", "fair", "jitter"];

/// The table of that name.
pub fn table(name: &str, kinds: &[Kind], seeds: &[u64]) -> Option<String> {
    Some(match name {
        "goodput" => of_goodput(kinds, seeds, |goodput, _| goodput),
        "latency" => of_goodput(kinds, seeds, |_, p99| p99),
        "recovery" => of_recovery(seeds),
        "breaker" => of_breakers(seeds),
        "throttle" => of_throttles(seeds),
        "critical" => of_criticalities(kinds, seeds),
        "fair" => of_tenants(kinds, seeds),
        "jitter" => of_jitters(seeds),
        _ => return None,
    })
}

/// Every protection on every kind and load, and what they come to together.
fn of_goodput(kinds: &[Kind], seeds: &[u64], pick: fn(f64, f64) -> f64) -> String {
    let guessed = [Protection::PlainKnee, Protection::Fixed(64), Protection::Wdrr(64), Protection::CoDel(1_000)];
    let protections = [PROTECTIONS.as_slice(), &guessed].concat();
    let rows = goodput(&Case::all(kinds, &LOADS, seeds), &protections);
    let names: Vec<&str> = protections.iter().map(|protection| protection.name()).collect();
    let mut table = Table::with_head(&[&["kind", "load"], names.as_slice()].concat());
    let cells: Vec<_> = (0..protections.len()).map(|which| means(&rows, kinds, &LOADS, which)).collect();
    for (index, (kind, load, ..)) in cells[0].iter().enumerate() {
        let mut row = vec![kind.clone(), load.to_string()];
        row.extend(cells.iter().map(|cells| format!("{:.3}", pick(cells[index].2, cells[index].3))));
        table.row(&row);
    }
    for (name, part) in [("least", 0.0), ("10th percentile", 0.1), ("median", 0.5), ("most", 1.0)] {
        let mut row = vec![name.to_owned(), String::new()];
        row.extend(
            cells.iter().map(|cells| format!("{:.3}", quantile(cells.iter().map(|cell| pick(cell.2, cell.3)), part))),
        );
        table.row(&row);
    }
    let mut row = vec!["mean".to_owned(), String::new()];
    row.extend(cells.iter().map(|cells| {
        format!("{:.3}", cells.iter().map(|cell| pick(cell.2, cell.3)).sum::<f64>() / cells.len().max(1) as f64)
    }));
    table.row(&row);
    table.text
}

fn seconds(seconds: f64) -> String {
    if seconds.is_finite() { format!("{seconds:.1} s") } else { "never".to_owned() }
}

fn of_recovery(seeds: &[u64]) -> String {
    let protections = [
        Protection::None,
        Protection::DropExpired,
        Protection::DropLate,
        Protection::KneeCoDel,
        Protection::Knee,
        Protection::KneeQueue,
    ];
    let results = recovery(&protections, &Retries::ALL, seeds);
    let head = [
        "server",
        "kind",
        "usual load",
        "retries",
        "goodput at 3×",
        "recovered after",
        "answered a minute later",
        "attempts per call",
    ];
    let mut table = Table::with_head(&head);
    for same in results.chunks(seeds.len().max(1)) {
        let Some(first) = same.first() else { continue };
        let worst = same.iter().map(|result| result.seconds).fold(0.0, f64::max);
        let least = same.iter().map(|result| result.in_the_end).fold(1.0, f64::min);
        let mean =
            |value: fn(&crate::experiments::Recovery) -> f64| same.iter().map(value).sum::<f64>() / same.len() as f64;
        table.row(&[
            first.case.protection.name().to_owned(),
            first.case.kind.name.to_owned(),
            first.case.base.to_string(),
            first.case.retries.name().to_owned(),
            format!("{:.2}", mean(|result| result.goodput)),
            seconds(worst),
            format!("{least:.2}"),
            format!("{:.2}", mean(|result| result.attempts)),
        ]);
    }
    table.text
}

fn of_breakers(seeds: &[u64]) -> String {
    let mut table = Table::with_head(&["rejections are", "kind", "recovered after (slowest seed)", "goodput at 3×"]);
    for same in breakers(seeds).chunks(seeds.len().max(1)) {
        let Some(first) = same.first() else { continue };
        let failures = first.case.breaker == Some(crate::Rejections::AreFailures);
        table.row(&[
            if failures { "failures" } else { "no failures" }.to_owned(),
            first.case.kind.name.to_owned(),
            seconds(same.iter().map(|result| result.seconds).fold(0.0, f64::max)),
            format!("{:.2}", same.iter().map(|result| result.goodput).sum::<f64>() / same.len() as f64),
        ]);
    }
    table.text
}

fn of_throttles(seeds: &[u64]) -> String {
    let factors = [0.0, 2.0, 1.5];
    let results = throttled(&[2.0, 5.0, 10.0], &factors, seeds);
    let mut table = Table::with_head(&["kind", "load", "no throttle", "K = 2", "K = 1.5"]);
    for same in results.chunks(factors.len() * seeds.len().max(1)) {
        let Some(first) = same.first() else { continue };
        let mut row = vec![first.kind.to_owned(), first.load.to_string()];
        row.extend(factors.iter().map(|k| {
            let of = same.iter().filter(|result| (result.k - k).abs() < 0.01);
            format!("{:.3}", of.map(|result| result.goodput).sum::<f64>() / seeds.len().max(1) as f64)
        }));
        table.row(&row);
    }
    table.text
}

fn of_criticalities(kinds: &[Kind], seeds: &[u64]) -> String {
    let head = ["kind", "sheddable", "degraded", "default", "critical", "critical lost", "while others were answered"];
    let mut table = Table::with_head(&head);
    for same in critical(kinds, Protection::KneeQueue, seeds).chunks(seeds.len().max(1)) {
        let Some(first) = same.first() else { continue };
        let part =
            |class: usize| same.iter().map(|result| result.counts[class].part()).sum::<f64>() / same.len() as f64;
        let mut row = vec![first.kind.name.to_owned()];
        row.extend((0..4).map(|class| format!("{:.3}", part(class))));
        let begun: u64 = same.iter().map(|result| result.counts[3].begun).sum();
        let answered: u64 = same.iter().map(|result| result.counts[3].answered).sum();
        let passed_over: u64 = same.iter().map(|result| result.passed_over).sum();
        let percent = |lost: u64| format!("{:.3}%", 100.0 * lost as f64 / begun.max(1) as f64);
        row.extend([percent(begun - answered), percent(passed_over)]);
        table.row(&row);
    }
    table.text
}

fn of_tenants(kinds: &[Kind], seeds: &[u64]) -> String {
    let head = ["kind", "protection", "the nine ask for", "they lack in the mean", "the worst off lacks", "goodput"];
    let mut table = Table::with_head(&head);
    let compared = [Protection::KneeQueue, Protection::Wdrr(64)];
    let of =
        |protection| fair(kinds, protection, &[0.8, 1.2], seeds).into_iter().map(move |result| (protection, result));
    let results: Vec<_> = compared.into_iter().flat_map(of).collect();
    for same in results.chunks(seeds.len().max(1)) {
        let Some((protection, first)) = same.first() else { continue };
        let mean = |value: fn(&crate::experiments::Fair) -> f64| {
            same.iter().map(|(_, result)| value(result)).sum::<f64>() / same.len() as f64
        };
        table.row(&[
            first.kind.name.to_owned(),
            protection.name().to_owned(),
            format!("{} of their share", first.demand),
            format!("{:.1}%", 100.0 * mean(|result| result.mean_error)),
            format!("{:.1}%", 100.0 * mean(|result| result.error)),
            format!("{:.3}", mean(|result| result.goodput)),
        ]);
    }
    table.text
}

fn of_jitters(seeds: &[u64]) -> String {
    let clients = [10, 30, 100, 300];
    let results = contended(&clients, seeds);
    let names = JITTERS.map(|(name, _)| name);
    let mut table = Table::with_head(&[["clients"].as_slice(), &names].concat());
    for count in clients {
        let mut row = vec![count.to_string()];
        row.extend(names.map(|name| {
            let same = || results.iter().filter(|result| result.clients == count && result.jitter == name);
            let runs = same().count().max(1) as f64;
            let calls = same().map(|result| result.calls as f64).sum::<f64>() / runs;
            let seconds = same().map(|result| result.seconds).sum::<f64>() / runs;
            format!("{:.1} calls each, {seconds:.2} s", calls / f64::from(count))
        }));
        table.row(&row);
    }
    table.text
}

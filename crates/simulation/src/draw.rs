//! Experiments as charts.
use crate::{
    Chart, Kind, Line, Protection, Scenario, World, each,
    experiments::{Case, Overload, Retries, overloaded_kinds},
    kind,
    table::PROTECTIONS,
};

const LOADS: [f64; 8] = [0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0];

/// Every chart under the name of its file.
pub fn charts(seed: u64) -> Vec<(String, Chart)> {
    let mut charts = Vec::new();
    for name in ["processor-sharing", "lock-convoy"] {
        let Some(kind) = kind(name) else { continue };
        charts.extend(over_load(&kind, seed));
    }
    for name in ["workers-exponential", "capacity-halves", "thousand-workers"] {
        let Some(kind) = kind(name) else { continue };
        charts.push((format!("limit-{name}.svg"), limit(&kind, seed)));
    }
    charts.extend(recovery(seed));
    charts
}

/// Goodput and the 99th percentile of the latency over the load.
fn over_load(kind: &Kind, seed: u64) -> [(String, Chart); 2] {
    let cases: Vec<_> = PROTECTIONS.iter().flat_map(|one| LOADS.iter().map(move |load| (*one, *load))).collect();
    let results = each(&cases, |(protection, load)| {
        let scenario = Scenario::steady(kind, *protection, *load, seed);
        let figures = World::run(&scenario);
        let seconds = (scenario.length - scenario.warm_up) as f64;
        (figures.calls.answered as f64 / seconds / kind.capacity(), figures.quantile(0.99) / 1e6)
    });
    let lines = |value: fn((f64, f64)) -> f64| {
        let of = |(index, protection): (usize, &Protection)| Line {
            name: protection.name().to_owned(),
            points: (0..LOADS.len()).map(|load| (LOADS[load], value(results[index * LOADS.len() + load]))).collect(),
        };
        PROTECTIONS.iter().enumerate().map(of).collect::<Vec<_>>()
    };
    let chart = |title: String, up, lines| Chart { title, across: "load, in multiples of the capacity", up, lines };
    let mut latency = lines(|(_, p99)| p99);
    // Without protection it leaves the picture.
    latency.retain(|line| line.name != Protection::None.name());
    [
        (
            format!("goodput-{}.svg", kind.name),
            chart(format!("Answered in time, of the capacity: {}", kind.name), "part", lines(|(goodput, _)| goodput)),
        ),
        (format!("latency-{}.svg", kind.name), chart(format!("p99 of what is let in: {}", kind.name), "ms", latency)),
    ]
}

/// The limit over time, beside the best that could have been set.
fn limit(kind: &Kind, seed: u64) -> Chart {
    let protections = [Protection::KneeQueue, Protection::Vegas, Protection::Gradient2];
    let length = kind.length() as f64 / 1e9;
    let mut lines = each(&protections, |protection| {
        let figures = World::run(&Scenario::steady(kind, *protection, 2.0, seed));
        let points = figures.samples.iter().map(|sample| (sample.at as f64 / 1e9, f64::from(sample.limit)));
        Line { name: protection.name().to_owned(), points: points.collect() }
    });
    let best = f64::from(Case { kind: kind.clone(), load: 2.0, seed }.best_fixed().1);
    lines.push(Line { name: "best fixed limit".to_owned(), points: vec![(0.0, best), (length, best)] });
    Chart { title: format!("The limit at twice the capacity: {}", kind.name), across: "seconds", up: "calls", lines }
}

/// Calls answered by the second, before, in and after an overload.
fn recovery(seed: u64) -> Vec<(String, Chart)> {
    let kinds = overloaded_kinds();
    let chart = |kind: &Kind| {
        let protections = [Protection::KneeQueue, Protection::Knee, Protection::DropLate, Protection::None];
        let lines = each(&protections, |protection| {
            let overload = Overload {
                kind: kind.clone(),
                protection: *protection,
                base: 0.7,
                retries: Retries::Naive,
                breaker: None,
                seed,
            };
            let figures = World::run(&overload.scenario());
            let second = |second: u64| {
                let count = figures.between(second * 1_000_000_000, (second + 1) * 1_000_000_000);
                (second as f64, count.answered as f64)
            };
            Line { name: protection.name().to_owned(), points: (0..70).map(second).collect() }
        });
        let title = format!("Calls answered, overload of 3× from 10 s to 40 s: {}", kind.name);
        (format!("recovery-{}.svg", kind.name), Chart { title, across: "seconds", up: "per second", lines })
    };
    kinds.iter().map(chart).collect()
}

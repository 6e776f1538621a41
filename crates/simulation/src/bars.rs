//! The bars that simulation can show, each beside what is claimed and what was measured.
use serde::Serialize;

use crate::{
    Kind, Protection, Scenario, World,
    experiments::{
        self, BEFORE, Case, Goodput, LOADS, Overload, Recovery, Retries, breakers, contended, critical, fair, goodput,
        recovery, throttled,
    },
    kinds,
};

/// One bar.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// A name that stays.
    pub id: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// The bound, as it reads: `≥ 0.9`.
    pub bar: String,
    /// What is claimed, be it less than the bar: a run that comes out worse has found a regression.
    pub claimed: f64,
    /// What was measured; nothing when it never came about.
    pub measured: Option<f64>,
    /// Whether the bar is met.
    pub met: bool,
    /// Whether the claim is kept.
    pub kept: bool,
    /// The seeds.
    pub seeds: String,
}

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Size {
    /// Every kind, load and seed: some ten minutes.
    Full,
    /// Every kind, one seed, claims that such a run can hold to: a minute.
    Small,
}

/// Nothing was tuned on these.
const FIRST_SEED: u64 = 401;
/// What the default server is.
const DEFAULT: Protection = Protection::KneeQueue;

struct Run {
    size: Size,
    seeds: Vec<u64>,
    bars: Vec<Bar>,
}

impl Run {
    fn named(&self) -> String {
        match (self.seeds.first(), self.seeds.last()) {
            (Some(first), Some(last)) if first != last => format!("{first}-{last}"),
            (Some(only), _) => only.to_string(),
            _ => String::new(),
        }
    }

    /// A measured value that should be `bar` or more, and is claimed to be as much as the claim of this size of run.
    fn at_least(&mut self, id: &'static str, what: &'static str, bar: f64, claims: Claims, measured: f64) {
        let claimed = claims.of(self.size);
        let (met, kept) = (measured >= bar, measured >= claimed);
        self.push(Bar {
            id,
            what,
            bar: format!("≥ {bar}"),
            claimed,
            measured: rounded(measured),
            met,
            kept,
            seeds: self.named(),
        });
    }

    /// The same for one that should be `bar` or less.
    fn at_most(&mut self, id: &'static str, what: &'static str, bar: f64, claims: Claims, measured: f64) {
        let claimed = claims.of(self.size);
        let (met, kept) = (measured <= bar, measured <= claimed);
        self.push(Bar {
            id,
            what,
            bar: format!("≤ {bar}"),
            claimed,
            measured: rounded(measured),
            met,
            kept,
            seeds: self.named(),
        });
    }

    fn push(&mut self, bar: Bar) {
        self.bars.push(bar);
    }
}

/// What is claimed of a full run and of a small one: what was measured, a little slackened, or the bar where it is met.
#[derive(Clone, Copy, Debug)]
struct Claims {
    full: f64,
    small: f64,
}

impl Claims {
    const fn both(claimed: f64) -> Self {
        Self { full: claimed, small: claimed }
    }

    const fn of(self, size: Size) -> f64 {
        match size {
            Size::Full => self.full,
            Size::Small => self.small,
        }
    }
}

fn rounded(measured: f64) -> Option<f64> {
    measured.is_finite().then_some((measured * 1e4).round() / 1e4)
}

/// Runs everything: on these seeds, or on the 20 that nothing was tuned on, the small size on the first of them.
pub fn bars(size: Size, seeds: Option<&[u64]>) -> Vec<Bar> {
    let count = if size == Size::Full { 20 } else { 1 };
    let seeds = seeds.map_or_else(|| (FIRST_SEED..).take(count).collect(), <[u64]>::to_vec);
    let mut run = Run { size, seeds, bars: Vec::new() };
    goodput_bars(&mut run);
    if size == Size::Full {
        // Five seeds of minutes each say as much as twenty.
        run.seeds.truncate(5);
    }
    recovery_bars(&mut run);
    client_bars(&mut run);
    sharing_bars(&mut run);
    throttle_bars(&mut run);
    jitter_bars(&mut run);
    determinism(&mut run);
    run.bars
}

/// By kind and load, the mean over the seeds.
pub(crate) fn means(rows: &[Goodput], kinds: &[Kind], loads: &[f64], which: usize) -> Vec<(String, f64, f64, f64)> {
    let mut cells = Vec::new();
    for kind in kinds {
        for load in loads {
            let same = |row: &&Goodput| row.case.kind.name == kind.name && (row.case.load - load).abs() < 1e-9;
            let found: Vec<_> = rows.iter().filter(same).filter_map(|row| row.measured.get(which)).collect();
            let mean = |value: fn(&experiments::Measured) -> f64| {
                found.iter().map(|measured| value(measured)).sum::<f64>() / found.len().max(1) as f64
            };
            cells.push((kind.name.to_owned(), *load, mean(|m| m.goodput), mean(|m| m.p99)));
        }
    }
    cells
}

/// The value below which this part of `values` lies.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let index = (part * values.len().saturating_sub(1) as f64).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

fn goodput_bars(run: &mut Run) {
    let (kinds, loads) = (kinds(), LOADS);
    let rows = goodput(&Case::all(&kinds, &loads, &run.seeds), &[DEFAULT]);
    let cells = means(&rows, &kinds, &loads, 0);
    let goodputs: Vec<f64> = cells.iter().map(|(_, _, goodput, _)| *goodput).collect();
    let at_two: Vec<f64> = cells.iter().filter(|(_, load, ..)| *load < 2.5 && *load > 1.5).map(|cell| cell.3).collect();
    let mean = goodputs.iter().sum::<f64>() / goodputs.len() as f64;
    run.at_least(
        "goodput-worst",
        "goodput over the best fixed limit, 24 kinds at 1.2 to 10 times the capacity: worst kind and load",
        0.9,
        Claims { full: 0.93, small: 0.72 },
        quantile(goodputs.iter().copied(), 0.0),
    );
    run.at_least(
        "goodput-p10",
        "the same, 10th percentile",
        0.97,
        Claims { full: 0.97, small: 0.965 },
        quantile(goodputs.iter().copied(), 0.1),
    );
    run.at_least("goodput-mean", "the same, mean", 0.985, Claims { full: 0.985, small: 0.98 }, mean);
    run.at_most(
        "latency-median",
        "p99 of what is let in over the unloaded p99, at twice the capacity: median kind",
        1.25,
        Claims::both(1.25),
        quantile(at_two.iter().copied(), 0.5),
    );
    run.at_most(
        "latency-worst",
        "the same, worst kind",
        4.0,
        Claims::both(16.0),
        quantile(at_two.iter().copied(), 1.0),
    );
}

fn slowest(results: &[Recovery]) -> f64 {
    results.iter().map(|result| result.seconds).fold(0.0, f64::max)
}

fn recovery_bars(run: &mut Run) {
    let results = recovery(&[DEFAULT], &[Retries::Naive, Retries::Budget], &run.seeds);
    let is_convoy = |result: &Recovery| result.case.kind.name == "lock-convoy";
    let (convoy, others): (Vec<_>, Vec<_>) = results.iter().cloned().partition(is_convoy);
    run.at_most(
        "recovery-server",
        "seconds until 95% are answered again after 30 s at three times the capacity, default server, retries naive or \
         from the budget: slowest but for the lock convoy",
        1.0,
        Claims::both(1.0),
        slowest(&others),
    );
    run.at_most(
        "recovery-server-convoy",
        "the same, the lock convoy",
        1.0,
        Claims { full: 2.8, small: 2.4 },
        slowest(&convoy),
    );
    let late = recovery(&[Protection::DropLate], &[Retries::Budget], &run.seeds);
    let (convoy, others): (Vec<_>, Vec<_>) = late.into_iter().partition(is_convoy);
    run.at_most(
        "recovery-clients",
        "the same without a limit, deadlines carried and calls with less than the usual time left not begun, retries from \
         the budget: slowest but for the lock convoy",
        4.0,
        Claims::both(4.0),
        slowest(&others),
    );
    run.at_least(
        "recovery-clients-convoy",
        "part of its calls that the lock convoy answers a minute after the overload, protected like that: without a limit it \
         stays in its jam",
        0.95,
        Claims::both(0.045),
        convoy.iter().map(|result| result.in_the_end).fold(1.0, f64::min),
    );
    let never = recovery(&[Protection::None], &[Retries::Naive], &run.seeds);
    let recovered = never.iter().filter(|result| result.seconds <= 10.0).count() as f64 / never.len().max(1) as f64;
    run.at_most(
        "recovery-none",
        "part of the unprotected servers that recover within 10 s, naive retries",
        0.1,
        Claims::both(0.1),
        recovered,
    );
    let attempts = |retries| {
        let of = results.iter().filter(move |result| result.case.retries == retries);
        of.map(|result| result.attempts).fold(0.0, f64::max)
    };
    run.at_most(
        "retry-budget",
        "attempts per call with the budget, overload included: most",
        1.1,
        Claims::both(1.1),
        attempts(Retries::Budget),
    );
    run.at_least(
        "retry-naive",
        "attempts per call without a budget: most",
        1.5,
        Claims::both(1.5),
        attempts(Retries::Naive),
    );
}

fn client_bars(run: &mut Run) {
    let results = breakers(&run.seeds);
    let (fine, harmful): (Vec<_>, Vec<_>) =
        results.into_iter().partition(|result| result.case.breaker == Some(crate::Rejections::AreNoFailures));
    run.at_most(
        "breaker-default",
        "seconds to recover with breakers that take rejections for no failures: slowest",
        1.0,
        Claims::both(1.0),
        slowest(&fine),
    );
    let slowest_harmful = slowest(&harmful).min(60.0);
    run.at_least(
        "breaker-rejections-as-failures",
        "seconds to recover with breakers that take rejections for failures: slowest (why the default does not)",
        2.0,
        Claims::both(2.0),
        slowest_harmful,
    );
}

fn sharing_bars(run: &mut Run) {
    let kinds = kinds();
    let lost = critical(&kinds, DEFAULT, &run.seeds);
    let begun: u64 = lost.iter().map(|result| result.counts[3].begun).sum();
    let passed_over: u64 = lost.iter().map(|result| result.passed_over).sum();
    run.at_most(
        "critical-lost",
        "part of the critical calls lost at three times the capacity in a tenth of a second in which others were answered, \
         all kinds together",
        0.001,
        Claims::both(0.001),
        passed_over as f64 / begun.max(1) as f64,
    );
    let results = fair(&kinds, DEFAULT, &[0.8, 1.2], &run.seeds);
    run.at_most(
        "fair-share",
        "share that the nine of ten tenants lack when the tenth calls a hundred times as often, their mean: worst kind",
        0.05,
        Claims::both(0.05),
        results.iter().map(|result| result.mean_error).fold(0.0, f64::max),
    );
    run.at_most(
        "fair-share-worst",
        "the same, the tenant that lacks most of the nine: worst kind",
        0.05,
        Claims::both(0.05),
        results.iter().map(|result| result.error).fold(0.0, f64::max),
    );
}

fn throttle_bars(run: &mut Run) {
    let results = throttled(&[10.0], &[0.0, 2.0, 1.5], &run.seeds);
    let of = |kind: &str, k: f64| {
        let found = results.iter().filter(|result| result.kind == kind && (result.k - k).abs() < 0.01);
        found.clone().map(|result| result.goodput).sum::<f64>() / found.count().max(1) as f64
    };
    let (workers, sharing) = ("workers-exponential", "processor-sharing");
    run.at_most(
        "throttle-none",
        "goodput at ten times the capacity, a rejection costs 5%, no throttle",
        0.6,
        Claims::both(0.6),
        of(workers, 0.0),
    );
    for (id, what, bar, claims, measured) in [
        ("throttle-2-workers", "the same with a throttle, K = 2, fixed workers", 0.94, 0.94, of(workers, 2.0)),
        ("throttle-2-sharing", "the same, processor sharing", 0.92, 0.935, of(sharing, 2.0)),
        ("throttle-1.5-workers", "K = 1.5, fixed workers", 0.96, 0.96, of(workers, 1.5)),
        ("throttle-1.5-sharing", "K = 1.5, processor sharing", 0.93, 0.955, of(sharing, 1.5)),
    ] {
        run.at_least(id, what, bar, Claims::both(claims), measured);
    }
}

fn jitter_bars(run: &mut Run) {
    let results = contended(&[100], &run.seeds);
    let sum = |jitter: &str, value: fn(&experiments::Contended) -> f64| {
        results.iter().filter(|result| result.jitter == jitter).map(value).sum::<f64>()
    };
    let (seconds, calls) =
        (|result: &experiments::Contended| result.seconds, |result: &experiments::Contended| result.calls as f64);
    for (id, what, bar, measured) in [
        (
            "jitter-full-time",
            "time until 100 contending clients are done, full jitter over equal",
            0.9,
            sum("full", seconds) / sum("equal", seconds),
        ),
        (
            "jitter-full-calls",
            "calls until they are done, full jitter over decorrelated",
            0.95,
            sum("full", calls) / sum("decorrelated", calls),
        ),
        ("jitter-none", "the same, full jitter over none", 0.6, sum("full", calls) / sum("none", calls)),
    ] {
        run.at_most(id, what, bar, Claims::both(bar), measured);
    }
}

/// Three different worlds, each twice.
fn determinism(run: &mut Run) {
    let seed = run.seeds.first().copied().unwrap_or(FIRST_SEED);
    let mut scenarios: Vec<Scenario> =
        kinds().iter().map(|kind| Scenario::steady(kind, DEFAULT, 2.0, seed)).step_by(5).collect();
    if let Some(kind) = experiments::overloaded_kinds().into_iter().next() {
        let (protection, retries) = (DEFAULT, Retries::Budget);
        let mut overload = Overload { kind, protection, base: 0.7, retries, breaker: None, seed }.scenario();
        overload.length = BEFORE * 2;
        scenarios.push(overload);
    }
    let same = crate::each(&scenarios, |scenario| World::run(scenario).trace == World::run(scenario).trace);
    let part = same.iter().filter(|same| **same).count() as f64 / same.len().max(1) as f64;
    run.at_least(
        "determinism",
        "part of the worlds whose trace is the same to the byte when run again",
        1.0,
        Claims::both(1.0),
        part,
    );
}

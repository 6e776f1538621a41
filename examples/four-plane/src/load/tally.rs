//! What became of the requests.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies are kept from 1 µs to a minute, to two digits.
const LONGEST_MICROS: u64 = 60_000_000;
/// Seconds over which the recent quantiles are.
const RECENT: usize = 5;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Ok,
    Degraded,
    Shed,
    Failed,
}

/// One request that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) ending: Ending,
    /// Status code, or why there is none.
    pub(crate) status: String,
    /// When it should have been sent.
    pub(crate) due: Duration,
    /// From when it was due to the last byte.
    pub(crate) micros: u64,
    /// What it said that it is worth.
    pub(crate) criticality: Option<&'static str>,
}

impl Ended {
    fn is_in_time(&self) -> bool {
        matches!(self.ending, Ending::Ok | Ending::Degraded) && u128::from(self.micros) <= IN_TIME.as_micros()
    }
}

/// Milliseconds in which who was served could have been somebody else.
const TENTH_MS: u128 = 100;
/// Later than this, an answer is of no use to who asked.
pub const IN_TIME: Duration = Duration::from_secs(1);

/// What became of some of the requests.
#[derive(Serialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sorted {
    /// Those that have ended.
    pub sent: u64,
    /// Answered within [`IN_TIME`].
    pub in_time: u64,
    /// Answered later.
    pub late: u64,
    /// Refused.
    pub shed: u64,
    /// Anything else.
    pub failed: u64,
}

impl Sorted {
    fn add(&mut self, ended: &Ended) {
        let count = match ended.ending {
            Ending::Ok | Ending::Degraded if ended.is_in_time() => &mut self.in_time,
            Ending::Ok | Ending::Degraded => &mut self.late,
            Ending::Shed => &mut self.shed,
            Ending::Failed => &mut self.failed,
        };
        *count = count.saturating_add(1);
        self.sent = self.sent.saturating_add(1);
    }
}

/// Counts since the beginning, and quantiles over the last seconds.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct LoadTotals {
    /// Requests that were due.
    pub sent: u64,
    /// Answered as asked.
    pub ok: u64,
    /// Answered by a fallback (`x-seawall-degraded`).
    pub degraded: u64,
    /// Refused with 429 or 503 and `Retry-After`.
    pub shed: u64,
    /// Anything else: other error statuses, no answer, no connection, too many waiting.
    pub failed: u64,
    /// Of the accepted answers of the last 5 seconds.
    pub p50_ms: Option<f64>,
    /// Likewise.
    pub p99_ms: Option<f64>,
}

/// What a whole load came to.
#[derive(Serialize, Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Counts and quantiles; here the quantiles are over the whole load.
    #[serde(flatten)]
    pub totals: LoadTotals,
    /// The slowest accepted answer.
    pub max_ms: Option<f64>,
    /// How long it took, the last answers included.
    pub seconds: f64,
    /// How often each status, or reason for having none, was seen.
    pub statuses: BTreeMap<String, u64>,
    /// What became of all requests together.
    pub sorted: Sorted,
    /// What became of them by what they said that they are worth; those that said nothing are not among them.
    pub by_criticality: BTreeMap<&'static str, Sorted>,
    /// Critical requests that were not answered in time, of tenths of a second in which sheddable ones were.
    pub passed_over: u64,
    /// How long half of the refusals took at most.
    pub shed_p50_ms: Option<f64>,
}

/// What became of the requests of a tenth of a second.
#[derive(Debug, Clone, Copy, Default)]
struct Tenth {
    critical_lost: u64,
    sheddable_in_time: u64,
}

/// Keeps the counts.
#[derive(Debug)]
pub(crate) struct Tally {
    totals: LoadTotals,
    statuses: BTreeMap<String, u64>,
    sorted: Sorted,
    by_criticality: BTreeMap<&'static str, Sorted>,
    /// By number, as far as requests say what they are worth.
    tenths: BTreeMap<u128, Tenth>,
    refusals: Histogram<u64>,
    whole: Histogram<u64>,
    recent: VecDeque<Histogram<u64>>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            totals: LoadTotals::default(),
            statuses: BTreeMap::new(),
            sorted: Sorted::default(),
            by_criticality: BTreeMap::new(),
            tenths: BTreeMap::new(),
            refusals: histogram(),
            whole: histogram(),
            recent: std::iter::repeat_with(histogram).take(RECENT).collect(),
        }
    }

    pub(crate) const fn due(&mut self) {
        self.totals.sent = self.totals.sent.saturating_add(1);
    }

    pub(crate) fn ended(&mut self, ended: Ended) {
        let count = match ended.ending {
            Ending::Ok => &mut self.totals.ok,
            Ending::Degraded => &mut self.totals.degraded,
            Ending::Shed => &mut self.totals.shed,
            Ending::Failed => &mut self.totals.failed,
        };
        *count = count.saturating_add(1);
        self.sorted.add(&ended);
        if let Some(criticality) = ended.criticality {
            self.by_criticality.entry(criticality).or_default().add(&ended);
            let tenth = self.tenths.entry(ended.due.as_millis() / TENTH_MS).or_default();
            match (criticality, ended.is_in_time()) {
                ("critical", false) => tenth.critical_lost = tenth.critical_lost.saturating_add(1),
                ("sheddable", true) => tenth.sheddable_in_time = tenth.sheddable_in_time.saturating_add(1),
                _ => {}
            }
        }
        if ended.ending == Ending::Shed {
            self.refusals.saturating_record(ended.micros);
        }
        let seen = self.statuses.entry(ended.status).or_default();
        *seen = seen.saturating_add(1);
        if matches!(ended.ending, Ending::Ok | Ending::Degraded) {
            self.whole.saturating_record(ended.micros);
            if let Some(second) = self.recent.back_mut() {
                second.saturating_record(ended.micros);
            }
        }
    }

    /// A second has passed.
    pub(crate) fn tick(&mut self) {
        if let Some(mut oldest) = self.recent.pop_front() {
            oldest.reset();
            self.recent.push_back(oldest);
        }
    }

    /// The counts, with quantiles over the last seconds.
    pub(crate) fn totals(&self) -> LoadTotals {
        let mut recent = histogram();
        for second in &self.recent {
            // All have the same bounds, so that adding them cannot fail.
            let _infallible = recent.add(second);
        }
        LoadTotals { p50_ms: quantile(&recent, 0.5), p99_ms: quantile(&recent, 0.99), ..self.totals }
    }

    pub(crate) fn report(self, seconds: f64) -> LoadReport {
        let (p50_ms, p99_ms) = (quantile(&self.whole, 0.5), quantile(&self.whole, 0.99));
        LoadReport {
            totals: LoadTotals { p50_ms, p99_ms, ..self.totals },
            max_ms: quantile(&self.whole, 1.0),
            seconds,
            statuses: self.statuses,
            sorted: self.sorted,
            by_criticality: self.by_criticality,
            passed_over: self
                .tenths
                .values()
                .filter(|tenth| tenth.sheddable_in_time > 0)
                .map(|it| it.critical_lost)
                .sum(),
            shed_p50_ms: quantile(&self.refusals, 0.5),
        }
    }
}

fn histogram() -> Histogram<u64> {
    let histogram = Histogram::new_with_max(LONGEST_MICROS, 2);
    histogram.unwrap_or_else(|_| unreachable!("the bounds are constants that are allowed, which a test shows"))
}

fn quantile(histogram: &Histogram<u64>, share: f64) -> Option<f64> {
    let micros = u32::try_from(histogram.value_at_quantile(share)).ok().filter(|_| !histogram.is_empty())?;
    Some(f64::from(micros) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(ending: Ending, micros: u64) -> Ended {
        Ended { ending, status: "200".to_owned(), due: Duration::ZERO, micros, criticality: None }
    }

    #[test]
    fn every_ending_is_counted_once_and_only_accepted_ones_have_a_latency() {
        let mut tally = Tally::new();
        for ending in [Ending::Ok, Ending::Degraded, Ending::Shed, Ending::Failed, Ending::Ok] {
            tally.due();
            tally.ended(ended(ending, if ending == Ending::Failed { 9_000_000 } else { 2_000 }));
        }

        let report = tally.report(1.0);

        let totals = report.totals;
        assert_eq!((totals.sent, totals.ok, totals.degraded, totals.shed, totals.failed), (5, 2, 1, 1, 1));
        assert_eq!(report.statuses["200"], 5);
        assert!(report.max_ms.is_some_and(|max| (2.0..2.1).contains(&max)), "{:?}", report.max_ms);
    }

    #[test]
    fn an_answer_after_a_second_is_late_and_each_counts_for_what_it_is_worth() {
        let mut tally = Tally::new();
        for (criticality, ending, micros) in [
            (Some("critical"), Ending::Ok, 1_000_000),
            (Some("critical"), Ending::Degraded, 1_000_001),
            (Some("sheddable"), Ending::Shed, 5_000),
            (None, Ending::Failed, 5_000),
        ] {
            tally.ended(Ended { criticality, ..ended(ending, micros) });
        }

        let report = tally.report(1.0);

        assert_eq!(report.sorted, Sorted { sent: 4, in_time: 1, late: 1, shed: 1, failed: 1 });
        assert_eq!(report.by_criticality["critical"], Sorted { sent: 2, in_time: 1, late: 1, ..Sorted::default() });
        assert_eq!(report.by_criticality["sheddable"], Sorted { sent: 1, shed: 1, ..Sorted::default() });
        assert_eq!(report.by_criticality.len(), 2);
        assert!(report.shed_p50_ms.is_some_and(|p50| (5.0..5.1).contains(&p50)), "{:?}", report.shed_p50_ms);
    }

    #[test]
    fn a_critical_request_is_passed_over_when_a_sheddable_one_is_served_in_its_tenth_of_a_second() {
        let mut tally = Tally::new();
        for (due, criticality, ending) in [
            (0, "critical", Ending::Shed),
            (99, "sheddable", Ending::Ok),
            (100, "critical", Ending::Shed),
            (150, "default", Ending::Ok),
            (250, "critical", Ending::Ok),
            (260, "sheddable", Ending::Ok),
            (300, "critical", Ending::Shed),
            (310, "sheddable", Ending::Shed),
        ] {
            let due = Duration::from_millis(due);
            tally.ended(Ended { due, criticality: Some(criticality), ..ended(ending, 1_000) });
        }

        assert_eq!(tally.report(1.0).passed_over, 1);
    }

    #[test]
    fn recent_quantiles_forget_after_five_seconds() {
        let mut tally = Tally::new();
        tally.ended(ended(Ending::Ok, 50_000));
        for _ in 0..4 {
            tally.tick();
        }

        let within = tally.totals().p99_ms;
        tally.tick();

        assert!(within.is_some_and(|p99| (50.0..51.0).contains(&p99)), "{within:?}");
        assert_eq!(tally.totals().p99_ms, None);
    }

    #[test]
    fn a_latency_beyond_the_longest_counts_as_the_longest() {
        let mut tally = Tally::new();

        tally.ended(ended(Ending::Ok, u64::MAX));

        assert!(tally.report(1.0).max_ms.is_some_and(|max| max >= 60_000.0));
    }
}

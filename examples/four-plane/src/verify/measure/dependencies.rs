//! One dependency after another failing for ten seconds, each in another way.

use std::path::Path;

use super::Claims;
use crate::{
    chaos::{
        self, Row,
        promises::{CLOSED, EXTRA_LOAD, OPENED, STOOD_IN},
    },
    verify::report::Finding,
};

/// Each dependency and each way in which one fails. `four-plane chaos --all` does all sixteen.
const FAULTS: [&str; 4] = ["catalog-hang", "recommendation-refusal", "database-trickle", "cache-errors"];

pub(super) const CLAIMS: Claims<Dependencies> = &[
    ("promises.dependencies.opened", opened),
    ("promises.dependencies.fallbacks", fallbacks),
    ("promises.dependencies.extra-load", extra_load),
    ("promises.dependencies.closed", closed),
];

/// A row for each fault.
#[derive(Debug, Default)]
pub(super) struct Dependencies(Vec<Row>);

/// Breaks them, one after another.
pub(super) async fn observe(program: &Path) -> anyhow::Result<Dependencies> {
    Ok(Dependencies(chaos::in_turn(program, &FAULTS).await?))
}

/// Whether every fault was measured and is as it should be.
fn all(seen: &Dependencies, are: impl FnMut(&Row) -> bool) -> bool {
    seen.0.len() == FAULTS.len() && seen.0.iter().all(are)
}

/// A figure of each fault, in their order.
fn each(seen: &Dependencies, figure: impl Fn(&Row) -> String) -> String {
    seen.0.iter().map(|row| format!("{} {}", row.fault, figure(row))).collect::<Vec<_>>().join(", ")
}

fn judged(seen: &Dependencies, met: bool, figure: impl Fn(&Row) -> String, what: &str) -> Finding {
    let how =
        "`four-plane chaos --fault NAME` one after another, each for 10 s under 300 requests/s, over embedded parts";
    Finding::judged(met, each(seen, figure), format!("{what}; {how}"))
}

fn seconds(figure: Option<f64>) -> String {
    figure.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1} s"))
}

fn percent(figure: Option<f64>) -> String {
    figure.map_or_else(|| "unknown".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

fn is_catalog(row: &Row) -> bool {
    row.fault.starts_with("catalog")
}

fn opened(seen: &Dependencies) -> Finding {
    let met = all(seen, |row| row.opened_s.is_some_and(|seconds| seconds <= OPENED));
    judged(seen, met, |row| seconds(row.opened_s), "from the injection until a breaker was open in /control/status")
}

fn fallbacks(seen: &Dependencies) -> Finding {
    let met = all(seen, |row| {
        let stood_in = row.fault.starts_with("cache") || row.fallback_share.is_some_and(|share| share >= STOOD_IN);
        stood_in && (is_catalog(row) || (row.errors, row.lost) == (Some(0), Some(0)))
    });
    let figure = |row: &Row| {
        let failed = row.errors.unwrap_or_default().saturating_add(row.lost.unwrap_or_default());
        format!("{}, {failed} of {} failed", percent(row.fallback_share), row.requests.unwrap_or_default())
    };
    let what = "answers during the fault that carry x-seawall-degraded; without the cache the database answers as asked; pages \
                that nobody asked for before fail with the catalog";
    judged(seen, met, figure, what)
}

fn extra_load(seen: &Dependencies) -> Finding {
    let met = all(seen, |row| row.extra_load.is_some_and(|share| share <= EXTRA_LOAD));
    judged(
        seen,
        met,
        |row| percent(row.extra_load),
        "attempts on top over first attempts that reached it: what a breaker refuses is neither",
    )
}

fn closed(seen: &Dependencies) -> Finding {
    let met = all(seen, |row| row.closed_s.is_some_and(|seconds| seconds <= CLOSED));
    judged(seen, met, |row| seconds(row.closed_s), "from the end of the fault until every breaker was closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    fn dependencies(change: impl Fn(&mut Row)) -> Dependencies {
        let row = |fault| {
            let mut row = Row::without_figures(fault, "measured", String::new());
            (row.requests, row.errors, row.lost) = (Some(3_000), Some(0), Some(0));
            (row.opened_s, row.closed_s) = (Some(5.0), Some(6.0));
            (row.fallback_share, row.extra_load) = (Some(0.1), Some(0.02));
            change(&mut row);
            row
        };
        Dependencies(FAULTS.map(row).into())
    }

    #[test]
    fn dependencies_that_fail_as_promised_meet_every_row_and_none_that_failed_meets_none() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&dependencies(|_| ())).verdict, Verdict::Met, "{id}");
            assert_eq!(judgement(&Dependencies::default()).verdict, Verdict::NotMet, "{id}");
        }
    }

    #[test]
    fn each_promise_that_is_not_kept_is_seen() {
        let verdict =
            |judgement: fn(&Dependencies) -> Finding, change: fn(&mut Row)| judgement(&dependencies(change)).verdict;

        assert_eq!(verdict(opened, |row| row.opened_s = None), Verdict::NotMet);
        assert_eq!(verdict(closed, |row| row.closed_s = Some(15.1)), Verdict::NotMet);
        assert_eq!(verdict(extra_load, |row| row.extra_load = Some(0.101)), Verdict::NotMet);
        assert_eq!(verdict(fallbacks, |row| row.fallback_share = Some(0.04)), Verdict::NotMet);
        assert_eq!(verdict(fallbacks, |row| row.lost = Some(1)), Verdict::NotMet);
        let cold_pages = |row: &mut Row| row.errors = Some(if is_catalog(row) { 300 } else { 0 });
        assert_eq!(verdict(fallbacks, cold_pages), Verdict::Met);
    }
}

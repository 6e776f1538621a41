//! The overload drill, as short as it can show something: with the stack's protection, and once without it.

use std::{path::Path, time::Duration};

use super::Claims;
use crate::{
    chaos::drill::{self, DrillOptions, DrillRow, MULTIPLES},
    link::ProtectionMode,
    load::Sorted,
    verify::report::Finding,
};

/// How long each overload lasts.
const SECONDS: u32 = 5;
/// And the load that loads nothing, before the first.
const WARM_UP: u32 = 3;

/// The multiple whose p99 is judged, and at which the protection is left out.
const MIDDLE: f64 = 5.0;
/// Up to this, the critical requests alone are less than the stack can do.
const ROOM_FOR_CRITICAL: f64 = 5.0;

const GOODPUT: f64 = 0.9;
const SLOWDOWN: f64 = 4.0;
const PASSED_OVER: f64 = 0.001;
const RECOVERY: f64 = 1.0;
/// Of the difference between two shares of requests: one run in a thousand shows more by chance.
const DEVIATIONS: f64 = 3.0;
const UNPROTECTED: f64 = 0.5;

/// From what goes first when there is no room to what goes last.
const CRITICALITIES: [&str; 4] = ["critical", "default", "degraded", "sheddable"];

pub(super) const CLAIMS: Claims<Drilled> = &[
    ("promises.overload.goodput", goodput),
    ("promises.overload.p99", p99),
    ("promises.overload.refusals", refusals),
    ("promises.overload.order", order),
    ("promises.overload.critical", critical),
    ("promises.overload.recovery", recovery),
    ("promises.overload.unprotected", unprotected),
];

/// A row for each multiple with protection, and one without.
#[derive(Debug, Default)]
pub(super) struct Drilled {
    on: Vec<DrillRow>,
    off: Vec<DrillRow>,
}

/// Overloads two stacks, one after the other.
pub(super) async fn observe(program: &Path) -> anyhow::Result<Drilled> {
    let options = DrillOptions { seconds: SECONDS, warm_up: WARM_UP, ..DrillOptions::default() };
    let mut drilled = Drilled::default();
    let keep = |rows: &mut Vec<DrillRow>, row: &DrillRow| {
        rows.push(row.clone());
        Ok(())
    };
    drill::measure(program, ProtectionMode::On, &MULTIPLES, &options, |row| keep(&mut drilled.on, row)).await?;
    // It does not recover for a minute, which nobody has to wait for.
    let options = DrillOptions { patience: Duration::ZERO, ..options };
    drill::measure(program, ProtectionMode::Off, &[MIDDLE], &options, |row| keep(&mut drilled.off, row)).await?;
    Ok(drilled)
}

/// A figure of each row, in their order.
fn each(rows: &[DrillRow], figure: impl Fn(&DrillRow) -> String) -> String {
    rows.iter().map(|row| format!("{}× {}", row.multiple, figure(row))).collect::<Vec<_>>().join(", ")
}

/// Whether all of the rows there have to be are as they should be.
fn all(drilled: &Drilled, are: impl FnMut(&DrillRow) -> bool) -> bool {
    drilled.on.len() == MULTIPLES.len() && drilled.on.iter().all(are)
}

fn how(drilled: &Drilled) -> String {
    let offered: Vec<_> = drilled.on.iter().map(|row| format!("{:.0}", row.offered_rps)).collect();
    format!(
        "`four-plane drill`: edges that declare 200 requests/s together, {} requests/s for {SECONDS} s each, a tenth of them \
         critical, over embedded parts",
        offered.join(", ")
    )
}

fn goodput(drilled: &Drilled) -> Finding {
    Finding::judged(
        all(drilled, |row| row.goodput_of_capacity >= GOODPUT),
        each(&drilled.on, |row| format!("{:.2}", row.goodput_of_capacity)),
        format!("answered within a second, of the declared capacity; {}", how(drilled)),
    )
}

fn p99(drilled: &Drilled) -> Finding {
    let at = |row: &&DrillRow| (row.multiple - MIDDLE).abs() < f64::EPSILON;
    let row = drilled.on.iter().find(at);
    let Some((loaded, unloaded)) = row.and_then(|row| Some((row.p99_ms?, row.unloaded_p99_ms?))) else {
        return Finding::unobserved("nothing was accepted");
    };
    Finding::judged(
        loaded <= SLOWDOWN * unloaded,
        format!("{loaded:.0} ms, {:.1} times the unloaded {unloaded:.0} ms", loaded / unloaded),
        how(drilled),
    )
}

fn refusals(drilled: &Drilled) -> Finding {
    Finding::judged(
        all(drilled, |row| row.all.shed > 0 && row.all.failed == 0),
        each(&drilled.on, |row| format!("{} refused, {} failed", row.all.shed, row.all.failed)),
        format!("a refusal without Retry-After is a failure; {}", how(drilled)),
    )
}

fn share(part: u64, whole: u64) -> f64 {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(part) / number(whole).max(1.0)
}

fn lost(row: &DrillRow, criticality: &str) -> f64 {
    let Sorted { sent, in_time, .. } = row.by_criticality.get(criticality).copied().unwrap_or_default();
    share(sent.saturating_sub(in_time), sent)
}

/// Whether more of the first were lost than of the second, by more than chance brings about: where hardly any of either are
/// served, a single request more or less turns the shares round.
fn reversed(more: Sorted, less: Sorted) -> bool {
    let lost = |sorted: Sorted| sorted.sent.saturating_sub(sorted.in_time);
    let sent = more.sent.saturating_add(less.sent);
    let all = share(lost(more).saturating_add(lost(less)), sent);
    let per_request = share(1, more.sent) + share(1, less.sent);
    let deviation = (all * (1.0 - all) * per_request).sqrt();
    share(lost(more), more.sent) - share(lost(less), less.sent) > DEVIATIONS * deviation
}

fn order(drilled: &Drilled) -> Finding {
    let of = |row: &DrillRow, criticality: &str| row.by_criticality.get(criticality).copied().unwrap_or_default();
    let in_order = |row: &DrillRow| {
        let mut pairs = CRITICALITIES.iter().zip(CRITICALITIES.iter().skip(1));
        pairs.all(|(more, less)| !reversed(of(row, more), of(row, less)))
    };
    Finding::judged(
        all(drilled, in_order),
        each(&drilled.on, |row| CRITICALITIES.map(|it| format!("{it} {:.1}%", lost(row, it) * 100.0)).join(" ")),
        format!(
            "not answered within a second; out of order is what {DEVIATIONS} deviations of chance do not explain; {}",
            how(drilled)
        ),
    )
}

fn critical(drilled: &Drilled) -> Finding {
    let passed_over =
        |row: &DrillRow| share(row.passed_over, row.by_criticality.get("critical").map_or(0, |sorted| sorted.sent));
    Finding::judged(
        all(drilled, |row| row.multiple > ROOM_FOR_CRITICAL || passed_over(row) < PASSED_OVER),
        each(&drilled.on, |row| format!("{:.1}%", passed_over(row) * 100.0)),
        format!(
            "lost in a tenth of a second in which a sheddable one was answered by either edge; at 10× the critical ones \
             alone are all that both edges can do, and each has those whose connections it was given; {}",
            how(drilled)
        ),
    )
}

fn recovery(drilled: &Drilled) -> Finding {
    Finding::judged(
        all(drilled, |row| row.recovered_s.is_some_and(|seconds| seconds <= RECOVERY)),
        each(&drilled.on, |row| {
            row.recovered_s.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.2} s"))
        }),
        format!("to the first of twenty answers in a row; {}", how(drilled)),
    )
}

fn unprotected(drilled: &Drilled) -> Finding {
    let at = |rows: &[DrillRow]| rows.iter().find(|row| (row.multiple - MIDDLE).abs() < f64::EPSILON).cloned();
    let (Some(on), Some(off)) = (at(&drilled.on), at(&drilled.off)) else {
        return Finding::unobserved("not both were overloaded");
    };
    let figures = |row: &DrillRow| {
        let p99 = row.p99_ms.map_or_else(|| "–".to_owned(), |p99| format!("{p99:.0} ms"));
        format!("{:.2} of the capacity, p99 {p99}", row.goodput_of_capacity)
    };
    Finding::judged(
        off.goodput_of_capacity < UNPROTECTED * on.goodput_of_capacity,
        format!("{}; with protection {}", figures(&off), figures(&on)),
        format!("{MIDDLE}× with --protection off; {}", how(drilled)),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::verify::report::Verdict;

    fn sorted(sent: u64, in_time: u64) -> Sorted {
        let mut sorted = Sorted::default();
        (sorted.sent, sorted.in_time, sorted.shed) = (sent, in_time, sent.saturating_sub(in_time));
        sorted
    }

    fn row(multiple: f64) -> DrillRow {
        DrillRow {
            protection: "on",
            multiple,
            offered_rps: 200.0 * multiple,
            goodput_rps: 190.0,
            goodput_of_capacity: 0.95,
            p50_ms: Some(50.0),
            p99_ms: Some(160.0),
            unloaded_p99_ms: Some(40.0),
            shed_p50_ms: Some(7.0),
            recovered_s: Some(0.1),
            passed_over: 0,
            all: sorted(1_000, 200),
            by_criticality: BTreeMap::from([
                ("critical", sorted(10_000, 10_000)),
                ("default", sorted(100, 50)),
                ("degraded", sorted(100, 40)),
                ("sheddable", sorted(100, 30)),
            ]),
        }
    }

    fn drilled(change: impl Fn(&mut DrillRow)) -> Drilled {
        let mut on: Vec<DrillRow> = MULTIPLES.into_iter().map(row).collect();
        on.iter_mut().for_each(change);
        Drilled { on, off: vec![DrillRow { goodput_of_capacity: 0.1, ..row(MIDDLE) }] }
    }

    #[test]
    fn a_drill_as_promised_meets_every_row_and_one_that_was_not_made_none() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&drilled(|_| ())).verdict, Verdict::Met, "{id}");
            assert_eq!(judgement(&Drilled::default()).verdict, Verdict::NotMet, "{id}");
        }
    }

    #[test]
    fn each_promise_that_is_not_kept_is_seen() {
        let judged =
            |judgement: fn(&Drilled) -> Finding, change: fn(&mut DrillRow)| judgement(&drilled(change)).verdict;

        assert_eq!(judged(goodput, |row| row.goodput_of_capacity = 0.89), Verdict::NotMet);
        assert_eq!(judged(p99, |row| row.p99_ms = Some(161.0)), Verdict::NotMet);
        assert_eq!(judged(refusals, |row| row.all.failed = 1), Verdict::NotMet);
        assert_eq!(judged(refusals, |row| row.all.shed = 0), Verdict::NotMet);
        assert_eq!(judged(recovery, |row| row.recovered_s = None), Verdict::NotMet);
        assert_eq!(judged(recovery, |row| row.recovered_s = Some(1.1)), Verdict::NotMet);
        assert_eq!(judged(unprotected, |row| row.goodput_of_capacity = 0.2), Verdict::NotMet);
        let more_sheddable = |row: &mut DrillRow| {
            row.by_criticality.insert("sheddable", sorted(100, 62));
        };
        assert_eq!(judged(order, more_sheddable), Verdict::NotMet);
    }

    #[test]
    fn an_order_that_chance_turns_round_is_kept() {
        // As seen at 10 times: 8 of 2,000 degraded requests were served, and 15 of 3,000 sheddable ones.
        assert!(!reversed(sorted(2_000, 8), sorted(3_000, 15)));
        assert!(reversed(sorted(2_000, 8), sorted(3_000, 60)));
        assert!(!reversed(sorted(3_000, 60), sorted(2_000, 8)));
        assert!(!reversed(sorted(0, 0), sorted(0, 0)));
    }

    #[test]
    fn a_critical_request_may_be_passed_over_only_where_there_is_not_room_for_all() {
        let at = |multiple: f64| {
            drilled(move |row| {
                if (row.multiple - multiple).abs() < f64::EPSILON {
                    row.passed_over = 10;
                }
            })
        };

        assert_eq!(critical(&at(2.0)).verdict, Verdict::NotMet);
        assert_eq!(critical(&at(5.0)).verdict, Verdict::NotMet);
        assert_eq!(critical(&at(10.0)).verdict, Verdict::Met);
    }
}

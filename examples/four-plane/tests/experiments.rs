//! What the stack promises under faults, with the figures that show it. Minutes of real load on real processes.
#![cfg(feature = "servers")]

use std::path::Path;

use four_plane::chaos::drill::{self, DrillOptions, DrillRow};
use four_plane::chaos::{self, Row};
use four_plane::link::ProtectionMode;

/// Requests per second that each edge declares where its capacity is exceeded. Five times of two edges is far below what
/// two busy cores can do, so that it is the declared capacity that is exceeded and not the machine's.
const EDGE_CAPACITY: f64 = 60.0;

async fn measured(fault: &str) -> Row {
    let binary = Path::new(env!("CARGO_BIN_EXE_four-plane"));
    let row = chaos::measure(binary, fault, EDGE_CAPACITY).await.expect("a known fault");
    println!("{}", serde_json::to_string(&row).expect("a row is plain data"));
    assert_eq!(row.verdict, "measured", "{row:?}");
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn of_thirty_thousand_requests_none_fails_while_ten_catalog_instances_are_killed() {
    let row = measured("instance-termination").await;

    assert_eq!(row.missed, [""; 0], "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_times_the_capacity_is_shed_while_what_is_accepted_stays_fast_and_fills_the_capacity() {
    let row = measured("overload").await;

    // Refusals are those with 503 or 429 and Retry-After: without it, they would be errors.
    assert_eq!(row.missed, [""; 0], "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_opens_a_breaker_and_is_stood_in_for_until_it_closes_again() {
    let row = measured("network-latency").await;

    assert_eq!(row.missed, [""; 0], "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_in_which_a_dependency_fails_opens_a_breaker_and_costs_no_answer_and_little_load() {
    for fault in ["catalog-hang", "recommendation-refusal", "database-trickle", "cache-errors"] {
        let row = measured(fault).await;

        assert_eq!(row.missed, [""; 0], "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_was_emptied_is_missed_at_once_and_filled_again_by_what_is_asked_for() {
    let row = measured("cache-invalidation").await;

    assert_eq!(row.missed, [""; 0], "{row:?}");
    assert!(row.detected_s.is_some(), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_row_is_told_of_each_step_on_standard_error() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_four-plane"));
    command.args(["chaos", "--fault", "recommendation-termination", "--json"]);

    let output = command.output().await.unwrap();

    let [out, steps] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(out.starts_with(r#"{"fault":"recommendation-termination","#) && out.lines().count() == 1, "{out}");
    let steps: Vec<_> = steps.lines().filter_map(|step| step.split_once(" s  recommendation-termination: ")).collect();
    assert_eq!(steps.len(), 5, "{steps:?}");
    assert!(steps.iter().all(|(second, _)| second.trim().parse::<u32>().is_ok()), "{steps:?}");
    for (number, (_, step)) in (1..).zip(&steps[2..]) {
        assert!(step.starts_with(&format!("kill {number} of 3: one of recommendation, replaced after ")), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shed_is_worth_least_and_what_is_worth_most_is_answered() {
    let binary = Path::new(env!("CARGO_BIN_EXE_four-plane"));
    let mut options = DrillOptions::default();
    (options.seconds, options.capacity) = (10, EDGE_CAPACITY);
    let mut rows = Vec::new();

    let kept = |row: &DrillRow| {
        println!("{}", serde_json::to_string(row).expect("a row is plain data"));
        rows.push(row.clone());
        Ok(())
    };
    drill::measure(binary, ProtectionMode::On, &[5.0], &options, kept).await.expect("the stack runs");

    let row = &rows[0];
    let critical = row.by_criticality["critical"];
    assert!(row.goodput_of_capacity >= 0.85, "{row:?}");
    assert!(critical.in_time * 100 >= critical.sent * 99, "{row:?}");
    assert_eq!((row.all.late, row.all.failed), (0, 0), "{row:?}");
    assert!(row.recovered_s < Some(2.0) && row.recovered_s.is_some(), "{row:?}");
}

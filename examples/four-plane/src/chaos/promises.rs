//! What the stack promises under faults. Kills of other roles than the catalog's are measured without a bar.

use serde_json::Value;

use super::Row;

/// While instances are killed: enough requests that a rare loss would show.
const REQUESTS: f64 = 30_000.0;
const KILLS: f64 = 10.0;
/// The document's target for the recovery, in seconds.
const RECOVERED: f64 = 30.0;
/// Under overload, beside a load that loads nothing.
const SLOWDOWN: f64 = 4.0;
/// Under overload, of the declared capacity.
const GOODPUT: f64 = 0.9;
/// The document's target for a cache that was emptied, in seconds.
const REFILLED: f64 = 10.0;
/// The ways in which a dependency fails.
const WAYS: [&str; 4] = ["hang", "errors", "refusal", "trickle"];
/// For a breaker before a dependency that fails to open, and for all to close after it, in seconds.
pub(crate) const OPENED: f64 = 10.0;
pub(crate) const CLOSED: f64 = 15.0;
/// What retries may add to the load of a dependency that fails.
pub(crate) const EXTRA_LOAD: f64 = 0.1;
/// Of the answers, what stands in for a dependency without which there is no answer as asked.
pub(crate) const STOOD_IN: f64 = 0.05;
/// For breakers to open under a slow database, and to close after it, in seconds: a window of calls and the longest wait.
const BREAKERS: f64 = 12.0;

/// The promises that were not kept, a sentence each.
pub(super) fn missed(row: &Row) -> Vec<String> {
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    let count = |count: Option<u64>| count.map(|count| count as f64);
    let figure = |name: &str| row.figures.get(name).and_then(Value::as_f64);
    let shown = |value: Option<f64>| value.map_or_else(|| "missing".to_owned(), |value| value.to_string());
    let at_most = |name: &str, value: Option<f64>, most: f64| {
        let kept = value.is_some_and(|value| value <= most);
        (!kept).then(|| format!("{name} is {}, promised is at most {most}", shown(value)))
    };
    let at_least = |name: &str, value: Option<f64>, least: f64| {
        let kept = value.is_some_and(|value| value >= least);
        (!kept).then(|| format!("{name} is {}, promised is at least {least}", shown(value)))
    };
    let clean = || vec![at_most("errors", count(row.errors), 0.0), at_most("lost", count(row.lost), 0.0)];
    let kept = match row.fault {
        "instance-termination" => [
            clean(),
            vec![
                at_least("requests", count(row.requests), REQUESTS),
                at_least("kills", figure("kills"), KILLS),
                at_most("shed", count(row.shed), 0.0),
                at_most("recovered_s", row.recovered_s, RECOVERED),
            ],
        ],
        "overload" => [
            clean(),
            vec![
                at_least("shed", count(row.shed), 1.0),
                at_most("p99_ms", figure("p99_ms"), SLOWDOWN * figure("unloaded_p99_ms").unwrap_or_default()),
                at_least("goodput_of_capacity", figure("goodput_of_capacity"), GOODPUT),
            ],
        ],
        "network-latency" => [
            clean(),
            vec![
                at_least("degraded", count(row.degraded), 1.0),
                at_most("opened_s", row.opened_s, BREAKERS),
                at_most("closed_s", row.closed_s, BREAKERS),
            ],
        ],
        "cache-invalidation" => [clean(), vec![at_most("recovered_s", row.recovered_s, REFILLED)]],
        fault => match fault.split_once('-') {
            Some((dependency, way)) if WAYS.contains(&way) => [
                // The catalog's pages have no other source than the last good ones: those never asked for fail.
                if dependency == "catalog" { Vec::new() } else { clean() },
                vec![
                    at_most("opened_s", row.opened_s, OPENED),
                    at_most("closed_s", row.closed_s, CLOSED),
                    at_most("extra_load", row.extra_load, EXTRA_LOAD),
                    // Without the cache the database answers as asked.
                    if dependency == "cache" { None } else { at_least("fallback_share", row.fallback_share, STOOD_IN) },
                ],
            ],
            _ => return Vec::new(),
        },
    };
    kept.into_iter().flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(fault: &'static str, figures: Value) -> Row {
        Row {
            requests: Some(30_000),
            errors: Some(0),
            lost: Some(0),
            shed: Some(0),
            degraded: Some(1),
            recovered_s: Some(1.0),
            figures,
            ..Row::without_figures(fault, "measured", String::new())
        }
    }

    #[test]
    fn a_kill_may_cost_no_request_of_thirty_thousand() {
        let row = measured("instance-termination", json!({"kills": 10}));

        assert_eq!(missed(&row), [""; 0]);
        assert_eq!(missed(&Row { lost: Some(1), ..row.clone() }), ["lost is 1, promised is at most 0"]);
        assert_eq!(
            missed(&Row { requests: Some(29_999), ..row.clone() }),
            ["requests is 29999, promised is at least 30000"]
        );
        assert_eq!(missed(&Row { recovered_s: None, ..row }), ["recovered_s is missing, promised is at most 30"]);
    }

    #[test]
    fn overload_has_to_be_shed_while_what_is_accepted_stays_fast_and_fills_the_capacity() {
        let row = |shed, p99, goodput| Row {
            shed: Some(shed),
            ..measured("overload", json!({"p99_ms": p99, "unloaded_p99_ms": 50, "goodput_of_capacity": goodput}))
        };

        assert_eq!(missed(&row(1, 200, 0.9)), [""; 0]);
        assert_eq!(missed(&row(0, 200, 0.9)), ["shed is 0, promised is at least 1"]);
        assert_eq!(missed(&row(1, 201, 0.9)), ["p99_ms is 201, promised is at most 200"]);
        assert_eq!(missed(&row(1, 200, 0.89)), ["goodput_of_capacity is 0.89, promised is at least 0.9"]);
    }

    #[test]
    fn a_slow_database_has_to_open_a_breaker_that_closes_after() {
        let row = |opened_s, closed_s| Row { opened_s, closed_s, ..measured("network-latency", json!({})) };

        assert_eq!(missed(&row(Some(3.0), Some(5.0))), [""; 0]);
        assert_eq!(missed(&row(Some(3.0), None)), ["closed_s is missing, promised is at most 12"]);
        let failing = Row { errors: Some(2), ..row(Some(3.0), Some(5.0)) };
        assert_eq!(missed(&failing), ["errors is 2, promised is at most 0"]);
    }

    #[test]
    fn a_cache_that_was_emptied_has_to_come_back_within_ten_seconds() {
        let row = |recovered_s| Row { recovered_s, ..measured("cache-invalidation", json!({})) };

        assert_eq!(missed(&row(Some(10.0))), [""; 0]);
        assert_eq!(missed(&row(Some(10.1))), ["recovered_s is 10.1, promised is at most 10"]);
        assert_eq!(missed(&row(None)), ["recovered_s is missing, promised is at most 10"]);
    }

    #[test]
    fn a_dependency_that_fails_has_to_be_stood_in_for_and_asked_hardly_more() {
        let row = |fault| Row {
            opened_s: Some(10.0),
            closed_s: Some(15.0),
            extra_load: Some(0.1),
            fallback_share: Some(0.05),
            ..measured(fault, json!({}))
        };

        for fault in ["catalog-hang", "recommendation-refusal", "database-trickle", "cache-errors"] {
            assert_eq!(missed(&row(fault)), [""; 0], "{fault}");
        }
        let late = Row { opened_s: None, closed_s: Some(15.1), extra_load: Some(0.101), ..row("database-hang") };
        assert_eq!(
            missed(&late),
            [
                "opened_s is missing, promised is at most 10",
                "closed_s is 15.1, promised is at most 15",
                "extra_load is 0.101, promised is at most 0.1"
            ]
        );
        let bare = |fault| Row { fallback_share: Some(0.0), errors: Some(1), ..row(fault) };
        assert_eq!(missed(&bare("catalog-errors")), ["fallback_share is 0, promised is at least 0.05"]);
        assert_eq!(missed(&bare("cache-trickle")), ["errors is 1, promised is at most 0"]);
    }

    #[test]
    fn a_fault_without_a_promise_misses_none() {
        assert_eq!(missed(&Row::without_figures("edge-termination", "measured", String::new())), [""; 0]);
    }
}

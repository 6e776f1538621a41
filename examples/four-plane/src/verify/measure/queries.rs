//! The catalog in a PostgreSQL of its own: how long its queries take, what they are answered from, what a pool saves.
//!
//! Where PostgreSQL is not installed, the rows stay open.

mod asked;

use std::time::Duration;

pub(super) use self::asked::observe;
use super::{
    Claims,
    quantile::{microseconds, milliseconds, quantile},
};
use crate::verify::report::Finding;

/// Queries per second in the document's figure of the caches, for how long, and its 99th percentile.
const RATE: u32 = 1_000;
const RATED_P99: Duration = Duration::from_millis(15);
/// The document's share of a query that the right index saves.
const INDEX_SAVED: f64 = 0.8;

/// The document's targets for the 99th percentile.
const LOOKUP: Duration = Duration::from_millis(1);
const RANGE: Duration = Duration::from_millis(10);
const JOIN: Duration = Duration::from_millis(25);
const AGGREGATION: Duration = Duration::from_millis(100);
const SEARCH: Duration = Duration::from_millis(50);
/// The document's shares of a call that a pool saves.
const LATENCY_SAVED: f64 = 0.4;
const OVERHEAD_SAVED: f64 = 0.9;

pub(super) const CLAIMS: Claims<Queries> = &[
    ("query-performance.point-lookup", lookup),
    ("query-performance.point-lookup.best-practice", lookup_plan),
    ("query-performance.point-lookup.performance-target", lookup),
    ("query-performance.point-lookup.index-strategy", lookup_index),
    ("query-performance.range-query", range),
    ("query-performance.range-query.performance-target", range),
    ("query-performance.range-query.index-strategy", range_index),
    ("query-performance.join-query", join),
    ("query-performance.join-query.performance-target", join),
    ("query-performance.aggregation", aggregation),
    ("query-performance.aggregation.performance-target", aggregation),
    ("query-performance.join-query.best-practice", join_plan),
    ("query-performance.join-query.index-strategy", join_plan),
    ("query-performance.aggregation.best-practice", precomputed),
    ("query-performance.full-text-search", search),
    ("query-performance.full-text-search.performance-target", search),
    ("figure.caching.primary-database.queries", rated),
    ("figure.caching.primary-database.p99", rated_p99),
    ("database-performance.query-optimization", index_saved),
    ("database-performance.query-optimization.performance-impact", index_saved),
    ("database-performance.query-optimization.implementation", lookup_plan),
    ("database-performance.connection-pooling", latency_saved),
    ("database-performance.connection-pooling.performance-impact", latency_saved),
    ("database-performance.connection-reuse", overhead_saved),
    ("database-performance.connection-reuse.performance-impact", overhead_saved),
    ("database-performance.connection-reuse.implementation", reused),
];

/// What was seen; nothing where there is no PostgreSQL.
#[derive(Debug, Default)]
pub(super) struct Queries {
    server: bool,
    lookups: Vec<Duration>,
    ranges: Vec<Duration>,
    joins: Vec<Duration>,
    aggregations: Vec<Duration>,
    searches: Vec<Duration>,
    /// Connections that were made for all of these.
    connected: u64,
    /// First calls of clients, which have to connect.
    fresh: Vec<Duration>,
    /// Of queries that were each sent at their time: how long each took, and all together.
    rated: Vec<Duration>,
    rated_within: Duration,
    /// An item looked for in the whole table, and by the index, on one connection.
    unindexed: Vec<Duration>,
    indexed: Vec<Duration>,
    join_plan: String,
    lookup_plan: String,
    range_plan: String,
    /// Columns of the indexes that the two plans should name.
    lookup_columns: i16,
    range_columns: i16,
}

const LOOKUP_INDEX: &str = "cities_pkey";
const RANGE_INDEX: &str = "cities_population";

fn within(queries: &Queries, what: &str, took: &[Duration], most: Duration) -> Finding {
    if !queries.server {
        return Finding::not_yet();
    }
    let (Some(half), Some(p99)) = (quantile(took.to_vec(), 0.5), quantile(took.to_vec(), 0.99)) else {
        return Finding::unobserved("nothing was asked");
    };
    Finding::judged(
        p99 < most,
        format!("p50 {}, p99 {}", microseconds(half), microseconds(p99)),
        format!("{} times {what} of PostgreSQL over a pooled connection, without other load", took.len()),
    )
}

fn lookup(queries: &Queries) -> Finding {
    within(queries, "an item by its id", &queries.lookups, LOOKUP)
}

fn range(queries: &Queries) -> Finding {
    within(queries, "the ten largest cities", &queries.ranges, RANGE)
}

fn join(queries: &Queries) -> Finding {
    within(queries, "what is popular, joined with the cities", &queries.joins, JOIN)
}

fn aggregation(queries: &Queries) -> Finding {
    within(queries, "recommendations, summed over what was seen together", &queries.aggregations, AGGREGATION)
}

fn search(queries: &Queries) -> Finding {
    within(queries, "the cities whose name holds four letters", &queries.searches, SEARCH)
}

fn uses(queries: &Queries, plan: &str, index: &str, fits: bool, what: &str) -> Finding {
    if !queries.server {
        return Finding::not_yet();
    }
    let used = plan.contains(&format!("Index Scan using {index} "));
    Finding::judged(used && fits, format!("{index}, {what}"), format!("explain: {plan}"))
}

fn lookup_plan(queries: &Queries) -> Finding {
    uses(queries, &queries.lookup_plan, LOOKUP_INDEX, true, "the primary key's index")
}

fn lookup_index(queries: &Queries) -> Finding {
    let columns = queries.lookup_columns;
    uses(queries, &queries.lookup_plan, LOOKUP_INDEX, columns == 1, &format!("columns: {columns}"))
}

fn range_index(queries: &Queries) -> Finding {
    let columns = queries.range_columns;
    uses(queries, &queries.range_plan, RANGE_INDEX, columns > 1, &format!("columns: {columns}"))
}

/// Both sides of the join are found by an index, and no more of them than asked for.
fn join_plan(queries: &Queries) -> Finding {
    let plan = &queries.join_plan;
    let fits = plan.starts_with("Limit") && plan.contains("Index Scan using popularity_heat ");
    uses(queries, plan, LOOKUP_INDEX, fits, "found by what popularity_heat gives, the first ten")
}

/// What is popular was summed when it was viewed: nothing is when it is asked for.
fn precomputed(queries: &Queries) -> Finding {
    let plan = &queries.join_plan;
    uses(queries, plan, "popularity_heat", !plan.contains("Aggregate"), "sums that each view adds to")
}

/// Answered while they were sent, give or take what the last ones take.
fn rated(queries: &Queries) -> Finding {
    if !queries.server {
        return Finding::not_yet();
    }
    let seconds = queries.rated_within.as_secs_f64();
    let rate = f64::from(u32::try_from(queries.rated.len()).unwrap_or(u32::MAX)) / seconds.max(f64::MIN_POSITIVE);
    Finding::judged(
        rate >= f64::from(RATE) * 0.98,
        format!("{rate:.0} a second"),
        format!("{} look-ups of PostgreSQL, {RATE} a second in an open loop over ten connections", queries.rated.len()),
    )
}

fn rated_p99(queries: &Queries) -> Finding {
    within(queries, "an item by its id, 1,000 times a second,", &queries.rated, RATED_P99)
}

fn less(queries: &Queries, (before, after): (&[Duration], &[Duration]), least: f64, how: &str) -> Finding {
    if !queries.server {
        return Finding::not_yet();
    }
    let half = |took: &[Duration]| quantile(took.to_vec(), 0.5);
    let (Some(before), Some(after)) = (half(before), half(after)) else {
        return Finding::unobserved("nothing was asked");
    };
    let saved = 1.0 - after.as_secs_f64() / before.as_secs_f64();
    Finding::judged(
        saved >= least,
        format!("{:.0}% less: {} instead of {}", saved * 100.0, milliseconds(after), milliseconds(before)),
        how,
    )
}

fn index_saved(queries: &Queries) -> Finding {
    let took = (&queries.unindexed[..], &queries.indexed[..]);
    less(
        queries,
        took,
        INDEX_SAVED,
        "p50 of an item by its id with the primary key's index, and with indexes switched off",
    )
}

fn saved(queries: &Queries, least: f64) -> Finding {
    let how = "p50 of an item by its id over a pooled connection, and by a client that connects for it";
    less(queries, (&queries.fresh, &queries.lookups), least, how)
}

fn latency_saved(queries: &Queries) -> Finding {
    saved(queries, LATENCY_SAVED)
}

/// In the place of `PgBouncer`, each process keeps its connections.
fn reused(queries: &Queries) -> Finding {
    if !queries.server {
        return Finding::not_yet();
    }
    let asked = [&queries.lookups, &queries.ranges, &queries.joins, &queries.aggregations, &queries.searches];
    let asked = asked.map(Vec::len).into_iter().sum::<usize>();
    let connected = queries.connected;
    Finding::judged(
        connected > 0 && usize::try_from(connected).is_ok_and(|connected| connected.saturating_mul(100) <= asked),
        format!("{asked} queries over {connected} connections"),
        "asked of PostgreSQL one after another, by the pool's own count of connections that it made",
    )
}

fn overhead_saved(queries: &Queries) -> Finding {
    saved(queries, OVERHEAD_SAVED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    fn took(milliseconds: &[u64]) -> Vec<Duration> {
        milliseconds.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn without_a_server_every_row_stays_open() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&Queries::default()), Finding::not_yet(), "{id}");
        }
    }

    #[test]
    fn a_server_that_was_asked_nothing_meets_no_row() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&Queries { server: true, ..Queries::default() }).verdict, Verdict::NotMet, "{id}");
        }
    }

    #[test]
    fn the_slowest_hundredth_decides() {
        let range_of =
            |slow| Queries { server: true, ranges: took(&[&[1; 98][..], &[slow; 2]].concat()), ..Queries::default() };

        assert_eq!(range(&range_of(9)).verdict, Verdict::Met);
        assert_eq!(range(&range_of(10)).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_plan_that_reads_the_table_or_an_index_of_other_width_is_not_met() {
        let queries = |plan: &str, columns| Queries {
            server: true,
            lookup_plan: plan.to_owned(),
            lookup_columns: columns,
            ..Queries::default()
        };
        let index = "Index Scan using cities_pkey on cities  (cost=0.29..8.30 rows=1 width=42)";

        assert_eq!(lookup_index(&queries(index, 1)).verdict, Verdict::Met);
        assert_eq!(lookup_index(&queries(index, 2)).verdict, Verdict::NotMet);
        assert_eq!(lookup_plan(&queries("Seq Scan on cities", 1)).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_join_that_reads_a_whole_table_or_sums_is_not_met() {
        let queries = |plan: &str| Queries { server: true, join_plan: plan.to_owned(), ..Queries::default() };
        let good = "Limit; Nested Loop; Index Scan using popularity_heat on p; Index Scan using cities_pkey on c";
        let whole = "Limit; Hash Join; Index Scan using popularity_heat on p; Seq Scan on cities";

        assert_eq!(
            (join_plan(&queries(good)).verdict, precomputed(&queries(good)).verdict),
            (Verdict::Met, Verdict::Met)
        );
        assert_eq!(join_plan(&queries(whole)).verdict, Verdict::NotMet);
        assert_eq!(join_plan(&queries(&good.replace("Limit; ", ""))).verdict, Verdict::NotMet);
        assert_eq!(precomputed(&queries(&format!("Aggregate; {good}"))).verdict, Verdict::NotMet);
    }

    #[test]
    fn queries_that_are_answered_later_than_they_are_sent_miss_the_rate() {
        let queries = |milliseconds| Queries {
            server: true,
            rated: took(&[1; 2_000]),
            rated_within: Duration::from_millis(milliseconds),
            ..Queries::default()
        };

        assert_eq!(rated(&queries(2_010)).verdict, Verdict::Met);
        assert_eq!(rated(&queries(2_050)).verdict, Verdict::NotMet);
    }

    #[test]
    fn what_a_pool_saves_is_a_share_of_the_call_that_connects() {
        let queries = Queries { server: true, fresh: took(&[10]), lookups: took(&[2]), ..Queries::default() };

        assert_eq!(latency_saved(&queries).measured, "80% less: 2.0 ms instead of 10.0 ms");
        assert_eq!(latency_saved(&queries).verdict, Verdict::Met);
        assert_eq!(overhead_saved(&queries).verdict, Verdict::NotMet);
    }
}

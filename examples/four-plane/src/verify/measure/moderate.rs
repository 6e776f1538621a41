//! A stack under a load that is moderate for the two cores that all its processes and callers share.

use std::{path::Path, time::Duration};

use super::{
    Claims,
    quantile::{milliseconds, quantile},
};
use crate::{
    data,
    verify::{
        report::Finding,
        stack::{Stack, Status},
        web::Answer,
    },
};

/// Requests per second at the edge.
const LOAD: u32 = 50;

/// The figures of the control plane are over five seconds; before them, caches fill and connections are made.
const SETTLE: Duration = Duration::from_secs(8);

/// The document's figure, in milliseconds.
const DATABASE_P99: f64 = 10.0;

/// Of the application servers, in the figure of the caches.
const SERVER_P99: Duration = Duration::from_millis(1);

/// Answers of one instance to a question whose answer the cache holds.
const DIRECT: usize = 1_000;

pub(super) const CLAIMS: Claims<Moderate> = &[
    ("figure.failure-first.primary-db.p99", database_p99),
    ("figure.stateless.database.p99", database_p99),
    ("figure.caching.application-servers.p99", server_p99),
];

/// What the control plane showed, and what one catalog instance answered.
#[derive(Debug, Default)]
pub(super) struct Moderate {
    status: Status,
    direct: Vec<Answer>,
}

/// Starts a stack of its own and looks at it once.
pub(super) async fn observe(program: &Path) -> anyhow::Result<Moderate> {
    let stack = Stack::start(program, LOAD).await?;
    tokio::time::sleep(SETTLE).await;
    let mut moderate = Moderate { status: stack.status().await?, ..Moderate::default() };
    let city = data::cities().first().map(|city| city.id).unwrap_or_default();
    if let Some(catalog) = moderate.status.instance("catalog/1").and_then(|instance| instance.url.clone()) {
        let url = format!("{catalog}/catalog/items/{city}");
        for _ in 0..DIRECT {
            moderate.direct.push(stack.web.get(&url).await?);
        }
    }
    stack.stop().await?;
    Ok(moderate)
}

/// A server that answers what its cache holds, over HTTP and with the way to the cache. The document's has processors of its
/// own; here each of them also carries callers, load and a dozen other processes.
fn server_p99(moderate: &Moderate) -> Finding {
    let hits = || moderate.direct.iter().filter(|answer| answer.header("x-cache") == Some("hit"));
    let took = |share| quantile(hits().map(|answer| answer.took), share);
    let (Some(half), Some(p99)) = (took(0.5), took(0.99)) else {
        return Finding::unobserved("no answer came from the cache");
    };
    Finding::judged(
        p99 <= SERVER_P99,
        format!("p50 {}, p99 {}", milliseconds(half), milliseconds(p99)),
        format!(
            "{} answers of a catalog instance from the {} cache, asked one after another at {LOAD} requests/s at the edge",
            hits().count(),
            moderate.status.state.cache
        ),
    )
}

fn database_p99(Moderate { status, .. }: &Moderate) -> Finding {
    let Some(database) = status.service("database") else {
        return Finding::unobserved("the control plane shows no database");
    };
    let Some(p99) = database.p99_ms else {
        return Finding::unobserved("the control plane shows no p99 of the database");
    };
    let rate = database.rps.unwrap_or_default();
    Finding::judged(
        p99 <= DATABASE_P99,
        format!("p99 {p99:.1} ms"),
        format!(
            "{} database over loopback, {rate:.0} queries/s at {LOAD} requests/s at the edge, over 5 s, as the control plane \
             shows it",
            status.state.database
        ),
    )
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::verify::{
        report::Verdict,
        stack::{Plane, Service},
    };

    fn database(p99: Option<f64>) -> Moderate {
        let services = vec![Service { name: "database".into(), p99_ms: p99, ..Service::default() }];
        let status = Status { planes: vec![Plane { services, ..Plane::default() }], ..Status::default() };
        Moderate { status, ..Moderate::default() }
    }

    #[test]
    fn only_answers_of_the_cache_count_and_one_in_a_hundred_may_be_slow() {
        let answer = |cache, took| Answer::scripted(StatusCode::OK, &[("x-cache", cache)], took);
        let judged = |slow| {
            let hits = (0..100).map(|number| answer("hit", if number < slow { 2 } else { 1 }));
            server_p99(&Moderate { direct: hits.chain([answer("miss", 90)]).collect(), ..Moderate::default() }).verdict
        };

        assert_eq!((judged(1), judged(2)), (Verdict::Met, Verdict::NotMet));
        assert_eq!(server_p99(&Moderate::default()).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_database_slower_than_ten_milliseconds_or_unseen_is_not_met() {
        assert_eq!(database_p99(&database(Some(9.5))).verdict, Verdict::Met);
        assert_eq!(database_p99(&database(Some(10.5))).verdict, Verdict::NotMet);
        assert_eq!(database_p99(&database(None)).verdict, Verdict::NotMet);
        assert_eq!(database_p99(&Moderate::default()).verdict, Verdict::NotMet);
    }
}

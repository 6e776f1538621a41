//! A stack under a load that is moderate for two busy cores.

use std::{path::Path, time::Duration};

use super::Claims;
use crate::verify::{
    report::Finding,
    stack::{Stack, Status},
};

/// Requests per second at the edge.
const LOAD: u32 = 50;

/// The figures of the control plane are over five seconds; before them, caches fill and connections are made.
const SETTLE: Duration = Duration::from_secs(8);

/// The document's figure, in milliseconds.
const DATABASE_P99: f64 = 10.0;

pub(super) const CLAIMS: Claims<Moderate> =
    &[("figure.failure-first.primary-db.p99", database_p99), ("figure.stateless.database.p99", database_p99)];

/// What the control plane showed.
#[derive(Debug, Default)]
pub(super) struct Moderate(Status);

/// Starts a stack of its own and looks at it once.
pub(super) async fn observe(program: &Path) -> anyhow::Result<Moderate> {
    let stack = Stack::start(program, LOAD).await?;
    tokio::time::sleep(SETTLE).await;
    let status = stack.status().await?;
    stack.stop().await?;
    Ok(Moderate(status))
}

fn database_p99(Moderate(status): &Moderate) -> Finding {
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
    use super::*;
    use crate::verify::{
        report::Verdict,
        stack::{Plane, Service},
    };

    fn database(p99: Option<f64>) -> Moderate {
        let services = vec![Service { name: "database".into(), p99_ms: p99, ..Service::default() }];
        Moderate(Status { planes: vec![Plane { services, ..Plane::default() }], ..Status::default() })
    }

    #[test]
    fn a_database_slower_than_ten_milliseconds_or_unseen_is_not_met() {
        assert_eq!(database_p99(&database(Some(9.5))).verdict, Verdict::Met);
        assert_eq!(database_p99(&database(Some(10.5))).verdict, Verdict::NotMet);
        assert_eq!(database_p99(&database(None)).verdict, Verdict::NotMet);
        assert_eq!(database_p99(&Moderate::default()).verdict, Verdict::NotMet);
    }
}

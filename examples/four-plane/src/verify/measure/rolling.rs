//! Every instance of the service plane replaced, one after another, under load: what a rolling restart asks of a stack, the
//! harder way, since nobody drains them.

use std::cell::Cell;
use std::time::Duration;

use super::{
    Claims,
    traffic::{Sample, Traffic, served, uncached_item},
};
use crate::verify::{
    report::Finding,
    stack::{Load, Stack, Status},
    web::Stopwatch,
};

/// The services whose instances hold nothing.
const SERVICES: [&str; 3] = ["gateway", "catalog", "recommendation"];

/// How long a replacement may take to be healthy.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Between a replacement and the next kill.
const PAUSE: Duration = Duration::from_millis(500);

/// The document's upper bound for the way back, which is the same round with the version before.
const ROLLBACK: Duration = Duration::from_mins(5);

/// The document's factor of resources while a round is under way.
const RESOURCES: f64 = 1.2;

/// Our own requests, beside the built-in load.
const EVERY: Duration = Duration::from_millis(20);

pub(super) const CLAIMS: Claims<Rolled> = &[
    ("stateless-benefits.deployment", safe),
    ("stateless-benefits.deployment.stateless", safe),
    ("load-balancing.round-robin.failure-handling", failures),
    ("deployment-strategies.rolling-update", safe),
    ("deployment-strategies.rolling-update.downtime", safe),
    ("deployment-strategies.rolling-update.rollback-time", rollback),
    ("deployment-strategies.rolling-update.resource-cost", cost),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Rolled {
    /// Instances that were to be replaced, and those that were.
    instances: usize,
    replaced: usize,
    /// Running at the same time at most.
    most: usize,
    took: Duration,
    before: Load,
    after: Load,
    samples: Vec<Sample>,
}

/// Kills each instance once, the next one when the last is replaced.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Rolled> {
    let status = stack.status().await?;
    let mut rolled = Rolled { before: status.load, ..Rolled::default() };
    let traffic = Traffic::start(stack, EVERY, uncached_item);
    let (watch, most) = (Stopwatch::start(), Cell::new(0));
    for service in SERVICES.iter().filter_map(|name| status.service(name)) {
        for instance in &service.instances {
            rolled.instances = rolled.instances.saturating_add(1);
            let (name, pid) = (instance.instance.as_str(), instance.pid);
            stack.fault("kill", name, 0.0, 1).await?;
            let back = stack.until(BACK_WITHIN, |status| {
                most.set(most.get().max(running(status)));
                let now = status.instance(name);
                now.is_some_and(|now| now.health == "pass" && now.pid.is_some() && now.pid != pid)
            });
            rolled.replaced = rolled.replaced.saturating_add(usize::from(back.await?.is_some()));
            tokio::time::sleep(PAUSE).await;
        }
    }
    (rolled.took, rolled.most) = (watch.elapsed(), most.get());
    rolled.samples = traffic.stop().await?;
    rolled.after = stack.status().await?.load;
    Ok(rolled)
}

fn running(status: &Status) -> usize {
    let services = SERVICES.iter().filter_map(|name| status.service(name));
    services.flat_map(|service| &service.instances).filter(|instance| instance.pid.is_some()).count()
}

fn seen(rolled: &Rolled, evidence: &str) -> Finding {
    let failed = rolled.after.failed.saturating_sub(rolled.before.failed);
    let all_served = !rolled.samples.is_empty() && rolled.samples.iter().all(Sample::is_served);
    Finding::judged(
        rolled.instances > 0 && rolled.replaced == rolled.instances && all_served && failed == 0,
        format!(
            "{} of {} instances replaced, {}, {failed} of {} of the load failed",
            rolled.replaced,
            rolled.instances,
            served(&rolled.samples),
            rolled.after.sent.saturating_sub(rolled.before.sent),
        ),
        evidence,
    )
}

fn safe(rolled: &Rolled) -> Finding {
    seen(rolled, "each gateway, catalog and recommendation process killed in turn, and what clients of the edge saw")
}

fn rollback(rolled: &Rolled) -> Finding {
    Finding::judged(
        rolled.replaced > 0 && rolled.replaced == rolled.instances && rolled.took <= ROLLBACK,
        format!("{:.0} s", rolled.took.as_secs_f64()),
        format!(
            "{} processes of the service plane replaced one after another under load: the way back is such a round",
            rolled.replaced
        ),
    )
}

fn cost(rolled: &Rolled) -> Finding {
    #[expect(clippy::cast_precision_loss, reason = "a handful of processes")]
    let factor = rolled.most as f64 / rolled.instances.max(1) as f64;
    Finding::judged(
        rolled.most > 0 && rolled.replaced == rolled.instances && factor <= RESOURCES,
        format!("{factor:.2} times"),
        format!(
            "at most {} processes ran at once where {} do before and after: none is started beside the one that it replaces",
            rolled.most, rolled.instances
        ),
    )
}

fn failures(rolled: &Rolled) -> Finding {
    seen(rolled, "instances take turns; each of them was killed once, and its requests went to another one")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::verify::report::Verdict;

    fn rolled(replaced: usize, failed: u64, status: StatusCode) -> Rolled {
        Rolled {
            instances: 8,
            replaced,
            after: Load { sent: 100, failed, ..Load::default() },
            samples: vec![Sample::scripted(status, &[], 1)],
            ..Rolled::default()
        }
    }

    #[test]
    fn one_instance_one_failure_or_one_answer_is_enough_to_miss_it() {
        assert_eq!(safe(&rolled(8, 0, StatusCode::OK)).verdict, Verdict::Met);
        assert_eq!(safe(&rolled(7, 0, StatusCode::OK)).verdict, Verdict::NotMet);
        assert_eq!(safe(&rolled(8, 1, StatusCode::OK)).verdict, Verdict::NotMet);
        assert_eq!(failures(&rolled(8, 0, StatusCode::BAD_GATEWAY)).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_round_that_takes_too_long_or_too_much_is_missed() {
        let round = |seconds, most| Rolled { took: Duration::from_secs(seconds), most, ..rolled(8, 0, StatusCode::OK) };

        assert_eq!(
            (rollback(&round(300, 8)).verdict, rollback(&round(301, 8)).verdict),
            (Verdict::Met, Verdict::NotMet)
        );
        assert_eq!((cost(&round(1, 9)).verdict, cost(&round(1, 10)).verdict), (Verdict::Met, Verdict::NotMet));
    }

    #[test]
    fn nothing_replaced_meets_no_row() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&Rolled::default()).verdict, Verdict::NotMet, "{id}");
        }
    }
}

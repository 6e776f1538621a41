//! Every instance of the service plane replaced, one after another, under load: what a rolling restart asks of a stack, the
//! harder way, since nobody drains them.

use std::time::Duration;

use super::{
    Claims,
    traffic::{Sample, Traffic, served, uncached_item},
};
use crate::verify::{
    report::Finding,
    stack::{Load, Stack},
};

/// The services whose instances hold nothing.
const SERVICES: [&str; 3] = ["gateway", "catalog", "recommendation"];

/// How long a replacement may take to be healthy.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Between a replacement and the next kill.
const PAUSE: Duration = Duration::from_millis(500);

/// Our own requests, beside the built-in load.
const EVERY: Duration = Duration::from_millis(20);

pub(super) const CLAIMS: Claims<Rolled> = &[
    ("stateless-benefits.deployment", safe),
    ("stateless-benefits.deployment.stateless", safe),
    ("load-balancing.round-robin.failure-handling", failures),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Rolled {
    /// Instances that were to be replaced, and those that were.
    instances: usize,
    replaced: usize,
    before: Load,
    after: Load,
    samples: Vec<Sample>,
}

/// Kills each instance once, the next one when the last is replaced.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Rolled> {
    let status = stack.status().await?;
    let mut rolled = Rolled { before: status.load, ..Rolled::default() };
    let traffic = Traffic::start(stack, EVERY, uncached_item);
    for service in SERVICES.iter().filter_map(|name| status.service(name)) {
        for instance in &service.instances {
            rolled.instances = rolled.instances.saturating_add(1);
            let (name, pid) = (instance.instance.as_str(), instance.pid);
            stack.fault("kill", name, 0.0, 1).await?;
            let back = stack.until(BACK_WITHIN, |status| {
                let now = status.instance(name);
                now.is_some_and(|now| now.health == "pass" && now.pid.is_some() && now.pid != pid)
            });
            rolled.replaced = rolled.replaced.saturating_add(usize::from(back.await?.is_some()));
            tokio::time::sleep(PAUSE).await;
        }
    }
    rolled.samples = traffic.stop().await?;
    rolled.after = stack.status().await?.load;
    Ok(rolled)
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
    fn nothing_replaced_is_not_safe() {
        assert_eq!(safe(&Rolled::default()).verdict, Verdict::NotMet);
    }
}

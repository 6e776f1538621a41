//! One catalog instance that answers nothing.

use std::time::Duration;

use super::{
    Claims,
    traffic::{Sample, Traffic, served, uncached_item},
};
use crate::verify::{report::Finding, stack::Stack};

/// How long a hung instance may stay in the pool.
const REMOVE_WITHIN: Duration = Duration::from_secs(12);

/// Our own requests, beside the built-in load.
const EVERY: Duration = Duration::from_millis(50);

const FAULT_SECONDS: u64 = 60;

const HUNG: &str = "catalog/3";

pub(super) const CLAIMS: Claims<Hang> = &[("health-checks.application-health.recovery-actions", removed_from_pool)];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Hang {
    /// Whether the control plane saw that the instance was not healthy.
    noticed: bool,
    /// Requests after that, with one of three instances hung.
    samples: Vec<Sample>,
}

/// Hangs one instance until it is out of the pool.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Hang> {
    let fault = stack.fault("hang", HUNG, 0.0, FAULT_SECONDS).await?;
    let noticed =
        stack.until(REMOVE_WITHIN, |status| status.instance(HUNG).is_some_and(|instance| instance.health != "pass"));
    let noticed = noticed.await?.is_some();
    let traffic = Traffic::start(stack, EVERY, |number| uncached_item(number.saturating_add(18_000)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let samples = traffic.stop().await?;
    stack.heal(fault).await?;
    let back = |status: &crate::verify::stack::Status| {
        status.instance(HUNG).is_some_and(|instance| instance.health == "pass")
            && status.breakers().all(|breaker| breaker.state == "closed")
    };
    stack.until(REMOVE_WITHIN, back).await?;
    Ok(Hang { noticed, samples })
}

fn removed_from_pool(hang: &Hang) -> Finding {
    let sent_there = hang
        .samples
        .iter()
        .filter(|sample| sample.answer.as_ref().and_then(|answer| answer.header("x-served-by")) == Some(HUNG));
    let sent_there = sent_there.count();
    Finding::judged(
        hang.noticed && sent_there == 0 && !hang.samples.is_empty() && hang.samples.iter().all(Sample::is_served),
        format!("{}, {sent_there} by the instance that hung", served(&hang.samples)),
        format!("{HUNG} hung until /control/status showed it unhealthy, then our own requests for 3 s"),
    )
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::verify::report::Verdict;

    #[test]
    fn one_request_at_the_hung_instance_means_that_it_is_still_in_the_pool() {
        let by = |name| Sample::scripted(StatusCode::OK, &[("x-served-by", name)], 5);
        let hang = |samples: Vec<Sample>| Hang { noticed: true, samples };

        assert_eq!(removed_from_pool(&hang(vec![by("catalog/1"), by("catalog/2")])).verdict, Verdict::Met);
        assert_eq!(removed_from_pool(&hang(vec![by("catalog/1"), by(HUNG)])).verdict, Verdict::NotMet);
    }
}

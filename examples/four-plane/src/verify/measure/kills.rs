//! Catalog instances killed under load, one after another.

use std::time::Duration;

use super::{
    Claims,
    traffic::{Sample, Traffic, served, uncached_item},
};
use crate::verify::{
    report::Finding,
    stack::{Load, Stack},
    web::Stopwatch,
};

/// How many instances are killed, in turn.
const KILLS: usize = 10;

/// The next kill comes this long after the one before, or when that one's instance is back.
const BETWEEN: Duration = Duration::from_millis(3_500);

/// The document's target.
const RECOVERY_WITHIN: Duration = Duration::from_secs(30);

/// No further kill after this time, so that the whole run stays short when recovery is slow.
const KILL_FOR: Duration = Duration::from_secs(37);

/// The document's share of errors; with fewer requests than its inverse, none would prove it.
const ERRORS_BELOW: f64 = 0.000_1;

/// Our own requests, beside the built-in load: together more than 10,000, and far enough below the declared capacity that
/// a busy machine's hiccup is not overload.
const EVERY: Duration = Duration::from_millis(20);

pub(super) const CLAIMS: Claims<Kills> = &[
    ("chaos.instance-termination", killed),
    ("chaos.instance-termination.recovery-target", recovery),
    ("chaos.instance-termination.success-criteria", availability),
    ("chaos.instance-termination.business-impact", error_rate),
    ("stateless-benefits.fault-tolerance", transparency),
    ("stateless-benefits.fault-tolerance.stateless", transparency),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Kills {
    /// Per kill, the time until a new process of that name was healthy; nothing when there was none.
    recovered: Vec<Option<Duration>>,
    before: Load,
    after: Load,
    samples: Vec<Sample>,
}

/// Kills and watches, for less than a minute.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Kills> {
    let before = stack.status().await?.load;
    let traffic = Traffic::start(stack, EVERY, uncached_item);
    let begun = Stopwatch::start();
    let mut recovered = Vec::new();
    for name in ["catalog/1", "catalog/2", "catalog/3"].into_iter().cycle().take(KILLS) {
        if begun.elapsed() > KILL_FOR {
            break;
        }
        let pid = stack.status().await?.instance(name).and_then(|instance| instance.pid);
        stack.fault("kill", name, 0.0, 1).await?;
        let killed = Stopwatch::start();
        let back = stack.until(RECOVERY_WITHIN, |status| {
            status
                .instance(name)
                .is_some_and(|instance| instance.health == "pass" && instance.pid.is_some() && instance.pid != pid)
        });
        recovered.push(back.await?.map(|_| killed.elapsed()));
        tokio::time::sleep(BETWEEN.saturating_sub(killed.elapsed())).await;
    }
    let samples = traffic.stop().await?;
    let after = stack.status().await?.load;
    Ok(Kills { recovered, before, after, samples })
}

fn killed(kills: &Kills) -> Finding {
    let killed = kills.recovered.len();
    Finding::judged(killed > 0, format!("{killed} catalog processes killed"), "POST /control/faults under load")
}

fn recovery(kills: &Kills) -> Finding {
    let Some(slowest) =
        kills.recovered.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max())
    else {
        return Finding::unobserved("a killed instance was not back within 30 s");
    };
    Finding::judged(
        slowest < RECOVERY_WITHIN,
        format!("slowest {:.1} s", slowest.as_secs_f64()),
        format!("{} kills, each until a new process of the name is healthy in /control/status", kills.recovered.len()),
    )
}

fn availability(kills: &Kills) -> Finding {
    let all_served = !kills.samples.is_empty() && kills.samples.iter().all(Sample::is_served);
    Finding::judged(
        all_served,
        served(&kills.samples),
        "our own requests for items at the edge while instances were killed",
    )
}

fn error_rate(kills: &Kills) -> Finding {
    let sent = kills.after.sent.saturating_sub(kills.before.sent);
    let failed = kills.after.failed.saturating_sub(kills.before.failed);
    let own = kills.samples.len();
    let own_failed = kills.samples.iter().filter(|sample| !sample.is_served()).count();
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    let (requests, errors) = (sent as f64 + own as f64, failed as f64 + own_failed as f64);
    Finding::judged(
        requests * ERRORS_BELOW >= 1.0 && errors < requests * ERRORS_BELOW,
        format!("{errors} errors in {requests} requests"),
        format!("built-in load and our own requests over {} kills", kills.recovered.len()),
    )
}

fn transparency(kills: &Kills) -> Finding {
    let failed = kills.after.failed.saturating_sub(kills.before.failed);
    let own_failed = kills.samples.iter().filter(|sample| !sample.is_served()).count();
    Finding::judged(
        !kills.recovered.is_empty() && !kills.samples.is_empty() && failed == 0 && own_failed == 0,
        format!("{} kills, {failed} failures of the load and {own_failed} of our own requests", kills.recovered.len()),
        "what clients of the edge saw",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    fn load(sent: u64, failed: u64) -> Load {
        Load { sent, ok: sent.saturating_sub(failed), failed, ..Load::default() }
    }

    #[test]
    fn one_error_in_ten_thousand_requests_is_too_many_and_one_in_twenty_thousand_is_not() {
        let kills = |sent| Kills { after: load(sent, 1), ..Kills::default() };

        assert_eq!(error_rate(&kills(10_000)).verdict, Verdict::NotMet);
        assert_eq!(error_rate(&kills(20_000)).verdict, Verdict::Met);
    }

    #[test]
    fn too_few_requests_without_an_error_prove_nothing() {
        let kills = Kills { after: load(9_999, 0), ..Kills::default() };

        assert_eq!(error_rate(&kills).verdict, Verdict::NotMet);
    }

    #[test]
    fn one_instance_that_does_not_come_back_fails_the_recovery() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let kills = |recovered| Kills { recovered, ..Kills::default() };

        assert_eq!(recovery(&kills(vec![seconds(1), seconds(2)])).measured, "slowest 2.0 s");
        assert_eq!(recovery(&kills(vec![seconds(1), None])).verdict, Verdict::NotMet);
        assert_eq!(recovery(&kills(vec![])).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_request_without_an_answer_is_a_failure() {
        let lost = Sample { answer: None };

        assert_eq!(availability(&Kills { samples: vec![lost], ..Kills::default() }).verdict, Verdict::NotMet);
    }
}

//! The cache emptied under load.

use std::time::Duration;

use super::Claims;
use crate::verify::{
    report::Finding,
    stack::{Load, Stack, Status},
    web::Stopwatch,
};

/// How long is waited for what takes ten seconds, so that a miss has a figure.
const WITHIN: Duration = Duration::from_secs(20);

/// The control plane's figures are over five seconds: all of them are from after the flush by then.
const SETTLE: Duration = Duration::from_millis(5_500);

/// The document's targets.
const RECOVERY: Duration = Duration::from_secs(10);
const SLOWER: f64 = 0.05;

/// A cache that answers more than it does not has come back.
const BACK: f64 = 0.5;

pub(super) const CLAIMS: Claims<Flushed> = &[
    ("chaos.cache-invalidation", flushed),
    ("chaos.cache-invalidation.recovery-target", recovery),
    ("chaos.cache-invalidation.success-criteria", rebuilt),
    ("chaos.cache-invalidation.business-impact", impact),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// Shares of hits: before, and at the least after.
    before: Option<f64>,
    least: Option<f64>,
    /// Until more was answered from the cache again than was not.
    back: Option<Duration>,
    /// The edge's medians, in milliseconds: before, and of the five seconds after.
    median_before: Option<f64>,
    median_after: Option<f64>,
    failed: u64,
}

fn hits(status: &Status) -> Option<f64> {
    status.service("catalog")?.cache_hit_ratio
}

fn median(status: &Status) -> Option<f64> {
    status.service("edge")?.p50_ms
}

/// Empties the cache once and watches it fill again.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Flushed> {
    let before = stack.status().await?;
    stack.fault("flush", "cache", 0.0, 1).await?;
    let watch = Stopwatch::start();
    tokio::time::sleep(SETTLE).await;
    let after = stack.status().await?;
    let back = stack.until(WITHIN, |status| hits(status).is_some_and(|share| share >= BACK)).await?;
    let failed = |load: &Load| load.failed;
    Ok(Flushed {
        before: hits(&before),
        least: hits(&after),
        back: back.as_ref().map(|_| watch.elapsed()),
        median_before: median(&before),
        median_after: median(&after),
        failed: back.map_or(0, |status| failed(&status.load).saturating_sub(failed(&before.load))),
    })
}

fn shares(flushed: &Flushed) -> Option<(f64, f64)> {
    Some((flushed.before?, flushed.least?))
}

fn flushed(flushed: &Flushed) -> Finding {
    match shares(flushed) {
        Some((before, least)) => Finding::judged(
            least < before,
            format!("hits fell from {:.0}% to {:.0}%", before * 100.0, least * 100.0),
            "POST /control/faults under the built-in load; the catalog's share of hits over the five seconds after",
        ),
        None => Finding::unobserved("no share of hits"),
    }
}

fn recovery(flushed: &Flushed) -> Finding {
    let Some(back) = flushed.back.filter(|_| flushed.least < flushed.before) else {
        return Finding::unobserved("the cache was not emptied, or did not answer most look-ups again");
    };
    Finding::judged(
        back <= RECOVERY,
        format!("{:.1} s", back.as_secs_f64()),
        "until, over five seconds, more look-ups of the catalog were answered from the cache again than were not",
    )
}

fn rebuilt(flushed: &Flushed) -> Finding {
    let is_back = flushed.back.is_some() && flushed.least < flushed.before;
    Finding::judged(
        is_back && flushed.failed == 0,
        if is_back { "filled again by what was asked for" } else { "not filled again" },
        format!("{} requests of the load failed meanwhile", flushed.failed),
    )
}

fn impact(flushed: &Flushed) -> Finding {
    let (Some(before), Some(after)) = (flushed.median_before, flushed.median_after) else {
        return Finding::unobserved("the control plane shows no latency of the edge");
    };
    let slower = after / before - 1.0;
    Finding::judged(
        slower < SLOWER && flushed.least < flushed.before,
        format!("{:+.1}%", slower * 100.0),
        format!(
            "median at the edge over the five seconds after the flush, {after:.1} ms, beside {before:.1} ms before"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    fn seen(back: u64, median_after: f64) -> Flushed {
        Flushed {
            before: Some(0.75),
            least: Some(0.4),
            back: Some(Duration::from_secs(back)),
            median_before: Some(20.0),
            median_after: Some(median_after),
            failed: 0,
        }
    }

    #[test]
    fn nothing_seen_meets_no_row() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&Flushed::default()).verdict, Verdict::NotMet, "{id}");
        }
    }

    #[test]
    fn a_cache_that_takes_too_long_fails_or_slows_its_callers_is_missed() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&seen(10, 20.9)).verdict, Verdict::Met, "{id}");
        }
        assert_eq!(recovery(&seen(11, 20.0)).verdict, Verdict::NotMet);
        assert_eq!(impact(&seen(10, 21.1)).verdict, Verdict::NotMet);
        assert_eq!(rebuilt(&Flushed { failed: 1, ..seen(10, 20.0) }).verdict, Verdict::NotMet);
        assert_eq!(flushed(&Flushed { least: Some(0.75), ..seen(10, 20.0) }).verdict, Verdict::NotMet);
    }
}

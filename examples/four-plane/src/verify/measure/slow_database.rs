//! A database that answers half a second late.

use std::time::Duration;

use super::{
    Claims,
    traffic::{Sample, Traffic, served, uncached_item},
};
use crate::verify::{
    report::Finding,
    stack::{Stack, Status},
    web::Stopwatch,
};

/// Added to every answer of the database, in milliseconds.
const LATENCY: f64 = 500.0;

/// How long the breaker may take to open: several of its windows.
const OPEN_WITHIN: Duration = Duration::from_secs(12);

/// How long the open circuit is watched.
const WATCH: Duration = Duration::from_secs(3);

/// How long it may take to close: longer than the document's target, so that a miss has a figure.
const CLOSE_WITHIN: Duration = Duration::from_secs(12);

/// The document's target.
const RECOVERY: Duration = Duration::from_secs(5);

/// Longer than the whole phase: the fault is ended by hand.
const FAULT_SECONDS: u64 = 90;

/// Our own requests, beside the built-in load.
const EVERY: Duration = Duration::from_millis(25);

pub(super) const CLAIMS: Claims<SlowDatabase> = &[
    ("resilience-patterns.circuit-breaker", opens_and_closes),
    ("resilience-patterns.circuit-breaker.retry-strategy", opens_instead_of_retrying),
    ("chaos.network-latency-injection", injected),
    ("chaos.network-latency-injection.success-criteria", graceful),
    ("chaos.network-latency-injection.recovery-target", recovery),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct SlowDatabase {
    /// From the fault until a breaker was open, and which.
    opened: Option<(Duration, String)>,
    /// From the end of the fault until every breaker was closed.
    closed: Option<Duration>,
    /// Requests sent while the circuit was seen open.
    samples: Vec<Sample>,
}

/// Slows the database, watches the breaker open, ends the fault and watches it close.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<SlowDatabase> {
    let fault = stack.fault("latency", "database", LATENCY, FAULT_SECONDS).await?;
    let injected = Stopwatch::start();
    let warming = Traffic::start(stack, EVERY, uncached_item);
    let opened = stack.until(OPEN_WITHIN, |status| open_breaker(status).is_some()).await?;
    let opened = opened.as_ref().and_then(open_breaker).map(|name| (injected.elapsed(), name));
    warming.stop().await?;
    let traffic = Traffic::start(stack, EVERY, |number| uncached_item(number.saturating_add(5_000)));
    tokio::time::sleep(WATCH).await;
    let samples = traffic.stop().await?;
    stack.heal(fault).await?;
    let healed = Stopwatch::start();
    let closing = Traffic::start(stack, EVERY, |number| uncached_item(number.saturating_add(10_000)));
    let closed = stack.until(CLOSE_WITHIN, all_closed).await?.map(|_| healed.elapsed());
    closing.stop().await?;
    Ok(SlowDatabase { opened, closed, samples })
}

fn open_breaker(status: &Status) -> Option<String> {
    status.breakers().find(|breaker| breaker.state == "open").map(|breaker| breaker.name.clone())
}

fn all_closed(status: &Status) -> bool {
    status.breakers().all(|breaker| breaker.state == "closed")
}

fn opens_and_closes(seen: &SlowDatabase) -> Finding {
    match (&seen.opened, seen.closed) {
        (Some((opened, name)), Some(closed)) => Finding::judged(
            true,
            format!(
                "{name} open after {:.1} s, closed {:.1} s after the end",
                opened.as_secs_f64(),
                closed.as_secs_f64()
            ),
            "database slowed by 500 ms under load, states in /control/status",
        ),
        (Some(_), None) => Finding::unobserved("the breaker opened, and did not close within 12 s of the end"),
        (None, _) => Finding::unobserved("no breaker opened within 12 s of a database slowed by 500 ms"),
    }
}

/// A circuit that opened answers at once: none of its requests took as long as one attempt at the slow database.
fn opens_instead_of_retrying(seen: &SlowDatabase) -> Finding {
    let quick =
        |sample: &&Sample| sample.answer.as_ref().is_some_and(|answer| answer.took.as_secs_f64() * 1e3 < LATENCY);
    let degraded: Vec<_> = seen.samples.iter().filter(|sample| sample.degraded().is_some()).collect();
    let fast = degraded.iter().copied().filter(quick).count();
    Finding::judged(
        seen.opened.is_some() && fast > 0,
        format!("{fast} of {} degraded answers came before one attempt's 500 ms", degraded.len()),
        "requests for items while the circuit was open",
    )
}

fn injected(seen: &SlowDatabase) -> Finding {
    Finding::judged(
        !seen.samples.is_empty(),
        "500 ms added to every database answer",
        "POST /control/faults under load",
    )
}

fn graceful(seen: &SlowDatabase) -> Finding {
    let degraded = seen.samples.iter().filter(|sample| sample.degraded().is_some()).count();
    Finding::judged(
        !seen.samples.is_empty() && seen.samples.iter().all(Sample::is_served),
        format!("{}, {degraded} of them degraded", served(&seen.samples)),
        "requests for items that no cache holds, while the database was slow",
    )
}

fn recovery(seen: &SlowDatabase) -> Finding {
    match seen.closed {
        Some(closed) if seen.opened.is_some() => Finding::judged(
            closed < RECOVERY,
            format!("{:.1} s", closed.as_secs_f64()),
            "from the end of the latency until every breaker was closed in /control/status",
        ),
        _ => opens_and_closes(seen),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::verify::report::Verdict;

    fn seen(closed: Option<Duration>) -> SlowDatabase {
        SlowDatabase { opened: Some((Duration::from_secs(2), "catalog".into())), closed, ..SlowDatabase::default() }
    }

    #[test]
    fn recovery_slower_than_five_seconds_is_not_met_and_has_its_figure() {
        let slow = recovery(&seen(Some(Duration::from_secs(7))));

        assert_eq!((slow.verdict, slow.measured.as_str()), (Verdict::NotMet, "7.0 s"));
        assert_eq!(recovery(&seen(Some(Duration::from_secs(3)))).verdict, Verdict::Met);
        assert_eq!(recovery(&seen(None)).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_breaker_that_never_opened_is_not_recovered() {
        let closed = SlowDatabase { closed: Some(Duration::ZERO), ..SlowDatabase::default() };

        assert_eq!(recovery(&closed).verdict, Verdict::NotMet);
        assert_eq!(opens_and_closes(&closed).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_degraded_answer_as_slow_as_the_database_does_not_show_an_open_circuit() {
        let stale = |milliseconds| Sample::scripted(StatusCode::OK, &[("x-seawall-degraded", "cache")], milliseconds);
        let seen = |milliseconds| SlowDatabase { samples: vec![stale(milliseconds)], ..seen(None) };

        assert_eq!(opens_instead_of_retrying(&seen(3)).verdict, Verdict::Met);
        assert_eq!(opens_instead_of_retrying(&seen(510)).verdict, Verdict::NotMet);
    }
}

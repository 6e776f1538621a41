//! Five times the edge's declared capacity.

use std::time::Duration;

use http::Method;
use seawall::load_shedder::{LimitRange, LoadShedderConfig, LoadShedderLayer};

use super::{
    Claims,
    full::fill,
    quantile::{microseconds, milliseconds, quantile},
    traffic::{Sample, Traffic},
};
use crate::verify::{
    report::Finding,
    stack::{Stack, Status},
    web::Stopwatch,
};

/// As a multiple of the declared capacity.
const MULTIPLE: f64 = 5.0;

const SECONDS: u64 = 10;

/// Our own requests, beside the overload.
const EVERY: Duration = Duration::from_millis(10);

/// A refusal within this waited for nothing.
const IMMEDIATE: Duration = Duration::from_millis(1);

/// Places of a shedder of our own, without a queue.
const PLACES: u32 = 4;

/// Calls that find it full.
const CALLS: usize = 10_000;

pub(super) const CLAIMS: Claims<Overload> = &[
    ("resilience-patterns.load-shedding", sheds),
    ("resilience-patterns.load-shedding.timeout", immediate),
    ("resilience-patterns.load-shedding.retry-strategy", drops),
    ("resilience-patterns.load-shedding.fallback", unavailable),
    ("resilience-patterns.load-shedding.cost-impact", revenue),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Overload {
    /// Counted by the edge processes.
    shed: f64,
    samples: Vec<Sample>,
    /// Bookings, which are critical: the edge lets them through, whatever answers behind it.
    bookings: Vec<Sample>,
    /// How long the refusals of a full shedder took.
    refusals: Vec<Duration>,
}

/// Overloads the edge for ten seconds.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Overload> {
    let before = shed_at_the_edge(&stack.status().await?);
    stack.fault("overload", "edge", MULTIPLE, SECONDS).await?;
    let traffic = Traffic::start(stack, EVERY, |_| "/catalog/popular".into());
    let bookings = Traffic::with_method(Method::POST, stack, EVERY, |_| "/payments".into());
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let samples = traffic.stop().await?;
    let bookings = bookings.stop().await?;
    let shed = shed_at_the_edge(&stack.status().await?) - before;
    Ok(Overload { shed, samples, bookings, refusals: refusals().await? })
}

/// The refusals of a shedder that is full, and has no queue to wait in.
async fn refusals() -> anyhow::Result<Vec<Duration>> {
    let range = LimitRange::new(PLACES, PLACES, PLACES)?;
    let shedder = LoadShedderLayer::new(LoadShedderConfig::default().with_range(range));
    let held = fill(|| shedder.run(std::future::pending::<anyhow::Result<()>>())).await;
    let mut refusals = Vec::new();
    for _ in 0..CALLS {
        let watch = Stopwatch::start();
        if shedder.run(async { anyhow::Ok(()) }).await.is_err() {
            refusals.push(watch.elapsed());
        }
    }
    drop(held);
    Ok(refusals)
}

fn shed_at_the_edge(status: &Status) -> f64 {
    status.service("edge").and_then(|service| service.shed_total).unwrap_or_default()
}

fn refused(overload: &Overload) -> Vec<&Sample> {
    overload.samples.iter().filter(|sample| sample.is_refused()).collect()
}

fn sheds(overload: &Overload) -> Finding {
    Finding::judged(
        overload.shed > 0.0,
        format!("{:.0} requests shed", overload.shed),
        "counted by the edge under 5 times its declared capacity for 10 s",
    )
}

fn immediate(overload: &Overload) -> Finding {
    let Some(p99) = quantile(overload.refusals.iter().copied(), 0.99) else {
        return Finding::unobserved("a full shedder refused no call");
    };
    let took = refused(overload).into_iter().filter_map(|sample| Some(sample.answer.as_ref()?.took));
    let edge =
        quantile(took, 0.5).map_or_else(|| "none".to_owned(), |median| format!("half within {}", milliseconds(median)));
    Finding::judged(
        p99 <= IMMEDIATE && overload.refusals.len() == CALLS,
        format!("p99 of a refusal {}", microseconds(p99)),
        format!(
            "{CALLS} calls to a shedder that is full; at the edge, whose queue lets a request wait 5 ms for a worker, and 20 ms until it is known that the load stays: {edge}"
        ),
    )
}

/// A request that was dropped never reached a service, so no service signed its answer.
fn drops(overload: &Overload) -> Finding {
    let refused = refused(overload);
    if refused.is_empty() {
        return none_refused();
    }
    let beyond = refused.iter().filter(|sample| {
        let by = sample.answer.as_ref().and_then(|answer| answer.header("x-served-by"));
        by.is_some_and(|by| !by.starts_with("edge"))
    });
    let beyond = beyond.count();
    Finding::judged(
        beyond == 0,
        format!("{} refused at the edge, {beyond} beyond it", refused.len().saturating_sub(beyond)),
        "x-served-by of the refusals",
    )
}

fn unavailable(overload: &Overload) -> Finding {
    let refused = refused(overload);
    if refused.is_empty() {
        return none_refused();
    }
    let complete = refused.iter().filter_map(|sample| sample.answer.as_ref()).filter(|answer| {
        answer.header("retry-after").is_some()
            && answer.header("x-seawall-do-not-retry").is_some()
            && answer.header("content-type").is_some_and(|kind| kind.starts_with("application/problem+json"))
    });
    let complete = complete.count();
    let lost = overload.samples.iter().filter(|sample| !sample.is_served() && !sample.is_refused()).count();
    Finding::judged(
        complete == refused.len() && lost == 0,
        format!(
            "{complete} answers 503 with Retry-After, a mark not to retry and a problem document, {lost} requests lost otherwise"
        ),
        format!("{} of our own requests were refused", refused.len()),
    )
}

/// Shed load is lost revenue: what brings none goes first.
fn revenue(overload: &Overload) -> Finding {
    let refused = overload.bookings.iter().filter(|sample| sample.is_refused()).count();
    let others = overload.samples.iter().filter(|sample| sample.is_refused()).count();
    if others == 0 || overload.bookings.is_empty() {
        return none_refused();
    }
    Finding::judged(
        refused == 0,
        format!(
            "{refused} of {} bookings refused, {others} of {} pages",
            overload.bookings.len(),
            overload.samples.len()
        ),
        "our own requests under 5 times the declared capacity; a booking that is not refused costs no revenue, and a page \
         that is refused brings none",
    )
}

fn none_refused() -> Finding {
    Finding::unobserved("none of our own requests was refused")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::verify::report::Verdict;

    const REFUSAL: [(&str, &str); 3] =
        [("retry-after", "1"), ("x-seawall-do-not-retry", "1"), ("content-type", "application/problem+json")];

    fn refusal(headers: &[(&'static str, &'static str)], milliseconds: u64) -> Sample {
        Sample::scripted(StatusCode::SERVICE_UNAVAILABLE, headers, milliseconds)
    }

    fn overload(samples: impl Into<Vec<Sample>>) -> Overload {
        Overload { samples: samples.into(), ..Overload::default() }
    }

    #[test]
    fn refusals_that_wait_are_not_immediate() {
        let full = |milliseconds| Overload {
            refusals: vec![Duration::from_millis(milliseconds); CALLS],
            ..Overload::default()
        };

        assert_eq!(immediate(&full(0)).verdict, Verdict::Met);
        assert_eq!(immediate(&full(2)).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_refusal_without_retry_after_mark_or_problem_document_is_not_met() {
        assert_eq!(unavailable(&overload([refusal(&REFUSAL, 1)])).verdict, Verdict::Met);
        for missing in 0..REFUSAL.len() {
            let mut headers = REFUSAL.to_vec();
            headers.remove(missing);
            let seen = overload([refusal(&REFUSAL, 1), refusal(&headers, 1)]);
            assert_eq!(unavailable(&seen).verdict, Verdict::NotMet, "{missing}");
        }
    }

    #[test]
    fn another_error_beside_the_refusals_is_not_met() {
        let broken = Sample::scripted(StatusCode::BAD_GATEWAY, &[], 1);

        assert_eq!(unavailable(&overload([refusal(&REFUSAL, 1), broken])).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_refusal_by_a_service_behind_the_edge_is_not_a_dropped_request() {
        assert_eq!(drops(&overload([refusal(&[("x-served-by", "edge/1")], 1)])).verdict, Verdict::Met);
        assert_eq!(drops(&overload([refusal(&[("x-served-by", "catalog/1")], 1)])).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_booking_that_is_refused_is_lost_revenue() {
        let booking = || Sample::scripted(StatusCode::NOT_FOUND, &[], 1);
        let seen = |bookings: Vec<Sample>| Overload { bookings, ..overload([refusal(&REFUSAL, 1)]) };

        assert_eq!(revenue(&seen(vec![booking(), booking()])).verdict, Verdict::Met);
        assert_eq!(revenue(&seen(vec![booking(), refusal(&REFUSAL, 1)])).verdict, Verdict::NotMet);
        assert_eq!(revenue(&seen(vec![])).verdict, Verdict::NotMet);
    }

    #[test]
    fn an_edge_that_sheds_nothing_is_not_met() {
        let calm = overload([Sample::scripted(StatusCode::OK, &[], 20)]);

        for judgement in [sheds, immediate, drops, unavailable] {
            assert_eq!(judgement(&calm).verdict, Verdict::NotMet);
        }
    }
}

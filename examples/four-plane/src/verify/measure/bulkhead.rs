//! Two services behind a bulkhead each, one of them full.

use std::time::Duration;

use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};
use seawall::fallback::{Degraded, FallbackLayer, Value};

use super::{
    Claims,
    full::fill,
    quantile::{microseconds, quantile},
};
use crate::verify::{report::Finding, web::Stopwatch};

/// Places of the service that is filled.
const PLACES: usize = 8;

/// Places of its neighbour.
const NEIGHBOUR_PLACES: usize = 3;

/// Calls that find the bulkhead full.
const CALLS: usize = 10_000;

/// A call that waits for a place waits for another call's end; a refusal within this waited for nothing.
const FAST: Duration = Duration::from_millis(1);

pub(super) const CLAIMS: Claims<Bulkheads> = &[
    ("resilience-patterns.bulkhead-isolation", isolates),
    ("resilience-patterns.bulkhead-isolation.timeout", per_service),
    ("resilience-patterns.bulkhead-isolation.retry-strategy", fails_fast),
    ("resilience-patterns.bulkhead-isolation.fallback", degrades),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Bulkheads {
    /// Calls that each of the two let in until it refused one.
    admitted: [usize; 2],
    /// Calls of the neighbour that went through while the first was full.
    neighbour_served: usize,
    /// How long each refusal took.
    refusals: Vec<Duration>,
    /// Calls to the full one that a fallback answered, and said so.
    degraded: usize,
}

/// Fills one bulkhead and calls through both.
pub(super) async fn observe() -> anyhow::Result<Bulkheads> {
    let full = BulkheadLayer::new(BulkheadConfig::new(PLACES)?);
    let neighbour = BulkheadLayer::new(BulkheadConfig::new(NEIGHBOUR_PLACES)?);
    let stand_in = FallbackLayer::new(Value::new("degraded")).with_mark(|answer: &mut &str, _: &Degraded| {
        *answer = "marked";
    });
    let mut seen = Bulkheads::default();
    let endless = std::future::pending::<anyhow::Result<()>>;
    let held = fill(|| full.run(endless())).await;
    for _ in 0..CALLS {
        let watch = Stopwatch::start();
        if full.run(async { anyhow::Ok(()) }).await.is_err() {
            seen.refusals.push(watch.elapsed());
        }
        if neighbour.run(async { anyhow::Ok(()) }).await.is_ok() {
            seen.neighbour_served = seen.neighbour_served.saturating_add(1);
        }
        let refused = full.run(async { Ok::<_, std::convert::Infallible>("full") });
        if stand_in.run_carrying((), refused).await.is_ok_and(|answer| answer == "marked") {
            seen.degraded = seen.degraded.saturating_add(1);
        }
    }
    seen.admitted = [held.len(), fill(|| neighbour.run(endless())).await.len()];
    drop(held);
    Ok(seen)
}

fn isolates(seen: &Bulkheads) -> Finding {
    Finding::judged(
        seen.neighbour_served == CALLS && seen.refusals.len() == CALLS,
        format!(
            "{} of {CALLS} calls refused, {} of {CALLS} of the neighbour served",
            seen.refusals.len(),
            seen.neighbour_served
        ),
        "two services behind a bulkhead each, one of them full",
    )
}

fn per_service(seen: &Bulkheads) -> Finding {
    Finding::judged(
        seen.admitted == [PLACES, NEIGHBOUR_PLACES],
        format!("{} and {} calls at once", seen.admitted[0], seen.admitted[1]),
        format!("two bulkheads with {PLACES} and {NEIGHBOUR_PLACES} places, filled until each refused a call"),
    )
}

fn fails_fast(seen: &Bulkheads) -> Finding {
    let Some(p99) = quantile(seen.refusals.iter().copied(), 0.99) else {
        return Finding::unobserved("a full bulkhead refused no call");
    };
    Finding::judged(
        p99 <= FAST,
        format!("p99 of a refusal {}", microseconds(p99)),
        format!("{} calls that found the bulkhead full", seen.refusals.len()),
    )
}

fn degrades(seen: &Bulkheads) -> Finding {
    Finding::judged(
        seen.degraded == CALLS,
        format!("{} of {CALLS} calls that found no place answered in a degraded way", seen.degraded),
        "a fallback around a full bulkhead",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[tokio::test]
    async fn a_full_bulkhead_refuses_and_its_neighbour_serves() {
        let seen = observe().await.unwrap();

        assert_eq!(isolates(&seen).verdict, Verdict::Met, "{seen:?}");
        assert_eq!(per_service(&seen).verdict, Verdict::Met, "{:?}", seen.admitted);
        assert_eq!(degrades(&seen).verdict, Verdict::Met, "{}", seen.degraded);
        assert_eq!(degrades(&Bulkheads { degraded: CALLS - 1, ..seen }).verdict, Verdict::NotMet);
    }

    #[test]
    fn refusals_after_a_wait_are_not_fast() {
        let seen =
            |milliseconds| Bulkheads { refusals: vec![Duration::from_millis(milliseconds)], ..Bulkheads::default() };

        assert_eq!(fails_fast(&seen(0)).verdict, Verdict::Met);
        assert_eq!(fails_fast(&seen(20)).verdict, Verdict::NotMet);
        assert_eq!(fails_fast(&Bulkheads::default()).verdict, Verdict::NotMet);
    }
}

//! Dependencies that fail, one after another, and what answers in their place.

use std::time::Duration;

use super::{
    Claims,
    traffic::{Sample, Traffic, served, uncached_item},
};
use crate::{
    data,
    verify::{
        report::Finding,
        stack::{Stack, Status},
    },
};

/// How long each fault is watched.
const WATCH: Duration = Duration::from_secs(2);

/// How long a breaker may take to open.
const OPEN_WITHIN: Duration = Duration::from_secs(8);

/// How long it may take to close, before the next fault.
const CLOSE_WITHIN: Duration = Duration::from_secs(8);

/// Longer than any of the watches: each fault is ended by hand.
const FAULT_SECONDS: u64 = 60;

/// Our own requests, beside the built-in load.
const EVERY: Duration = Duration::from_millis(25);

/// Items that every gateway has answered before the catalog fails.
const KNOWN_ITEMS: usize = 10;

/// How often each of them is asked for, so that both gateways have had it.
const WARM_UPS: usize = 12;

pub(super) const CLAIMS: Claims<Fallback> = &[
    ("text.failure-first", degrades_gracefully),
    ("figure.failure-first.recommendation-service.fallback", popular_items),
    ("figure.failure-first.arrow.ms1-ms2", recommendation_to_catalog),
    ("resilience-patterns.circuit-breaker.fallback", cached_response),
    ("golden-signals.errors.auto-remediation", breaker_activation),
    ("health-checks.cache-availability.recovery-actions", cache_bypass),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Fallback {
    /// Items, with the cache failing.
    without_cache: Vec<Sample>,
    /// Recommendations, with the database failing.
    without_database: Vec<Sample>,
    /// Recommendations, with database and cache failing.
    without_state: Vec<Sample>,
    /// Known items, with every catalog instance failing.
    without_catalog: Vec<Sample>,
    /// The breakers then.
    failing: Status,
}

/// Fails each for a few seconds.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Fallback> {
    let without_cache = watch(stack, &["cache"], |number| uncached_item(number.saturating_add(15_000))).await?;
    let recommendation = |number| format!("/recommendations/verify-{number}");
    let without_database = watch(stack, &["database"], recommendation).await?;
    let without_state = watch(stack, &["database", "cache"], recommendation).await?;

    for number in 0..KNOWN_ITEMS.saturating_mul(WARM_UPS) {
        stack.get(&known_item(number)).await?;
    }
    let fault = stack.fault("error", "catalog", 1.0, FAULT_SECONDS).await?;
    let traffic = Traffic::start(stack, EVERY, known_item);
    let opened = stack.until(OPEN_WITHIN, |status| is_open(status, "catalog")).await?;
    let without_catalog = traffic.stop().await?;
    let failing = match opened {
        Some(status) => status,
        None => stack.status().await?,
    };
    recover(stack, &[fault]).await?;
    Ok(Fallback { without_cache, without_database, without_state, without_catalog, failing })
}

async fn watch(
    stack: &Stack,
    targets: &[&str],
    path: impl Fn(usize) -> String + Send + 'static,
) -> anyhow::Result<Vec<Sample>> {
    let mut faults = Vec::new();
    for target in targets {
        faults.push(stack.fault("error", target, 1.0, FAULT_SECONDS).await?);
    }
    let traffic = Traffic::start(stack, EVERY, path);
    tokio::time::sleep(WATCH).await;
    let samples = traffic.stop().await?;
    recover(stack, &faults).await?;
    Ok(samples)
}

async fn recover(stack: &Stack, faults: &[u64]) -> anyhow::Result<()> {
    for fault in faults {
        stack.heal(*fault).await?;
    }
    stack.until(CLOSE_WITHIN, |status| status.breakers().all(|breaker| breaker.state == "closed")).await?;
    Ok(())
}

fn known_item(number: usize) -> String {
    let city = data::cities().iter().take(KNOWN_ITEMS).cycle().nth(number.checked_rem(KNOWN_ITEMS).unwrap_or_default());
    format!("/catalog/items/{}", city.map(|city| city.id).unwrap_or_default())
}

fn is_open(status: &Status, name: &str) -> bool {
    status.breakers().any(|breaker| breaker.state == "open" && breaker.name.contains(name))
}

fn degrades_gracefully(seen: &Fallback) -> Finding {
    let watches = [&seen.without_cache, &seen.without_database, &seen.without_state, &seen.without_catalog];
    let all = || watches.into_iter().flatten();
    let degraded = all().filter(|sample| sample.degraded().is_some()).count();
    Finding::judged(
        watches.iter().all(|samples| !samples.is_empty()) && all().all(Sample::is_served) && degraded > 0,
        format!(
            "{} of {} requests served, {degraded} degraded",
            all().filter(|it| it.is_served()).count(),
            all().count()
        ),
        "cache, database, both and the catalog failing, one after another, under load",
    )
}

fn popular_items(seen: &Fallback) -> Finding {
    let samples = &seen.without_database;
    let popular = from(samples, "popular");
    Finding::judged(
        popular > 0 && samples.iter().all(Sample::is_served),
        format!("{popular} answered with popular items, {}", served(samples)),
        "x-seawall-degraded of recommendations while every call to the database failed",
    )
}

fn recommendation_to_catalog(seen: &Fallback) -> Finding {
    let samples = &seen.without_state;
    let catalog = from(samples, "catalog");
    Finding::judged(
        catalog > 0 && samples.iter().all(Sample::is_served),
        format!("{catalog} answered from the catalog, {}", served(samples)),
        "x-seawall-degraded of recommendations while every call to database and cache failed",
    )
}

fn cached_response(seen: &Fallback) -> Finding {
    let samples = &seen.without_catalog;
    let cached = from(samples, "cache");
    Finding::judged(
        cached > 0 && samples.iter().all(Sample::is_served) && is_open(&seen.failing, "catalog"),
        format!("{cached} answered from the gateway's cache, {}", served(samples)),
        "x-seawall-degraded of items seen before, while every catalog instance failed until the circuit opened",
    )
}

fn breaker_activation(seen: &Fallback) -> Finding {
    let states: Vec<_> = seen.failing.breakers().map(|breaker| format!("{} {}", breaker.name, breaker.state)).collect();
    Finding::judged(
        is_open(&seen.failing, "catalog"),
        states.join(", "),
        "/control/status while every catalog instance failed",
    )
}

fn cache_bypass(seen: &Fallback) -> Finding {
    let samples = &seen.without_cache;
    let bypassed = samples.iter().filter_map(|sample| sample.answer.as_ref());
    let bypassed = bypassed.filter(|answer| answer.header("x-cache") == Some("bypass")).count();
    Finding::judged(
        bypassed > 0 && samples.iter().all(Sample::is_served),
        format!("{bypassed} answers with x-cache: bypass, {}", served(samples)),
        "requests for items while every call to the cache failed",
    )
}

fn from(samples: &[Sample], source: &str) -> usize {
    samples.iter().filter_map(Sample::degraded).filter(|degraded| degraded.contains(source)).count()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::verify::{
        report::Verdict,
        stack::{Breaker, Plane, Service},
    };

    fn degraded(source: &'static str) -> Sample {
        Sample::scripted(StatusCode::OK, &[("x-seawall-degraded", source)], 5)
    }

    fn with_open_breaker(name: &str) -> Status {
        let breakers = vec![Breaker { name: name.into(), state: "open".into() }];
        let services = vec![Service { breakers, ..Service::default() }];
        Status { planes: vec![Plane { services, ..Plane::default() }], ..Status::default() }
    }

    #[test]
    fn one_request_that_fails_under_any_of_the_faults_is_not_graceful() {
        let seen = |last| Fallback {
            without_cache: vec![degraded("snapshot")],
            without_database: vec![degraded("popular")],
            without_state: vec![degraded("catalog")],
            without_catalog: vec![last],
            ..Fallback::default()
        };

        assert_eq!(degrades_gracefully(&seen(degraded("gateway-cache"))).verdict, Verdict::Met);
        let lost = Sample::scripted(StatusCode::BAD_GATEWAY, &[], 5);
        assert_eq!(degrades_gracefully(&seen(lost)).verdict, Verdict::NotMet);
        assert_eq!(degrades_gracefully(&Fallback::default()).verdict, Verdict::NotMet);
    }

    #[test]
    fn one_recommendation_that_fails_is_not_a_fallback() {
        let lost = || Sample::scripted(StatusCode::BAD_GATEWAY, &[], 5);
        let seen = |without_database| Fallback { without_database, ..Fallback::default() };

        assert_eq!(popular_items(&seen(vec![degraded("popular")])).verdict, Verdict::Met);
        assert_eq!(popular_items(&seen(vec![degraded("popular"), lost()])).verdict, Verdict::NotMet);
        assert_eq!(popular_items(&seen(vec![])).verdict, Verdict::NotMet);
    }

    #[test]
    fn popular_items_that_still_came_from_the_cache_do_not_show_the_arrow_to_the_catalog() {
        let seen = |source| Fallback { without_state: vec![degraded(source)], ..Fallback::default() };

        assert_eq!(recommendation_to_catalog(&seen("catalog")).verdict, Verdict::Met);
        assert_eq!(recommendation_to_catalog(&seen("popular")).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_cached_response_counts_only_behind_an_open_circuit() {
        let seen =
            |failing| Fallback { without_catalog: vec![degraded("gateway-cache")], failing, ..Fallback::default() };

        assert_eq!(cached_response(&seen(with_open_breaker("catalog"))).verdict, Verdict::Met);
        assert_eq!(cached_response(&seen(Status::default())).verdict, Verdict::NotMet);
    }

    #[test]
    fn the_breaker_that_opens_must_be_the_one_of_the_failing_service() {
        let seen = |name| Fallback { failing: with_open_breaker(name), ..Fallback::default() };

        assert_eq!(breaker_activation(&seen("catalog")).verdict, Verdict::Met);
        assert_eq!(breaker_activation(&seen("recommendation")).verdict, Verdict::NotMet);
    }

    #[test]
    fn answers_from_the_cache_are_no_bypass() {
        let cached = |how| Sample::scripted(StatusCode::OK, &[("x-cache", how)], 5);
        let seen = |how| Fallback { without_cache: vec![cached(how)], ..Fallback::default() };

        assert_eq!(cache_bypass(&seen("bypass")).verdict, Verdict::Met);
        assert_eq!(cache_bypass(&seen("hit")).verdict, Verdict::NotMet);
    }
}

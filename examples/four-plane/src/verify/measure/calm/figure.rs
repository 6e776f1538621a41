//! The planes, boxes and arrows of the document's first figure.

use super::{Calm, Finding, WATCH};

const COLOURS: [&str; 4] = ["#3b82f6", "#10b981", "#f59e0b", "#8b5cf6"];

/// More than the time since the question was asked first.
const YOUNG: u64 = 15;

pub(super) fn colours(calm: &Calm) -> Finding {
    let style = calm.style.to_lowercase();
    let found: Vec<_> = COLOURS.into_iter().filter(|colour| style.contains(colour)).collect();
    Finding::judged(found.len() == COLOURS.len(), found.join(", "), "the style sheet that the page is served with")
}

pub(super) fn load_balancer(calm: &Calm) -> Finding {
    serves(calm, &["edge"])
}

pub(super) fn service_plane(calm: &Calm) -> Finding {
    serves(calm, &["gateway", "recommendation", "catalog"])
}

pub(super) fn gateway(calm: &Calm) -> Finding {
    serves(calm, &["gateway"])
}

pub(super) fn recommendation(calm: &Calm) -> Finding {
    serves(calm, &["recommendation"])
}

pub(super) fn catalog(calm: &Calm) -> Finding {
    serves(calm, &["catalog"])
}

/// Of the document's product catalog, in milliseconds.
const CATALOG_P99: f64 = 75.0;

pub(super) fn catalog_p99(calm: &Calm) -> Finding {
    match calm.status.service("catalog").and_then(|catalog| catalog.p99_ms) {
        Some(p99) => Finding::judged(
            p99 <= CATALOG_P99,
            format!("p99 {p99:.1} ms"),
            "the catalog in GET /control/status, over 5 s of the built-in load",
        ),
        None => Finding::unobserved("the control plane shows no p99 of the catalog"),
    }
}

/// How often the document has figures collected, in seconds.
const COLLECTED_EVERY: f64 = 15.0;

/// What is collected so often is never older than that.
pub(super) fn collected(calm: &Calm) -> Finding {
    let oldest = calm.ages.values().copied().reduce(f64::max);
    let Some(oldest) = oldest.filter(|oldest| oldest.is_finite()) else {
        return Finding::unobserved("an instance without figures, or none at all");
    };
    Finding::judged(
        oldest <= COLLECTED_EVERY,
        format!("at most {oldest:.1} s old"),
        format!("the age of the figures of {} instances in GET /control/status, looked at for 5 s", calm.ages.len()),
    )
}

pub(super) fn state_plane(calm: &Calm) -> Finding {
    serves(calm, &["database", "cache"])
}

pub(super) fn database(calm: &Calm) -> Finding {
    let finding = serves(calm, &["database"]);
    Finding { measured: format!("{}: {}", calm.status.state.database, finding.measured), ..finding }
}

/// The embedded cache is not a Redis: with it the box stays open.
pub(super) fn redis(calm: &Calm) -> Finding {
    if calm.status.state.cache == "redis" { serves(calm, &["cache"]) } else { Finding::not_yet() }
}

/// The cache says how long it will still hold an entry, and `age` is what is missing from the time to live. Asked again
/// and again, the answer's age grows from 0 by a second each second only if that time is 300 s.
pub(super) fn redis_ttl(calm: &Calm) -> Finding {
    if calm.status.state.cache != "redis" {
        return Finding::not_yet();
    }
    let hits = calm.repeated.iter().filter(|answer| answer.header("x-cache") == Some("hit"));
    let ages: Vec<u64> = hits.filter_map(|answer| answer.header("age")?.parse().ok()).collect();
    let (Some(youngest), Some(oldest)) = (ages.iter().min(), ages.iter().max()) else {
        return Finding::unobserved("no answer came from the cache");
    };
    let grown = oldest.saturating_sub(*youngest);
    let watched = WATCH.as_secs();
    Finding::judged(
        (watched.saturating_sub(1)..=watched.saturating_add(1)).contains(&grown) && *oldest <= YOUNG,
        format!("age grew from {youngest} to {oldest} s within {watched} s"),
        format!(
            "{} answers from Redis to one question; age is 300 s less what Redis says it will still hold it",
            ages.len()
        ),
    )
}

pub(super) fn control_plane(calm: &Calm) -> Finding {
    let shown: Vec<_> = calm.status.planes.iter().map(|plane| plane.plane.as_str()).collect();
    let all = ["edge", "service", "state", "control"].iter().all(|plane| shown.contains(plane));
    let readable = calm.scraped.iter().filter(|(_, readable)| *readable).count();
    Finding::judged(
        all && readable == calm.scraped.len() && readable > 0,
        format!("{} planes shown, metrics of {readable} of {} processes", shown.len(), calm.scraped.len()),
        "GET /control/status, and GET /metrics of every process read as Prometheus text",
    )
}

pub(super) fn balancer_to_gateway(calm: &Calm) -> Finding {
    flows(calm, "edge", "gateway")
}

pub(super) fn gateway_to_recommendation(calm: &Calm) -> Finding {
    flows(calm, "gateway", "recommendation")
}

pub(super) fn gateway_to_catalog(calm: &Calm) -> Finding {
    flows(calm, "gateway", "catalog")
}

pub(super) fn recommendation_to_cache(calm: &Calm) -> Finding {
    flows(calm, "recommendation", "cache")
}

pub(super) fn recommendation_to_database(calm: &Calm) -> Finding {
    flows(calm, "recommendation", "database")
}

pub(super) fn gateway_is_scraped(calm: &Calm) -> Finding {
    is_scraped(calm, "gateway")
}

pub(super) fn catalog_is_scraped(calm: &Calm) -> Finding {
    is_scraped(calm, "catalog")
}

pub(super) fn recommendation_is_scraped(calm: &Calm) -> Finding {
    is_scraped(calm, "recommendation")
}

fn serves(calm: &Calm, services: &[&str]) -> Finding {
    let rates: Vec<_> = services
        .iter()
        .map(|name| (*name, calm.status.service(name).and_then(|service| service.rps).unwrap_or_default()))
        .collect();
    let measured: Vec<_> = rates.iter().map(|(name, rate)| format!("{name} {rate:.0} requests/s")).collect();
    Finding::judged(rates.iter().all(|(_, rate)| *rate > 0.0), measured.join(", "), "the control plane, over 5 s")
}

fn flows(calm: &Calm, from: &str, to: &str) -> Finding {
    let rate = calm.status.flow(from, to).unwrap_or_default();
    Finding::judged(
        rate > 0.0,
        format!("{rate:.1} requests/s"),
        format!("link {from} to {to} over 5 s, in /control/status"),
    )
}

/// What the control plane shows of an instance it has scraped from that instance's metrics.
fn is_scraped(calm: &Calm, service: &str) -> Finding {
    let instances = calm.status.service(service).map(|service| service.instances.as_slice()).unwrap_or_default();
    let shown = instances.iter().filter(|instance| instance.rps.is_some_and(|rate| rate > 0.0)).count();
    Finding::judged(
        shown > 0 && shown == instances.len(),
        format!("{shown} of {} instances", instances.len()),
        "the control plane shows each instance's rate, which it reads from the instance's metrics",
    )
}

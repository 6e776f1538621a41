//! Any instance answers any request.

use std::collections::BTreeMap;

use http::StatusCode;

use super::{Answer, Calm, Finding};

/// As the document's scaling group has it.
const MINIMUM: usize = 3;

/// The services that the figure draws as instances.
const REPLICATED: [&str; 2] = ["catalog", "recommendation"];

/// What the document gives an instance.
const MEBIBYTES: f64 = 2_048.0;
const PROCESSORS: f64 = 1.0;

/// Those of the planes that the figure has.
const COLOURS: [&str; 3] = ["#3b82f6", "#10b981", "#f59e0b"];

pub(super) fn colours(calm: &Calm) -> Finding {
    let style = calm.style.to_lowercase();
    let found: Vec<_> = COLOURS.into_iter().filter(|colour| style.contains(colour)).collect();
    Finding::judged(found.len() == COLOURS.len(), found.join(", "), "the style sheet that the page is served with")
}

/// What an instance takes has to fit into what the document gives it.
pub(super) fn memory<const NUMBER: u32>(calm: &Calm) -> Finding {
    match calm.usage.get(&format!("catalog/{NUMBER}")) {
        Some(usage) => Finding::judged(
            usage.mebibytes <= MEBIBYTES,
            format!("{:.0} MiB resident", usage.mebibytes),
            format!("VmRSS of catalog/{NUMBER} under the built-in load"),
        ),
        None => Finding::unobserved(format!("catalog/{NUMBER} was not seen")),
    }
}

pub(super) fn processor<const NUMBER: u32>(calm: &Calm) -> Finding {
    match calm.usage.get(&format!("catalog/{NUMBER}")) {
        Some(usage) => Finding::judged(
            usage.processors <= PROCESSORS,
            format!("{:.2} of a processor", usage.processors),
            format!("schedstat of the threads of catalog/{NUMBER} while it was watched under the built-in load"),
        ),
        None => Finding::unobserved(format!("catalog/{NUMBER} was not seen")),
    }
}

pub(super) fn no_affinity(calm: &Calm) -> Finding {
    let by = served_by(calm);
    Finding::judged(
        by.len() >= MINIMUM,
        listed(&by),
        format!("x-served-by of {} item requests from one client", calm.items.len()),
    )
}

pub(super) fn any_instance(calm: &Calm) -> Finding {
    let bodies: std::collections::BTreeSet<_> = calm.same_item.values().flatten().collect();
    Finding::judged(
        calm.same_item.len() >= MINIMUM && bodies.len() == 1,
        format!("{} instances, {} different answers", calm.same_item.len(), bodies.len()),
        "one item asked for repeatedly by one client",
    )
}

pub(super) fn health_path(calm: &Calm) -> Finding {
    let healthy = calm.health.iter().filter(|(_, status)| *status == Some(StatusCode::OK)).count();
    let evidence = match calm.health.iter().find(|(_, status)| *status != Some(StatusCode::OK)) {
        Some((name, status)) => format!("{name} answered {status:?}"),
        None => "GET /health of every process".into(),
    };
    Finding::judged(
        healthy > 0 && healthy == calm.health.len(),
        format!("{healthy} of {} processes answer 200", calm.health.len()),
        evidence,
    )
}

pub(super) fn at_least_three(calm: &Calm) -> Finding {
    let counts = REPLICATED.map(|name| {
        let service = calm.status.service(name);
        service.map_or(0, |service| service.instances.iter().filter(|instance| instance.health == "pass").count())
    });
    let measured: Vec<_> = REPLICATED.iter().zip(counts).map(|(name, count)| format!("{name} {count}")).collect();
    Finding::judged(
        counts.iter().all(|count| *count >= MINIMUM),
        measured.join(", "),
        "healthy instances in /control/status",
    )
}

pub(super) fn instance_1(calm: &Calm) -> Finding {
    is_a_process(calm, "catalog/1")
}

pub(super) fn instance_2(calm: &Calm) -> Finding {
    is_a_process(calm, "catalog/2")
}

pub(super) fn instance_3(calm: &Calm) -> Finding {
    is_a_process(calm, "catalog/3")
}

pub(super) fn instance_1_answers(calm: &Calm) -> Finding {
    answers(calm, "catalog/1")
}

pub(super) fn instance_2_answers(calm: &Calm) -> Finding {
    answers(calm, "catalog/2")
}

pub(super) fn instance_3_answers(calm: &Calm) -> Finding {
    answers(calm, "catalog/3")
}

pub(super) fn latency_is_shown(calm: &Calm) -> Finding {
    let p99 = calm.status.service("edge").and_then(|service| service.p99_ms);
    shown(p99.map(|p99| format!("edge p99 {p99:.1} ms")))
}

pub(super) fn traffic_is_shown(calm: &Calm) -> Finding {
    let rate = calm.status.service("edge").and_then(|service| service.rps).filter(|rate| *rate > 0.0);
    shown(rate.map(|rate| format!("edge {rate:.0} requests/s")))
}

pub(super) fn errors_are_shown(calm: &Calm) -> Finding {
    let ratio = calm.status.service("edge").and_then(|service| service.error_ratio);
    shown(ratio.map(|ratio| format!("edge errors {:.2}%", ratio * 100.0)))
}

/// What is under way of what may be.
pub(super) fn saturation_is_shown(calm: &Calm) -> Finding {
    let edge = calm.status.service("edge");
    shown(edge.and_then(|edge| Some(format!("edge {:.0} of {:.0} requests under way", edge.in_flight?, edge.limit?))))
}

/// What the cache does not hold is made once and answered from it afterwards.
pub(super) fn cache_aside(calm: &Calm) -> Finding {
    let came =
        |answers: &[Answer], how: &str| answers.iter().filter(|answer| answer.header("x-cache") == Some(how)).count();
    let (missed, hit) = (came(&calm.items, "miss"), came(&calm.repeated, "hit"));
    Finding::judged(
        missed > 0 && hit > 0,
        format!(
            "{missed} of {} new items made anew, {hit} of {} repeated ones from the cache",
            calm.items.len(),
            calm.repeated.len()
        ),
        "x-cache of item requests at the edge",
    )
}

pub(super) fn instance_1_asks_the_database(calm: &Calm) -> Finding {
    asks_the_database(calm, "catalog/1")
}

pub(super) fn instance_2_asks_the_database(calm: &Calm) -> Finding {
    asks_the_database(calm, "catalog/2")
}

pub(super) fn instance_3_asks_the_database(calm: &Calm) -> Finding {
    asks_the_database(calm, "catalog/3")
}

fn asks_the_database(calm: &Calm, name: &str) -> Finding {
    let calls = calm.database_calls.get(name).copied().unwrap_or_default();
    Finding::judged(calls > 0.0, format!("{calls:.0} answered"), "four_plane_upstream_requests_total of the instance")
}

fn shown(figure: Option<String>) -> Finding {
    match figure {
        Some(figure) => Finding::judged(true, figure, "GET /control/status and the page, over 5 s"),
        None => Finding::unobserved("/control/status does not show it"),
    }
}

fn served_by(calm: &Calm) -> BTreeMap<&str, usize> {
    let mut by = BTreeMap::<_, usize>::new();
    for instance in calm.items.iter().filter_map(|answer| answer.header("x-served-by")) {
        let count = by.entry(instance).or_default();
        *count = count.saturating_add(1);
    }
    by
}

fn listed(by: &BTreeMap<&str, usize>) -> String {
    by.iter().map(|(instance, count)| format!("{instance} {count}")).collect::<Vec<_>>().join(", ")
}

fn is_a_process(calm: &Calm, name: &str) -> Finding {
    match calm.status.instance(name) {
        Some(instance) => Finding::judged(
            instance.health == "pass" && instance.pid.is_some(),
            format!("process {}, {}", instance.pid.unwrap_or_default(), instance.health),
            "/control/status",
        ),
        None => Finding::unobserved(format!("/control/status shows no {name}")),
    }
}

fn answers(calm: &Calm, name: &str) -> Finding {
    let count = served_by(calm).get(name).copied().unwrap_or_default();
    Finding::judged(count > 0, format!("{count} of {} item requests", calm.items.len()), "x-served-by at the edge")
}

//! A healthy stack under its built-in load, without any fault.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;

use super::{
    Claims,
    traffic::{Traffic, uncached_item},
};
use crate::control::samples;
use crate::verify::{
    report::Finding,
    stack::{Stack, Status},
    web::{Answer, Stopwatch},
};

mod figure;
mod stateless;

/// The figures of the control plane are over five seconds: with our own requests, ten have passed by then.
const SETTLE: Duration = Duration::from_secs(5);

/// How long each kind of our own requests is sent.
const WATCH: Duration = Duration::from_secs(3);

/// Between two looks at the status.
const LOOK: Duration = Duration::from_millis(50);

/// Our own requests, beside the built-in load.
const EVERY: Duration = Duration::from_millis(20);

pub(super) const CLAIMS: Claims<Calm> = &[
    ("figure.failure-first.colours", figure::colours),
    ("figure.failure-first.load-balancer", figure::load_balancer),
    ("figure.failure-first.plane.service", figure::service_plane),
    ("figure.failure-first.api-gateway", figure::gateway),
    ("figure.failure-first.recommendation-service", figure::recommendation),
    ("figure.failure-first.catalog-service", figure::catalog),
    ("figure.failure-first.plane.state", figure::state_plane),
    ("figure.failure-first.redis-cache", figure::redis),
    ("figure.failure-first.redis-cache.ttl", figure::redis_ttl),
    ("figure.failure-first.primary-db", figure::database),
    ("figure.failure-first.plane.control", figure::control_plane),
    ("figure.failure-first.arrow.lb-api", figure::balancer_to_gateway),
    ("figure.failure-first.arrow.api-ms1", figure::gateway_to_recommendation),
    ("figure.failure-first.arrow.api-ms2", figure::gateway_to_catalog),
    ("figure.failure-first.arrow.ms1-cache", figure::recommendation_to_cache),
    ("figure.failure-first.arrow.ms1-db", figure::recommendation_to_database),
    ("figure.failure-first.arrow.mon-api", figure::gateway_is_scraped),
    ("figure.failure-first.arrow.mon-ms1", figure::recommendation_is_scraped),
    ("figure.stateless.colours", stateless::colours),
    ("figure.stateless.plane.edge", figure::load_balancer),
    ("figure.stateless.plane.service", stateless::at_least_three),
    ("figure.stateless.plane.state", figure::state_plane),
    ("figure.stateless.application-load-balancer", figure::load_balancer),
    ("figure.stateless.application-load-balancer.session-affinity", stateless::no_affinity),
    ("figure.stateless.application-load-balancer.health-check", stateless::health_path),
    ("figure.stateless.service-instance-1", stateless::instance_1),
    ("figure.stateless.service-instance-2", stateless::instance_2),
    ("figure.stateless.service-instance-3", stateless::instance_3),
    ("figure.stateless.service-instance-1.memory", stateless::memory::<1>),
    ("figure.stateless.service-instance-2.memory", stateless::memory::<2>),
    ("figure.stateless.service-instance-3.memory", stateless::memory::<3>),
    ("figure.stateless.service-instance-1.cpu", stateless::processor::<1>),
    ("figure.stateless.service-instance-2.cpu", stateless::processor::<2>),
    ("figure.stateless.service-instance-3.cpu", stateless::processor::<3>),
    ("figure.stateless.auto-scaling-group.min", stateless::at_least_three),
    ("figure.stateless.database", figure::database),
    ("figure.stateless.arrow.alb-svc1", stateless::instance_1_answers),
    ("figure.stateless.arrow.alb-svc2", stateless::instance_2_answers),
    ("figure.stateless.arrow.alb-svc3", stateless::instance_3_answers),
    ("figure.stateless.arrow.svc1-db", stateless::instance_1_asks_the_database),
    ("figure.stateless.arrow.svc2-db", stateless::instance_2_asks_the_database),
    ("figure.stateless.arrow.svc3-db", stateless::instance_3_asks_the_database),
    ("stateless-benefits.load-balancing", stateless::any_instance),
    ("stateless-benefits.load-balancing.stateless", stateless::any_instance),
    ("golden-signals.latency", stateless::latency_is_shown),
    ("golden-signals.latency.metric", stateless::latency_is_shown),
    ("golden-signals.traffic", stateless::traffic_is_shown),
    ("golden-signals.traffic.metric", stateless::traffic_is_shown),
    ("golden-signals.errors", stateless::errors_are_shown),
    ("golden-signals.errors.metric", stateless::errors_are_shown),
    ("golden-signals.saturation", stateless::saturation_is_shown),
    ("golden-signals.saturation.metric", stateless::saturation_is_shown),
    ("cache-strategies.cache-aside", stateless::cache_aside),
    ("consistency-trade-offs.product-catalog", figure::catalog),
    ("consistency-trade-offs.product-catalog.latency-impact", figure::catalog_p99),
    ("figure.monitoring.plane.service", figure::service_plane),
    ("figure.monitoring.service-a", figure::catalog),
    ("figure.monitoring.service-b", figure::recommendation),
    ("figure.monitoring.monitoring-agents", figure::control_plane),
    ("figure.monitoring.monitoring-agents.collection-rate", figure::collected),
    ("figure.monitoring.arrow.app1-agents", figure::catalog_is_scraped),
    ("figure.monitoring.arrow.app2-agents", figure::recommendation_is_scraped),
    ("figure.incident.metrics-store.resolution", figure::collected),
    ("figure.caching.colours", figure::colours),
    ("figure.caching.application-servers", figure::catalog),
    ("figure.caching.plane.state", figure::redis),
    ("figure.caching.l2-cache-redis", figure::redis),
    ("figure.caching.primary-database", figure::database),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Calm {
    status: Status,
    /// Of each instance, how old its figures got, in seconds.
    ages: BTreeMap<String, f64>,
    /// Each process with what its health path answered.
    health: Vec<(String, Option<StatusCode>)>,
    /// Each process with whether its metrics can be read as Prometheus text.
    scraped: Vec<(String, bool)>,
    /// Each process with its calls to the database.
    database_calls: BTreeMap<String, f64>,
    /// Each catalog process with what it takes of the machine.
    usage: BTreeMap<String, Usage>,
    style: String,
    items: Vec<Answer>,
    /// Answers to one question, asked again and again.
    repeated: Vec<Answer>,
    /// Of one item: the bodies that each instance answered.
    same_item: BTreeMap<String, BTreeSet<Bytes>>,
}

/// What a process takes: its memory, and of one processor while it was watched.
#[derive(Debug, Clone, Copy)]
struct Usage {
    mebibytes: f64,
    processors: f64,
}

/// Watches the stack for about ten seconds.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Calm> {
    let mut calm = Calm::default();
    let (before, watched) = (processor_times(stack), Stopwatch::start());
    watch_ages(stack, &mut calm.ages).await?;
    let traffic = Traffic::start(stack, EVERY, uncached_item);
    tokio::time::sleep(WATCH).await;
    calm.items = answers(traffic).await?;
    let traffic = Traffic::start(stack, EVERY, |_| uncached_item(0));
    tokio::time::sleep(WATCH).await;
    calm.repeated = answers(traffic).await?;
    for answer in &calm.repeated {
        let instance = answer.header("x-served-by").unwrap_or_default().to_owned();
        calm.same_item.entry(instance).or_default().insert(answer.body.clone());
    }
    for process in stack.ready().processes.iter().filter(|process| !process.url.is_empty()) {
        let name = process.instance.clone();
        let base = process.url.trim_end_matches('/');
        let health = stack.web.get(&format!("{base}/health")).await.ok();
        calm.health.push((name.clone(), health.map(|answer| answer.status)));
        let metrics = stack.web.get(&format!("{base}/metrics")).await.ok();
        if let Some(metrics) = &metrics {
            calm.database_calls.insert(name.clone(), database_calls(&String::from_utf8_lossy(&metrics.body)));
        }
        calm.scraped.push((name, metrics.as_ref().is_some_and(is_prometheus_text)));
    }
    let seconds = watched.elapsed().as_secs_f64();
    for (name, (processor, mebibytes)) in processor_times(stack) {
        let Some((earlier, _)) = before.get(&name) else { continue };
        calm.usage.insert(name, Usage { mebibytes, processors: (processor - earlier) / seconds });
    }
    let style = stack.web.get(&format!("{}/page.css", stack.ready().page.trim_end_matches('/'))).await?;
    calm.style = String::from_utf8_lossy(&style.body).into_owned();
    calm.status = stack.status().await?;
    Ok(calm)
}

/// Looks again and again how old each instance's figures are, for as long as the stack settles.
async fn watch_ages(stack: &Stack, ages: &mut BTreeMap<String, f64>) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    while watch.elapsed() < SETTLE {
        look_at_ages(&stack.status().await?, ages);
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// An instance has figures of no age until it is read for the first time; one that never is keeps that.
fn look_at_ages(status: &Status, ages: &mut BTreeMap<String, f64>) {
    let services = status.planes.iter().flat_map(|plane| &plane.services);
    for instance in services.flat_map(|service| &service.instances) {
        let oldest = ages.entry(instance.instance.clone()).or_insert(f64::INFINITY);
        if let Some(age) = instance.age_s {
            *oldest = if oldest.is_finite() { oldest.max(age) } else { age };
        }
    }
}

/// Of each catalog process, the processor time that it has had, in seconds, and what it has in memory, in MiB.
fn processor_times(stack: &Stack) -> BTreeMap<String, (f64, f64)> {
    let catalog = stack.ready().processes.iter().filter(|process| process.service == "catalog");
    let usage = |pid: u32| {
        let of_threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
        let resident = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = resident.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: f64 = resident.split_whitespace().next()?.parse().ok()?;
        Some((of_threads.sum::<f64>() / 1e9, kibibytes / 1024.0))
    };
    catalog.filter_map(|process| Some((process.instance.clone(), usage(process.pid)?))).collect()
}

async fn answers(traffic: Traffic) -> anyhow::Result<Vec<Answer>> {
    Ok(traffic.stop().await?.into_iter().filter_map(|sample| sample.answer).collect())
}

/// The calls to the database that a process has counted.
fn database_calls(metrics: &str) -> f64 {
    let counted = metrics.lines().filter(|line| {
        line.starts_with("four_plane_upstream_requests_total{")
            && line.contains("upstream=\"database\"")
            && line.contains("outcome=\"ok\"")
    });
    counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Text of the exposition format with at least one sample.
fn is_prometheus_text(answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body);
    answer.status == StatusCode::OK && samples(&text).is_ok_and(|samples| !samples.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{
        report::Verdict,
        stack::{InstanceStatus, Link, Plane, Service},
    };

    fn with_services(services: Vec<Service>) -> Calm {
        let planes = vec![Plane { services, ..Plane::default() }];
        Calm { status: Status { planes, ..Status::default() }, ..Calm::default() }
    }

    fn service(name: &str, instances: usize) -> Service {
        let instance = |number| InstanceStatus {
            instance: format!("{name}/{number}"),
            pid: Some(1),
            url: None,
            health: "pass".into(),
            rps: Some(10.0),
            age_s: Some(0.5),
        };
        Service {
            name: name.into(),
            rps: Some(30.0),
            instances: (1..=instances).map(instance).collect(),
            ..Service::default()
        }
    }

    #[test]
    fn an_empty_stack_meets_no_row() {
        for (id, judgement) in CLAIMS {
            assert_ne!(judgement(&Calm::default()).verdict, Verdict::Met, "{id}");
        }
    }

    #[test]
    fn two_instances_of_a_service_are_too_few() {
        let calm = |count| with_services(vec![service("catalog", count), service("recommendation", 3)]);

        assert_eq!(stateless::at_least_three(&calm(3)).verdict, Verdict::Met);
        assert_eq!(stateless::at_least_three(&calm(2)).verdict, Verdict::NotMet);
    }

    #[test]
    fn figures_of_one_instance_older_than_fifteen_seconds_are_collected_too_seldom() {
        let calm = |oldest| Calm {
            ages: BTreeMap::from([("edge/1".to_owned(), 1.0), ("catalog/1".to_owned(), oldest)]),
            ..Calm::default()
        };

        assert_eq!(figure::collected(&calm(15.0)).verdict, Verdict::Met);
        assert_eq!(figure::collected(&calm(15.1)).verdict, Verdict::NotMet);
        assert_eq!(figure::collected(&calm(f64::INFINITY)).verdict, Verdict::NotMet);
    }

    #[test]
    fn an_age_counts_from_the_first_reading_on_and_the_oldest_is_kept() {
        let mut ages = BTreeMap::new();
        let mut look = |age_s| {
            let mut catalog = service("catalog", 1);
            catalog.instances.iter_mut().for_each(|instance| instance.age_s = age_s);
            look_at_ages(&with_services(vec![catalog]).status, &mut ages);
            ages["catalog/1"]
        };

        let seen = [None, Some(2.0), Some(0.5), None].map(&mut look);

        assert_eq!(seen.map(f64::to_bits), [f64::INFINITY, 2.0, 2.0, 2.0].map(f64::to_bits));
    }

    #[test]
    fn a_catalog_that_answers_within_seventy_five_milliseconds_is_quick_enough() {
        let calm = |p99| with_services(vec![Service { p99_ms: p99, ..service("catalog", 3) }]);

        assert_eq!(figure::catalog_p99(&calm(Some(75.0))).verdict, Verdict::Met);
        assert_eq!(figure::catalog_p99(&calm(Some(75.1))).verdict, Verdict::NotMet);
        assert_eq!(figure::catalog_p99(&calm(None)).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_link_without_requests_is_no_arrow() {
        let calm = |rate| {
            let links = vec![Link { from: "gateway".into(), to: "catalog".into(), rps: Some(rate) }];
            Calm { status: Status { links, ..Status::default() }, ..Calm::default() }
        };

        assert_eq!(figure::gateway_to_catalog(&calm(12.0)).verdict, Verdict::Met);
        assert_eq!(figure::gateway_to_catalog(&calm(0.0)).verdict, Verdict::NotMet);
        assert_eq!(figure::gateway_to_recommendation(&calm(12.0)).verdict, Verdict::NotMet);
    }

    #[test]
    fn an_embedded_cache_leaves_the_box_of_redis_open() {
        let calm = |cache: &str| {
            let mut calm = with_services(vec![service("cache", 1)]);
            calm.status.state.cache = cache.into();
            calm
        };

        assert_eq!(figure::redis(&calm("redis")).verdict, Verdict::Met);
        assert_eq!(figure::redis(&calm("embedded")), Finding::not_yet());
    }

    #[test]
    fn an_instance_fits_into_two_gibibytes_and_a_processor() {
        let calm = |mebibytes, processors| Calm {
            usage: BTreeMap::from([("catalog/2".to_owned(), Usage { mebibytes, processors })]),
            ..Calm::default()
        };

        assert_eq!(stateless::memory::<2>(&calm(2_048.0, 0.5)).verdict, Verdict::Met);
        assert_eq!(stateless::memory::<2>(&calm(2_049.0, 0.5)).verdict, Verdict::NotMet);
        assert_eq!(stateless::processor::<2>(&calm(20.0, 1.0)).verdict, Verdict::Met);
        assert_eq!(stateless::processor::<2>(&calm(20.0, 1.1)).verdict, Verdict::NotMet);
        assert_eq!(stateless::memory::<1>(&calm(20.0, 0.5)).verdict, Verdict::NotMet);
    }

    #[test]
    fn two_answers_to_one_question_mean_that_instances_differ() {
        let calm = |bodies: [&'static str; 3]| {
            let of = |(number, body): (usize, &'static str)| {
                (format!("catalog/{number}"), BTreeSet::from([Bytes::from_static(body.as_bytes())]))
            };
            Calm { same_item: bodies.into_iter().enumerate().map(of).collect(), ..Calm::default() }
        };

        assert_eq!(stateless::any_instance(&calm(["a", "a", "a"])).verdict, Verdict::Met);
        assert_eq!(stateless::any_instance(&calm(["a", "a", "b"])).verdict, Verdict::NotMet);
    }

    #[test]
    fn one_process_whose_health_does_not_answer_is_not_met() {
        let calm = |last| Calm {
            health: vec![("edge/1".into(), Some(StatusCode::OK)), ("edge/2".into(), last)],
            ..Calm::default()
        };

        assert_eq!(stateless::health_path(&calm(Some(StatusCode::OK))).verdict, Verdict::Met);
        assert_eq!(stateless::health_path(&calm(Some(StatusCode::SERVICE_UNAVAILABLE))).verdict, Verdict::NotMet);
        assert_eq!(stateless::health_path(&calm(None)).verdict, Verdict::NotMet);
    }

    #[test]
    fn only_good_calls_to_the_database_are_counted() {
        let sample = |upstream: &str, outcome: &str| {
            format!("four_plane_upstream_requests_total{{upstream=\"{upstream}\",outcome=\"{outcome}\"}} 4\n")
        };

        let text = [sample("database", "ok"), sample("database", "error"), sample("cache", "ok")].concat();

        assert!((database_calls(&text) - 4.0).abs() < f64::EPSILON);
        assert!(database_calls("").abs() < f64::EPSILON);
    }

    #[test]
    fn ages_that_stand_still_show_no_time_to_live() {
        let hit = |age: &'static str| Answer::scripted(StatusCode::OK, &[("x-cache", "hit"), ("age", age)], 1);
        let calm = |ages: [&'static str; 3]| {
            let mut calm = Calm { repeated: ages.map(hit).into(), ..Calm::default() };
            calm.status.state.cache = "redis".into();
            calm
        };

        assert_eq!(figure::redis_ttl(&calm(["0", "1", "3"])).verdict, Verdict::Met);
        assert_eq!(figure::redis_ttl(&calm(["0", "0", "0"])).verdict, Verdict::NotMet);
        assert_eq!(figure::redis_ttl(&calm(["240", "241", "243"])).verdict, Verdict::NotMet);
    }

    #[test]
    fn text_without_a_sample_is_not_prometheus_text() {
        let text = |body: &'static str| {
            is_prometheus_text(&Answer {
                body: Bytes::from_static(body.as_bytes()),
                ..Answer::scripted(StatusCode::OK, &[], 1)
            })
        };

        assert!(text("# TYPE a counter\na{b=\"c d\"} 12\n"));
        assert!(!text("# TYPE a counter\n"));
        assert!(!text("a{b=\"c d\"} 12"));
    }
}

//! What limiters publish.
#![cfg(feature = "metrics")]

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use seawall_core::{CallContext, Clock, Enforced, Enforcement, Gate, Timestamp, VirtualClock};
use seawall_rate_limiter::{
    AdaptiveQuota, AdaptiveRate, AdmitKey, DistributedKeyedGcra, DistributedQuota, Gcra, KeyedGcra, OneQuota, Plan,
    Plans, QueueingGcra, QueueingKeyedGcra, QueueingQuota, Quota, Quotas, RateLimiterMetrics,
};

const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// The lines of a scrape after `steps`.
fn scraped(steps: impl FnOnce(&RateLimiterMetrics)) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || steps(&RateLimiterMetrics::new("api")));
    let text = handle.render();
    let of_ours = text.lines().filter(|line| line.starts_with("seawall"));
    let short = |line: &str| line.replace("seawall_rate_limiter_", "").replace("name=\"api\"", "").replace("{}", "");
    let mut lines: Vec<_> = of_ours.map(short).collect();
    lines.sort();
    lines
}

fn quota(calls: u32, burst: u32) -> Quota {
    Quota::per_second(calls).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

#[test]
fn a_scrape_of_a_limit_tells_what_is_left_and_nothing_that_it_has_not() {
    let limiter = Gcra::new(quota(10, 8));
    limiter.take(5, NOW).unwrap();

    assert_eq!(scraped(|metrics| metrics.scrape(&limiter, NOW)), ["full_in_seconds 0.5", "remaining 3"]);
}

#[test]
fn a_scrape_of_a_limit_whose_calls_wait_tells_how_many_do() {
    let clock = VirtualClock::new();
    let limiter = QueueingGcra::new(QueueingQuota::new(quota(10, 1)), clock.clone());
    let _calls = [(); 3].map(|()| limiter.admit(CallContext::new, || clock.now()));

    let lines = scraped(|metrics| metrics.scrape_queueing(&limiter, clock.now()));

    assert_eq!(lines, ["full_in_seconds 0.1", "queued 2", "remaining 0"]);
}

#[test]
fn a_scrape_of_keys_tells_how_many_are_held_and_how_many_wait() {
    let clock = VirtualClock::new();
    let quota = QueueingQuota::new(KeyedGcra::new(quota(10, 1)));
    let limiter = QueueingKeyedGcra::<u32, VirtualClock>::new(quota, clock.clone());
    let _calls = [1, 1, 1, 2, 2, 3].map(|key| limiter.admit_key(&key, CallContext::new, || clock.now()));

    let lines = scraped(|metrics| {
        metrics.scrape_lines(&limiter);
        metrics.scrape_keyed(limiter.limiter(), clock.now());
    });
    clock.advance(Duration::from_millis(100));
    let later = scraped(|metrics| metrics.scrape_keyed(limiter.limiter(), clock.now()));

    assert_eq!(lines, ["keys 3", "lines 2", "queued 3"]);
    assert_eq!(later, ["keys 0"], "nobody has looked at the lines");
}

#[test]
fn a_scrape_of_several_quotas_tells_of_each_that_has_a_name() {
    let tenant = OneQuota::keyed(quota(10, 5)).with_name("tenant").unwrap();
    let all = OneQuota::shared(quota(100, 50)).with_name("all").unwrap();
    let quotas = Quotas::new().with(tenant).with_shared(quota(7, 7)).with(all);
    quotas.charge("ann", 4, NOW);
    quotas.charge("bob", 1, NOW);

    let lines = scraped(|metrics| metrics.scrape_quotas(&quotas, NOW));

    let told = |what: &str, quota: &str| {
        let line = lines.iter().find(|line| line.starts_with(what) && line.contains(&format!("\"{quota}\"")));
        line.and_then(|line| line.rsplit(' ').next())
    };
    assert_eq!((told("quota_keys", "tenant"), told("quota_remaining", "all")), (Some("2"), Some("45")));
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_scrape_of_plans_tells_of_each_and_of_all() {
    let free = Plan::new(quota(20, 10), quota(2, 2));
    let plans = Plans::new(quota(100, 50), free).and_then(|plans| plans.with_plan("pro", free)).unwrap();
    plans.charge(&("pro", "ann"), 4, NOW);
    plans.charge(&("pro", "bob"), 1, NOW);

    let lines = scraped(|metrics| metrics.scrape_plans(&plans, NOW));

    let of_plans = lines.iter().filter(|line| line.contains("plan=")).collect::<Vec<_>>();
    let told = |plan, what: &str, number| {
        let is_it = |line: &&&String| line.starts_with(what) && line.contains(&format!("plan=\"{plan}\""));
        of_plans.iter().find(is_it).is_some_and(|line| line.ends_with(&format!(" {number}")))
    };
    assert!(told("pro", "plan_remaining", 5) && told("pro", "plan_keys", 2), "{lines:?}");
    assert!(told("default", "plan_remaining", 10) && told("default", "plan_keys", 0), "{lines:?}");
    assert!(lines.contains(&"remaining 45".to_owned()), "{lines:?}");
    assert_eq!(lines.len(), 6);
}

#[test]
fn a_scrape_of_a_rate_that_was_found_tells_it_once_it_limits() {
    let limit = AdaptiveRate::new(AdaptiveQuota::default());
    limit.take(1, NOW).unwrap();

    let before = scraped(|metrics| metrics.scrape_adaptive(&limit));
    limit.refused(NOW, NOW);
    let after = scraped(|metrics| metrics.scrape_adaptive(&limit));

    assert_eq!(before.last().map(String::as_str), Some("rate NaN"));
    assert_eq!(after.last(), limit.rate().map(|rate| format!("rate {rate}")).as_ref());
    assert!(before.first().is_some_and(|line| line.starts_with("in_flight")));
}

#[test]
fn a_scrape_of_shared_quotas_tells_how_their_store_does() {
    let limiter = DistributedKeyedGcra::new(DistributedQuota::new(quota(10, 10), 2).unwrap());
    limiter.take("ann", 1, NOW).unwrap();

    let lines = scraped(|metrics| metrics.scrape_distributed(&limiter.figures()));

    assert_eq!(lines, ["store_exchanges_total 0", "store_failures_total 0", "store_gone 0", "store_keys 1"]);
}

#[test]
fn a_scrape_of_a_limit_that_is_tried_out_tells_whom_it_spared() {
    let limiter = Enforced::new(Gcra::new(quota(10, 1)), Enforcement::Shadow);
    let _calls = [(); 3].map(|()| limiter.admit(CallContext::new, || NOW));

    assert_eq!(scraped(|metrics| metrics.scrape_enforced(&limiter)), ["spared_total 2"]);
}

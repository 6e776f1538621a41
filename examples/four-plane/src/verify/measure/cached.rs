//! The cache beside the catalog, warm: what it answers of the load, and how old its answers get.

use std::time::Duration;

use super::{
    Claims, hit_ratio,
    quantile::{milliseconds, quantile},
    traffic::uncached_item,
};
use crate::{
    data,
    services::catalog::Popular,
    verify::{
        report::Finding,
        stack::{Stack, Status},
        web::{Answer, Stopwatch},
    },
};

/// Requests of the built-in load before a ratio is taken: the cache is empty when the stack starts, and empty it misses.
const WARM_UP: u64 = 10_000;

/// How long the warm-up may take, from here on; as a rule it is over by now.
const WARM_UP_WITHIN: Duration = Duration::from_secs(15);

/// The control plane's figures are over five seconds: so long ago our own requests were still among them.
const SETTLE: Duration = Duration::from_millis(6_500);

/// Of the catalog's cache, in the document's first figure.
const CATALOG_HIT: f64 = 0.95;
/// Look-ups per second, in its figure of the caches.
const DOCUMENT_RATE: f64 = 10_000.0;
/// Longer than entries live: by then the share is steady.
const DOCUMENT_SECONDS: u64 = 400;
/// The simulation has to say of this stack's own load what is measured of it, give or take.
const AGREES: f64 = 0.08;

/// The lower bounds of the document's ranges.
const ASIDE_HIT: f64 = 0.70;
const ASIDE_WITH_TTL_HIT: f64 = 0.60;
const L2_HIT: f64 = 0.60;

/// The upper bounds of the document's ranges.
const ASIDE_LATENCY: Duration = Duration::from_millis(5);
const ASIDE_WITH_TTL_LATENCY: Duration = Duration::from_millis(50);

/// Answers of one instance to a question whose answer the cache holds.
const DIRECT: usize = 300;

/// Views that make an item popular beside a minute of the built-in load.
const VIEWS: usize = 100;

/// The list of what is popular lives for 5 s in the cache; views are gathered for a tenth of a second before they count.
const STALE_AT_MOST: Duration = Duration::from_millis(5_500);

/// How long is waited for what takes 5 s.
const STALE_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

const LIST: &str = "/catalog/popular?limit=100";

pub(super) const CLAIMS: Claims<Cached> = &[
    ("figure.failure-first.catalog-service.cache-hit", catalog_hit),
    ("cache-strategies.cache-aside.hit-rate", aside_hit),
    ("cache-strategies.cache-aside.latency", aside_latency),
    ("cache-strategies.cache-aside.consistency", eventual),
    ("cache-strategies.cache-aside-with-ttl", bounded),
    ("cache-strategies.cache-aside-with-ttl.hit-rate", aside_with_ttl_hit),
    ("cache-strategies.cache-aside-with-ttl.latency", aside_with_ttl_latency),
    ("cache-strategies.cache-aside-with-ttl.consistency", bounded),
    ("figure.caching.l2-cache-redis.hit-rate", redis_hit),
    ("figure.caching.cache-metrics", metrics),
    ("figure.caching.cache-metrics.performance-tracking", tracking),
    ("figure.caching.arrow.monitor-l2", redis_metrics),
    ("figure.caching.arrow.l2-db", redis_misses),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Cached {
    /// The control plane under the built-in load alone, once the cache was warm.
    status: Status,
    /// Answers of one catalog instance to one question.
    direct: Vec<Answer>,
    /// From the last view of an item until the cached list of what is popular held it; nothing when it never did.
    shown_after: Option<Duration>,
    /// Whether the list held it before.
    shown_before: bool,
    /// The catalog's share of hits at the document's rate, and after as many requests as were sent here; simulated.
    at_document_rate: f64,
    here_simulated: f64,
}

/// Waits until the cache is warm, watches it, and makes an item popular.
pub(super) async fn observe(stack: &Stack) -> anyhow::Result<Cached> {
    stack.until(WARM_UP_WITHIN, |status| status.load.sent >= WARM_UP).await?;
    tokio::time::sleep(SETTLE).await;
    let mut cached = Cached { status: stack.status().await?, ..Cached::default() };
    let sent = cached.status.load.sent;
    let simulate = move || (steady(), hit_ratio::simulated(f64::from(super::LOAD), sent));
    (cached.at_document_rate, cached.here_simulated) = tokio::task::spawn_blocking(simulate).await?;
    let city = data::cities().first().map(|city| city.id).unwrap_or_default();
    if let Some(catalog) = cached.status.instance("catalog/1").and_then(|instance| instance.url.clone()) {
        let url = format!("{catalog}/catalog/items/{city}");
        for _ in 0..DIRECT {
            cached.direct.push(stack.web.get(&url).await?);
        }
    }
    let path = uncached_item(VIEWS);
    let id = path.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or_default();
    cached.shown_before = holds(&stack.get(LIST).await?, id);
    for _ in 0..VIEWS {
        stack.get(&path).await?;
    }
    let viewed = Stopwatch::start();
    while cached.shown_after.is_none() && viewed.elapsed() < STALE_WITHIN {
        tokio::time::sleep(LOOK).await;
        if holds(&stack.get(LIST).await?, id) {
            cached.shown_after = Some(viewed.elapsed());
        }
    }
    Ok(cached)
}

fn holds(list: &Answer, id: u32) -> bool {
    serde_json::from_slice(&list.body).is_ok_and(|Popular { items }| items.iter().any(|counted| counted.item.id == id))
}

fn hit_share(cached: &Cached, least: f64) -> Finding {
    let sent = cached.status.load.sent;
    let ratio = cached.status.service("catalog").and_then(|service| service.cache_hit_ratio);
    let Some(ratio) = ratio.filter(|_| sent >= WARM_UP) else {
        return Finding::unobserved(format!("no hit ratio of the catalog after {sent} requests of the built-in load"));
    };
    Finding::judged(
        ratio >= least,
        format!("{:.0}% after {sent} requests", ratio * 100.0),
        format!(
            "the control plane over 5 s of the built-in load alone, whose cities follow Zipf's law, after a warm-up of at \
             least {WARM_UP} requests that found the cache empty"
        ),
    )
}

/// At the document's rate.
fn steady() -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of requests")]
    let a_second = DOCUMENT_RATE as u64;
    hit_ratio::simulated(DOCUMENT_RATE, DOCUMENT_SECONDS.saturating_mul(a_second))
}

/// How many requests ask again within the 300 s for which an entry lives depends on how many there are. What this machine
/// can send is a fortieth of what the document looks up, so its rate is simulated, and the simulation checked by what is
/// measured here.
fn catalog_hit(cached: &Cached) -> Finding {
    let sent = cached.status.load.sent;
    let measured = cached.status.service("catalog").and_then(|service| service.cache_hit_ratio);
    let Some(measured) = measured.filter(|_| sent >= WARM_UP) else {
        return Finding::unobserved(format!("no hit ratio of the catalog after {sent} requests of the built-in load"));
    };
    let (there, here) = (cached.at_document_rate, cached.here_simulated);
    Finding::judged(
        there >= CATALOG_HIT && (here - measured).abs() <= AGREES,
        format!("{:.1}% at {DOCUMENT_RATE:.0} look-ups/s, simulated", there * 100.0),
        format!(
            "the same popularity and times to live in simulated time, {DOCUMENT_SECONDS} s long; of this stack after {sent} \
             requests from an empty cache at {} a second it says {:.0}%, and {:.0}% was measured",
            super::LOAD,
            here * 100.0,
            measured * 100.0
        ),
    )
}

fn aside_hit(cached: &Cached) -> Finding {
    hit_share(cached, ASIDE_HIT)
}

fn aside_with_ttl_hit(cached: &Cached) -> Finding {
    hit_share(cached, ASIDE_WITH_TTL_HIT)
}

/// The embedded cache is no Redis: with it the row stays open.
fn of_redis(cached: &Cached, finding: impl FnOnce(&Cached) -> Finding) -> Finding {
    if cached.status.state.cache == "redis" { finding(cached) } else { Finding::not_yet() }
}

fn redis_hit(cached: &Cached) -> Finding {
    of_redis(cached, |cached| hit_share(cached, L2_HIT))
}

fn redis_metrics(cached: &Cached) -> Finding {
    of_redis(cached, metrics)
}

fn redis_misses(cached: &Cached) -> Finding {
    of_redis(cached, misses)
}

fn latency(cached: &Cached, most: Duration) -> Finding {
    let hits =
        || cached.direct.iter().filter(|answer| answer.header("x-cache") == Some("hit")).map(|answer| answer.took);
    let (Some(half), Some(most_of)) = (quantile(hits(), 0.5), quantile(hits(), 0.99)) else {
        return Finding::unobserved("no answer came from the cache");
    };
    Finding::judged(
        half <= most,
        format!("p50 {}, p99 {}", milliseconds(half), milliseconds(most_of)),
        format!(
            "{} answers of a catalog instance from the cache, asked one after another beside the load",
            hits().count()
        ),
    )
}

fn aside_latency(cached: &Cached) -> Finding {
    latency(cached, ASIDE_LATENCY)
}

fn aside_with_ttl_latency(cached: &Cached) -> Finding {
    latency(cached, ASIDE_WITH_TTL_LATENCY)
}

fn staleness(cached: &Cached, most: Duration) -> Finding {
    let Some(shown_after) = cached.shown_after.filter(|_| !cached.shown_before) else {
        return Finding::unobserved("an item that became popular was not shown as such, or was shown before");
    };
    Finding::judged(
        shown_after <= most,
        format!("shown {:.1} s after it became popular", shown_after.as_secs_f64()),
        format!("an item viewed {VIEWS} times, and the list of what is popular, which the cache holds for 5 s"),
    )
}

fn eventual(cached: &Cached) -> Finding {
    staleness(cached, STALE_WITHIN)
}

fn bounded(cached: &Cached) -> Finding {
    staleness(cached, STALE_AT_MOST)
}

/// Both services that stand before a cache.
fn metrics(cached: &Cached) -> Finding {
    let shown = ["catalog", "recommendation"].map(|name| {
        let ratio = cached.status.service(name).and_then(|service| service.cache_hit_ratio);
        ratio.map(|ratio| format!("{name} {:.0}%", ratio * 100.0))
    });
    match shown.into_iter().collect::<Option<Vec<_>>>() {
        Some(shown) => Finding::judged(true, shown.join(", "), "the share of hits in GET /control/status, over 5 s"),
        None => Finding::unobserved("a service's share of hits is not in GET /control/status"),
    }
}

fn tracking(cached: &Cached) -> Finding {
    let cache = cached.status.service("cache");
    match cache.and_then(|cache| Some((cache.rps.filter(|rate| *rate > 0.0)?, cache.p99_ms?))) {
        Some((rate, p99)) => Finding::judged(
            true,
            format!("{rate:.0} operations/s, p99 {p99:.1} ms"),
            "the cache in GET /control/status, over 5 s",
        ),
        None => Finding::unobserved("the cache's rate and latency are not in GET /control/status"),
    }
}

/// What the cache does not hold is asked of the database: less than of the cache, and more than nothing.
fn misses(cached: &Cached) -> Finding {
    let flow = |to| cached.status.flow("catalog", to).unwrap_or_default();
    let (cache, database) = (flow("cache"), flow("database"));
    Finding::judged(
        0.0 < database && database < cache,
        format!("{database:.0} of {cache:.0} calls/s go on to the database"),
        "links of the catalog in GET /control/status, over 5 s",
    )
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::verify::{
        report::Verdict,
        stack::{Link, Load, Plane, Service},
    };

    fn warm(sent: u64, ratio: f64, cache: &str) -> Cached {
        let service = |name: &str| Service { name: name.into(), cache_hit_ratio: Some(ratio), ..Service::default() };
        let services = vec![service("catalog"), service("recommendation")];
        let mut status = Status {
            load: Load { sent, ..Load::default() },
            planes: vec![Plane { services, ..Plane::default() }],
            ..Status::default()
        };
        status.state.cache = cache.into();
        Cached { status, ..Cached::default() }
    }

    #[test]
    fn nothing_seen_meets_no_row() {
        for (id, judgement) in CLAIMS {
            assert_ne!(judgement(&Cached::default()).verdict, Verdict::Met, "{id}");
        }
    }

    #[test]
    fn a_ratio_counts_only_after_the_warm_up() {
        assert_eq!(aside_hit(&warm(10_000, 0.7, "redis")).measured, "70% after 10000 requests");
        assert_eq!(aside_hit(&warm(10_000, 0.7, "redis")).verdict, Verdict::Met);
        assert_eq!(aside_hit(&warm(10_000, 0.69, "redis")).verdict, Verdict::NotMet);
        assert_eq!(aside_hit(&warm(9_999, 1.0, "redis")).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_simulated_share_counts_only_where_the_simulation_agrees_with_what_is_measured() {
        let seen =
            |there, here, sent| Cached { at_document_rate: there, here_simulated: here, ..warm(sent, 0.75, "redis") };

        assert_eq!(catalog_hit(&seen(0.95, 0.80, 10_000)).verdict, Verdict::Met);
        assert_eq!(catalog_hit(&seen(0.94, 0.80, 10_000)).verdict, Verdict::NotMet);
        assert_eq!(catalog_hit(&seen(0.95, 0.84, 10_000)).verdict, Verdict::NotMet);
        assert_eq!(catalog_hit(&seen(0.95, 0.80, 9_999)).verdict, Verdict::NotMet);
    }

    #[test]
    fn an_embedded_cache_leaves_the_rows_of_redis_open() {
        for judgement in [redis_hit, redis_metrics, redis_misses] {
            assert_eq!(judgement(&warm(10_000, 0.7, "embedded")), Finding::not_yet());
            assert_ne!(judgement(&warm(10_000, 0.7, "redis")), Finding::not_yet());
        }
    }

    #[test]
    fn only_answers_of_the_cache_have_its_latency() {
        let answer = |cache, took| Answer::scripted(StatusCode::OK, &[("x-cache", cache)], took);
        let cached = |direct| Cached { direct, ..Cached::default() };

        assert_eq!(
            aside_latency(&cached(vec![answer("hit", 3), answer("miss", 90)])).measured,
            "p50 3.0 ms, p99 3.0 ms"
        );
        assert_eq!(aside_latency(&cached(vec![answer("hit", 6)])).verdict, Verdict::NotMet);
        assert_eq!(aside_with_ttl_latency(&cached(vec![answer("hit", 6)])).verdict, Verdict::Met);
    }

    #[test]
    fn an_item_that_was_popular_before_or_too_late_shows_no_bound() {
        let shown = |shown_before, seconds: u64| Cached {
            shown_before,
            shown_after: Some(Duration::from_secs(seconds)),
            ..Cached::default()
        };

        assert_eq!(bounded(&shown(false, 5)).verdict, Verdict::Met);
        assert_eq!(bounded(&shown(false, 6)).verdict, Verdict::NotMet);
        assert_eq!(eventual(&shown(false, 6)).verdict, Verdict::Met);
        assert_eq!(bounded(&shown(true, 1)).verdict, Verdict::NotMet);
    }

    #[test]
    fn a_database_that_is_asked_as_often_as_the_cache_shows_no_misses() {
        let link = |to: &str, rate| Link { from: "catalog".into(), to: to.into(), rps: Some(rate) };
        let cached = |rate| Cached {
            status: Status { links: vec![link("cache", 50.0), link("database", rate)], ..Status::default() },
            ..Cached::default()
        };

        assert_eq!(misses(&cached(9.0)).verdict, Verdict::Met);
        assert_eq!(misses(&cached(50.0)).verdict, Verdict::NotMet);
    }
}

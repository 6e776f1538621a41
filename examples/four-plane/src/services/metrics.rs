//! What every process counts, in the names that the control plane reads.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::link::{Instance, Role};

/// Upper bounds in seconds, three to four per decade from 0.5 ms to 10 s.
const BUCKETS: [f64; 20] = [
    0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0,
    5.0, 10.0,
];

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Everything that this process has counted, in Prometheus' text format.
pub fn render() -> String {
    install().render()
}

/// Collects from here on what is counted; again does nothing.
pub fn install() -> &'static PrometheusHandle {
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .map_or_else(|_| PrometheusBuilder::new().build_recorder(), PrometheusBuilder::build_recorder);
        let handle = recorder.handle();
        // A process that has another recorder keeps that one: what is counted there is not ours to render.
        let _had_one = metrics::set_global_recorder(recorder);
        for (name, help) in COUNTERS {
            describe_counter!(name, help);
        }
        for (name, help) in GAUGES {
            describe_gauge!(name, help);
        }
        describe_histogram!(
            "four_plane_request_duration_seconds",
            Unit::Seconds,
            "How long requests took that were let in."
        );
        handle
    })
}

const COUNTERS: [(&str, &str); 12] = [
    ("four_plane_requests_total", "Requests by how they ended."),
    ("four_plane_cache_requests_total", "Look-ups in the cache by how they ended."),
    ("four_plane_upstream_requests_total", "Calls to another part by how they ended."),
    ("four_plane_upstream_attempts_total", "Attempts sent to an instance, by their place in a call."),
    ("four_plane_views_lost_total", "Views that could not be noted."),
    ("four_plane_api_quota_exchanges_total", "Questions to the store that the quotas are shared by."),
    ("four_plane_api_quota_failures_total", "Questions to that store without an answer."),
    ("seawall_retry_attempts_total", "Attempts after the first."),
    ("seawall_pool_created_total", "Connections made."),
    ("seawall_pool_repeated_total", "Operations that were done once more since their connection was found broken."),
    ("seawall_pool_stale_total", "Connections that were found broken when they were to be used."),
    ("seawall_deadline_expired_total", "Requests that came when their caller had stopped waiting."),
];

const GAUGES: [(&str, &str); 9] = [
    ("four_plane_in_flight", "Requests under way, those that wait included."),
    ("four_plane_waiting", "Requests that wait for their turn."),
    ("four_plane_limit", "How many requests may be under way."),
    ("four_plane_api_quota_local", "1 while the quotas are kept by this process alone."),
    ("four_plane_api_keys", "API keys with a quota in use."),
    ("four_plane_api_addresses", "Addresses without a key with a quota in use."),
    ("seawall_pool_connections", "Connections by what they do."),
    ("seawall_pool_limit", "The most connections of a pool."),
    ("seawall_pool_waiters", "Calls that wait for a connection."),
];

/// Requests of one instance, registered once.
#[derive(Clone)]
pub struct RequestMetrics {
    ok: Counter,
    error: Counter,
    shed: Counter,
    degraded: Counter,
    duration: Histogram,
    in_flight: Gauge,
    limit: Gauge,
}

impl std::fmt::Debug for RequestMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestMetrics").finish_non_exhaustive()
    }
}

impl RequestMetrics {
    /// For `service`, a role or a part of the state plane, as `instance`.
    pub fn new(service: &'static str, instance: &str) -> Self {
        install();
        let outcome = |outcome: &'static str| counter!("four_plane_requests_total", "service" => service, "instance" => instance.to_owned(), "outcome" => outcome);
        let labels = [("service", service.to_owned()), ("instance", instance.to_owned())];
        Self {
            ok: outcome("ok"),
            error: outcome("error"),
            shed: outcome("shed"),
            degraded: outcome("degraded"),
            duration: histogram!("four_plane_request_duration_seconds", &labels),
            in_flight: gauge!("four_plane_in_flight", &labels),
            limit: gauge!("four_plane_limit", &labels),
        }
    }

    /// For an instance of a role.
    pub fn of(role: Role, instance: &str) -> Self {
        Self::new(role.name(), instance)
    }

    /// One more request is under way until [`Self::left`].
    pub fn entered(&self) {
        self.in_flight.increment(1.0);
    }

    /// One fewer request is under way.
    pub fn left(&self) {
        self.in_flight.decrement(1.0);
    }

    /// How many may be under way at once.
    pub fn limited_to(&self, limit: f64) {
        self.limit.set(limit);
    }

    /// A request has ended: `ok`, `shed`, `degraded`, anything else is an error. How long it took counts unless it was shed:
    /// quick refusals would hide how long the others wait.
    pub fn finished(&self, outcome: &str, duration: Duration) {
        let counter = match outcome {
            "ok" => &self.ok,
            "shed" => &self.shed,
            "degraded" => &self.degraded,
            _ => &self.error,
        };
        counter.increment(1);
        if outcome != "shed" {
            self.duration.record(duration.as_secs_f64());
        }
    }
}

/// Look-ups in the cache, by how they ended.
#[derive(Clone)]
pub struct CacheMetrics {
    hit: Counter,
    miss: Counter,
    bypass: Counter,
}

impl std::fmt::Debug for CacheMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheMetrics").finish_non_exhaustive()
    }
}

impl CacheMetrics {
    /// For an instance of a role.
    pub fn of(role: Role, instance: &str) -> Self {
        install();
        let result = |result: &'static str| counter!("four_plane_cache_requests_total", "service" => role.name(), "instance" => instance.to_owned(), "result" => result);
        Self { hit: result("hit"), miss: result("miss"), bypass: result("bypass") }
    }

    /// It was there.
    pub fn hit(&self) {
        self.hit.increment(1);
    }

    /// It was not there.
    pub fn miss(&self) {
        self.miss.increment(1);
    }

    /// The cache did not answer.
    pub fn bypass(&self) {
        self.bypass.increment(1);
    }
}

/// Calls that an instance makes to one upstream, by how they ended: what the arrow between both carries.
#[derive(Clone)]
pub struct CallMetrics {
    ok: Counter,
    error: Counter,
}

impl std::fmt::Debug for CallMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallMetrics").finish_non_exhaustive()
    }
}

impl CallMetrics {
    /// Of this instance, to `upstream`: a role, `database` or `cache`.
    pub fn new(instance: &Instance, upstream: &'static str) -> Self {
        install();
        let (service, name) = (instance.role.name(), instance.name());
        let outcome = |outcome: &'static str| counter!("four_plane_upstream_requests_total", "service" => service, "instance" => name.clone(), "upstream" => upstream, "outcome" => outcome);
        Self { ok: outcome("ok"), error: outcome("error") }
    }

    /// A call has ended; one that was refused on this side is an error, as one that failed there.
    pub fn finished(&self, answered: bool) {
        let counter = if answered { &self.ok } else { &self.error };
        counter.increment(1);
    }
}

/// Attempts of an instance's calls to one role that were sent to somebody, the first of a call and further ones.
#[derive(Clone)]
pub struct AttemptMetrics {
    first: Counter,
    further: Counter,
}

impl std::fmt::Debug for AttemptMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttemptMetrics").finish_non_exhaustive()
    }
}

impl AttemptMetrics {
    /// Of this instance, to `upstream`, a role.
    pub fn new(instance: &Instance, upstream: &'static str) -> Self {
        install();
        let (service, name) = (instance.role.name(), instance.name());
        let attempt = |attempt: &'static str| counter!("four_plane_upstream_attempts_total", "service" => service, "instance" => name.clone(), "upstream" => upstream, "attempt" => attempt);
        Self { first: attempt("first"), further: attempt("further") }
    }

    /// An attempt is sent; `again`: another one of its call was before.
    pub fn sent(&self, again: bool) {
        let counter = if again { &self.further } else { &self.first };
        counter.increment(1);
    }
}

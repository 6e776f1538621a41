use metrics::{Gauge, counter, describe_counter, describe_gauge, gauge};
use seawall_core::{Enforced, Timestamp};

use crate::{
    AdaptiveRate, DistributedFigures, Key, KeyedGcra, Limit, LimitKeys, Plans, QueueingKeys, QueueingLimit, Quotas,
    Standing, quotas,
};

const GAUGES: [(&str, &str); 13] = [
    ("remaining", "How many calls may come at once."),
    ("full_in_seconds", "How long until the whole burst is there again."),
    ("keys", "How many keys have used some of their quota."),
    ("queued", "How many calls wait for their turn."),
    ("lines", "How many keys have calls that wait."),
    ("quota_remaining", "How many calls may come at once, of one quota of several."),
    ("quota_keys", "How many keys have used some of one quota of several."),
    ("plan_remaining", "How many calls of a plan may come at once, without what it may borrow."),
    ("plan_keys", "How many tenants of a plan have used some of their quota."),
    ("rate", "Calls per second that an adaptive limit lets go on."),
    ("in_flight", "How many calls an adaptive limit has under way."),
    ("store_gone", "Whether the store of shared quotas did not answer last: 0 or 1."),
    ("store_keys", "How many keys have room of their own among shared quotas."),
];

const COUNTERS: [(&str, &str); 3] = [
    ("spared_total", "Calls that would have been refused."),
    ("store_exchanges_total", "Round trips to the store of shared quotas that were answered."),
    ("store_failures_total", "Round trips to the store of shared quotas that were not."),
];

/// Publishes limiters through the `metrics` facade.
///
/// | metric | of | |
/// |---|---|---|
/// | `seawall_rate_limiter_remaining{name}` | any [`Limit`], all of [`Plans`] | how many calls may come at once |
/// | `seawall_rate_limiter_full_in_seconds{name}` | the same | how long until the whole burst is there again |
/// | `seawall_rate_limiter_keys{name}` | [`KeyedGcra`] | keys that have used some of their quota; near `max_keys`, newcomers begin with debts |
/// | `seawall_rate_limiter_queued{name}` | [`QueueingLimit`], [`QueueingKeys`] | how many calls wait |
/// | `seawall_rate_limiter_lines{name}` | [`QueueingKeys`] | how many keys have calls that wait |
/// | `seawall_rate_limiter_quota_remaining{name, quota}` | each of [`Quotas`] that has a name and is everybody's | how many calls may come at once |
/// | `seawall_rate_limiter_quota_keys{name, quota}` | each that is each key's | keys that have used some of it |
/// | `seawall_rate_limiter_plan_remaining{name, plan}` | [`Plans`] | how many calls may come at once, without what is borrowed |
/// | `seawall_rate_limiter_plan_keys{name, plan}` | [`Plans`] | tenants that have used some of their quota |
/// | `seawall_rate_limiter_rate{name}` | [`AdaptiveRate`] | calls per second; not a number while nothing is limited |
/// | `seawall_rate_limiter_in_flight{name}` | [`AdaptiveRate`] | calls under way |
/// | `seawall_rate_limiter_store_gone{name}`, `…_store_keys` | [`DistributedFigures`] | whether the store has not answered, 0 or 1; keys with room of their own |
/// | `seawall_rate_limiter_store_exchanges_total{name}`, `…_store_failures_total` | [`DistributedFigures`] | round trips that were answered, and that were not |
/// | `seawall_rate_limiter_spared_total{name}` | [`Enforced`] | calls that would have been refused |
///
/// All are told when somebody scrapes, to the recorder that is installed then, and a limiter has only those of its kind; no
/// call is slower for it. Calls, refusals by reason and the histogram of waits are what
/// [`MetricsObserver`](seawall_core::MetricsObserver) counts. The plan of those whose plan is not named is `default`.
///
/// ```
/// use seawall_core::{Clock, MonotonicClock};
/// use seawall_rate_limiter::{Quota, RateLimiterLayer, RateLimiterMetrics};
///
/// let layer = RateLimiterLayer::new(Quota::per_second(100)?);
/// let metrics = RateLimiterMetrics::new("catalog");
/// // Before each scrape:
/// metrics.scrape(layer.gate(), MonotonicClock.now());
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RateLimiterMetrics {
    name: String,
}

impl RateLimiterMetrics {
    /// The metrics of what is called `name`; the recorder that is installed at this time learns what they mean.
    pub fn new(name: impl Into<String>) -> Self {
        for (what, help) in GAUGES {
            describe_gauge!(metric(what), help);
        }
        for (what, help) in COUNTERS {
            describe_counter!(metric(what), help);
        }
        Self { name: name.into() }
    }

    /// Publishes what is left of a limit: before each scrape.
    pub fn scrape(&self, limit: &impl Limit, now: Timestamp) {
        self.stands(limit.standing(now));
    }

    /// The same of one whose calls wait, and how many do.
    pub fn scrape_queueing<L: Limit, T>(&self, limit: &QueueingLimit<L, T>, now: Timestamp) {
        self.stands(limit.standing(now));
        self.count("queued", limit.queued());
    }

    /// Publishes how many keys a limiter holds. Looks at every slot.
    pub fn scrape_keyed(&self, limiter: &KeyedGcra, now: Timestamp) {
        self.count("keys", limiter.active_keys(now));
    }

    /// Publishes how many calls wait in the lines of keys, and in how many. The limiter behind them is published by itself.
    pub fn scrape_lines<G: LimitKeys<Q>, Q: Key + ?Sized, T>(&self, lines: &QueueingKeys<G, Q, T>) {
        self.count("queued", lines.queued());
        self.count("lines", lines.lines());
    }

    /// Publishes of each quota that has a name what is left, or how many keys it holds. Looks at every slot.
    pub fn scrape_quotas(&self, quotas: &Quotas, now: Timestamp) {
        for (quota, _, limit) in quotas.named() {
            let of_quota = |what| gauge!(metric(what), "name" => self.name.clone(), "quota" => quota.to_owned());
            match limit {
                quotas::Limit::Shared(limit) => of_quota("quota_remaining").set(limit.standing(now).remaining()),
                quotas::Limit::Keyed(limit) => of_quota("quota_keys").set(as_number(limit.active_keys(now))),
            }
        }
    }

    /// Publishes what is left of all together and of each plan, and how many tenants it holds. Looks at every slot.
    pub fn scrape_plans(&self, plans: &Plans, now: Timestamp) {
        self.stands(plans.standing_of_all(now));
        for (plan, standing, keys) in plans.figures(now) {
            let of_plan = |what| gauge!(metric(what), "name" => self.name.clone(), "plan" => plan.to_owned());
            of_plan("plan_remaining").set(standing.remaining());
            of_plan("plan_keys").set(as_number(keys));
        }
    }

    /// Publishes the rate that a client has found.
    pub fn scrape_adaptive(&self, limit: &AdaptiveRate) {
        self.gauge("rate").set(limit.rate().unwrap_or(f64::NAN));
        self.gauge("in_flight").set(limit.in_flight());
    }

    /// Publishes how the store of quotas that processes share does.
    pub fn scrape_distributed(&self, figures: &DistributedFigures) {
        self.total("store_exchanges_total", figures.exchanges);
        self.total("store_failures_total", figures.failures);
        self.gauge("store_gone").set(u32::from(figures.is_gone));
        self.count("store_keys", figures.keys);
    }

    /// Publishes how many calls were spared that would have been refused. The limit itself is published besides.
    pub fn scrape_enforced<G>(&self, enforced: &Enforced<G>) {
        self.total("spared_total", enforced.spared());
    }

    fn stands(&self, standing: Standing) {
        self.gauge("remaining").set(standing.remaining());
        self.gauge("full_in_seconds").set(standing.full_in());
    }

    fn count(&self, what: &str, count: usize) {
        self.gauge(what).set(as_number(count));
    }

    fn total(&self, what: &str, count: u64) {
        counter!(metric(what), "name" => self.name.clone()).absolute(count);
    }

    fn gauge(&self, what: &str) -> Gauge {
        gauge!(metric(what), "name" => self.name.clone())
    }
}

fn metric(what: &str) -> String {
    format!("seawall_rate_limiter_{what}")
}

#[expect(clippy::cast_precision_loss, reason = "a number of calls or keys")]
const fn as_number(count: usize) -> f64 {
    count as f64
}

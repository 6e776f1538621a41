//! The planes and the arrows between their parts, as the last scrapes show them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{History, RATES, Recent, WINDOW};
use super::reading::{Figures, Reading};
use super::status::{BreakerCounts, BreakerStatus, InstanceStatus, LinkStatus, PlaneStatus, ServiceStatus, rounded};
use crate::supervisor::Roster;

/// Who calls whom, as the document's first figure draws it.
const LINKS: [(&str, &str); 9] = [
    ("load", "edge"),
    ("edge", "gateway"),
    ("gateway", "catalog"),
    ("gateway", "recommendation"),
    ("recommendation", "catalog"),
    ("recommendation", "database"),
    ("recommendation", "cache"),
    ("catalog", "database"),
    ("catalog", "cache"),
];

/// The service plane, by what is called first.
const SERVICES: [&str; 3] = ["gateway", "catalog", "recommendation"];
/// The parts of the state plane.
const STATE: [&str; 2] = ["database", "cache"];

fn is_state(name: &str) -> bool {
    STATE.contains(&name)
}

/// A process whose figures are in the history.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) instance: String,
    pub(crate) role: &'static str,
    pub(crate) pid: Option<u32>,
    pub(crate) url: Option<String>,
    pub(crate) health: &'static str,
    pub(crate) restarts: u32,
}

impl Host {
    /// The instances that the supervisor runs.
    pub(crate) fn all(roster: &Roster) -> Vec<Self> {
        let host = |member: &crate::supervisor::Member| Self {
            instance: member.name(),
            role: member.role().name(),
            pid: member.pid(),
            url: member.url(),
            health: member.health().name(),
            restarts: member.restarts(),
        };
        let mut hosts: Vec<_> = roster.members().iter().map(host).collect();
        hosts.sort_by(|a, b| a.instance.cmp(&b.instance));
        hosts
    }
}

/// The figures of all hosts at one time.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) history: &'a History,
    pub(crate) hosts: &'a [Host],
    pub(crate) now: Duration,
}

impl View<'_> {
    /// The four planes, in the document's order.
    pub(crate) fn planes(&self) -> Vec<PlaneStatus> {
        let edge = self.service("edge", "edge");
        let service = SERVICES.map(|name| self.service(name, name));
        let state = STATE.map(|name| self.service(name, "state"));
        let control = ["control", "load"].map(|name| self.service(name, name));
        vec![
            self.plane("edge", vec![edge], &["edge"], self.breaker_counts(&["edge"], |_| true)),
            // What the gateway answers is what the plane answers; the others are behind it.
            self.plane("service", service.into(), &["gateway"], self.breaker_counts(&SERVICES, |it| !is_state(it))),
            self.plane("state", state.into(), &STATE, self.breaker_counts(&SERVICES, is_state)),
            self.plane("control", control.into(), &["control"], self.breaker_counts(&["control"], |_| true)),
        ]
    }

    fn plane(
        &self,
        plane: &'static str,
        services: Vec<ServiceStatus>,
        measured_by: &[&str],
        breakers: BreakerCounts,
    ) -> PlaneStatus {
        let (now, sum) = (self.sum(measured_by, RATES), self.sum(measured_by, WINDOW));
        // The built-in load is a caller of the planes, not a part of what they do.
        let own = || services.iter().filter(|service| service.service != "load");
        let front = || services.iter().filter(|service| measured_by.contains(&service.service));
        PlaneStatus {
            plane,
            rps: rounded(now.rate()),
            p50_ms: sum.growth.quantile_ms(0.5).map(rounded),
            p99_ms: sum.growth.quantile_ms(0.99).map(rounded),
            errors_per_s: rounded(now.per_second(now.growth.error)),
            in_flight: total_of(front().map(|service| service.in_flight)),
            waiting: total_of(front().map(|service| service.waiting)),
            limit: total_of(front().map(|service| service.limit)),
            shed_total: own().map(|service| service.shed_total).sum(),
            retried_total: own().map(|service| service.retried_total).sum(),
            // A degraded answer passes through every service above the one that gave it: it is counted once.
            degraded_total: own().map(|service| service.degraded_total).fold(0.0, f64::max),
            breakers,
            services,
        }
    }

    /// The breakers of these roles' instances, by what `of` says of their names; of several instances the worst of each
    /// name counts.
    fn breaker_counts(&self, roles: &[&str], of: impl Fn(&str) -> bool) -> BreakerCounts {
        let mut counts = BreakerCounts::default();
        for role in roles {
            let hosts: Vec<&Host> = self.hosts.iter().filter(|host| host.role == *role).collect();
            for breaker in self.breakers(&hosts).iter().filter(|breaker| of(&breaker.name)) {
                let count = match severity(&breaker.state) {
                    0 => &mut counts.closed,
                    1 => &mut counts.half_open,
                    _ => &mut counts.open,
                };
                *count = count.saturating_add(1);
            }
        }
        counts
    }

    fn sum(&self, services: &[&str], over: Duration) -> Recent {
        let mut sum = Recent::default();
        for host in self.hosts {
            for service in services {
                let recent = self.history.recent(&host.instance, service, over, self.now);
                sum.growth.add(&recent.growth);
                sum.seconds = sum.seconds.max(recent.seconds);
            }
        }
        sum
    }

    fn service(&self, service: &'static str, role: &str) -> ServiceStatus {
        let (now, sum) = (self.sum(&[service], RATES), self.sum(&[service], WINDOW));
        let hosts: Vec<&Host> = self.hosts.iter().filter(|host| host.role == role).collect();
        let mut total = Figures::default();
        // Of a part of the state plane, its callers count as well.
        for host in self.hosts {
            total.add(&self.history.total(&host.instance, service));
        }
        let instances: Vec<_> = hosts.iter().map(|host| self.instance(host, service)).collect();
        let cached = sum.growth.cache_hits + sum.growth.cache_misses;
        ServiceStatus {
            service,
            rps: rounded(now.rate()),
            p50_ms: sum.growth.quantile_ms(0.5).map(rounded),
            p99_ms: sum.growth.quantile_ms(0.99).map(rounded),
            error_ratio: ratio(now.growth.error, now.growth.requests()).unwrap_or(0.0),
            in_flight: total_of(instances.iter().map(|instance| instance.in_flight)),
            waiting: self.of_all(service, |reading| &reading.waiting),
            limit: self.of_all(service, |reading| &reading.limit),
            shed_total: total.shed + total.turned_away,
            retried_total: total.retried,
            degraded_total: total.degraded,
            cache_hit_ratio: ratio(sum.growth.cache_hits, cached),
            // Those of the control plane are of its own scrapes: no request meets them.
            breakers: if role == "control" { Vec::new() } else { self.breakers(&hosts) },
            instances,
        }
    }

    fn limit(&self, host: &Host, service: &str) -> Option<f64> {
        self.history.latest(&host.instance, self.now)?.limit.get(service).copied()
    }

    /// What all hosts say of a service together: those before a part of the state plane are told by its callers.
    fn of_all(&self, service: &str, figures: impl Fn(&Reading) -> &BTreeMap<String, f64>) -> Option<f64> {
        let latest = self.hosts.iter().filter_map(|host| self.history.latest(&host.instance, self.now));
        total_of(latest.map(|reading| figures(reading).get(service).copied()))
    }

    fn instance(&self, host: &Host, service: &str) -> InstanceStatus {
        let recent = |over| self.history.recent(&host.instance, service, over, self.now);
        let latest = self.history.latest(&host.instance, self.now);
        InstanceStatus {
            instance: host.instance.clone(),
            pid: host.pid,
            url: host.url.clone(),
            health: host.health,
            rps: rounded(recent(RATES).rate()),
            p99_ms: recent(WINDOW).growth.quantile_ms(0.99).map(rounded),
            in_flight: latest.and_then(|reading| reading.in_flight.get(service)).copied(),
            limit: self.limit(host, service),
            restarts: host.restarts,
            age_s: self.history.age(&host.instance, self.now).map(|age| rounded(age.as_secs_f64())),
        }
    }

    /// One line per name: the worst of the instances' breakers of that name.
    fn breakers(&self, hosts: &[&Host]) -> Vec<BreakerStatus> {
        let mut worst: BTreeMap<&str, BreakerStatus> = BTreeMap::new();
        for reading in hosts.iter().filter_map(|host| self.history.latest(&host.instance, self.now)) {
            for (name, breaker) in &reading.breakers {
                let status = worst.entry(name).or_insert_with(|| BreakerStatus {
                    name: name.clone(),
                    state: breaker.state.clone(),
                    failure_ratio: None,
                });
                if severity(&breaker.state) > severity(&status.state) {
                    status.state.clone_from(&breaker.state);
                }
                let ratios = [status.failure_ratio, breaker.failure_ratio.map(rounded)];
                status.failure_ratio = ratios.into_iter().flatten().reduce(f64::max);
            }
        }
        worst.into_values().collect()
    }

    /// The arrows between the boxes.
    pub(crate) fn links(&self) -> Vec<LinkStatus> {
        LINKS.into_iter().map(|(from, to)| self.link(from, to)).collect()
    }

    fn link(&self, from: &'static str, to: &'static str) -> LinkStatus {
        let sum = self.sum(&[from], RATES);
        let (counted, seconds) = (sum.growth.upstream.get(to).copied(), sum.seconds);
        // Only one calls these, so what they count is what the arrow carries.
        let only_caller = matches!((from, to), ("load", "edge") | ("edge", "gateway") | ("gateway", "recommendation"));
        let calls = counted.map(|(all, failed)| (all, failed, seconds)).or_else(|| {
            let callee = self.sum(&[to], RATES);
            only_caller.then(|| (callee.growth.requests(), callee.growth.error, callee.seconds))
        });
        let callers: Vec<&Host> = self.hosts.iter().filter(|host| host.role == from).collect();
        let belongs = |name: &str| name == to || name.strip_prefix(to).is_some_and(|rest| rest.starts_with('/'));
        let breakers = self.breakers(&callers).into_iter().filter(|breaker| belongs(&breaker.name));
        LinkStatus {
            from,
            to,
            rps: calls.map(|(all, _, seconds)| rounded(if seconds > 0.0 { all / seconds } else { 0.0 })),
            error_ratio: calls.map(|(all, failed, _)| ratio(failed, all).unwrap_or(0.0)),
            breaker: breakers.map(|breaker| breaker.state).max_by_key(|state| severity(state)),
        }
    }
}

fn severity(state: &str) -> u8 {
    match state {
        "closed" => 0,
        "open" => 2,
        _ => 1,
    }
}

fn total_of(figures: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    figures.flatten().reduce(|sum, figure| sum + figure)
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| rounded(part / whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(instance: &str, role: &'static str) -> Host {
        Host { instance: instance.to_owned(), role, pid: Some(1), url: None, health: "pass", restarts: 0 }
    }

    fn gateway(requests: u32, state: &str) -> Reading {
        let text = format!(
            "four_plane_requests_total{{service=\"gateway\",outcome=\"ok\"}} {requests}\n\
             four_plane_upstream_requests_total{{service=\"gateway\",upstream=\"catalog\",outcome=\"error\"}} {requests}\n\
             four_plane_in_flight{{service=\"gateway\"}} 2\n\
             seawall_circuit_breaker_state{{name=\"catalog\",state=\"{state}\"}} 1\n"
        );
        Reading::parse(&text, "gateway").unwrap()
    }

    #[test]
    fn a_service_is_the_sum_of_its_instances_with_the_worst_breaker() {
        let mut history = History::default();
        for (instance, state) in [("gateway/1", "closed"), ("gateway/2", "open")] {
            history.add(instance, 1, Duration::from_secs(1), gateway(0, state));
            history.add(instance, 1, Duration::from_secs(3), gateway(100, state));
        }
        let hosts = [host("gateway/1", "gateway"), host("gateway/2", "gateway")];

        let view = View { history: &history, hosts: &hosts, now: Duration::from_millis(3_500) };
        let service = view.service("gateway", "gateway");
        let link = view.link("gateway", "catalog");

        assert_eq!((service.rps, service.in_flight), (100.0, Some(4.0)));
        assert_eq!(service.instances[0].age_s, Some(0.5));
        assert_eq!(service.breakers[0].state, "open");
        assert_eq!((link.rps, link.error_ratio, link.breaker.as_deref()), (Some(100.0), Some(1.0), Some("open")));
    }

    #[test]
    fn the_state_plane_shows_what_its_callers_hold_before_it() {
        let mut history = History::default();
        for (instance, state) in [("catalog/1", "closed"), ("recommendation/1", "open")] {
            let (role, _) = instance.split_once('/').unwrap();
            let text = format!(
                "seawall_bulkhead_limit{{name=\"database\"}} 30\n\
                 seawall_bulkhead_rejections_total{{name=\"database\"}} 2\n\
                 seawall_pool_repeated_total{{name=\"cache\"}} 3\n\
                 seawall_pool_waiters{{name=\"database\"}} 4\n\
                 seawall_circuit_breaker_state{{name=\"database\",state=\"{state}\"}} 1\n\
                 seawall_circuit_breaker_state{{name=\"catalog\",state=\"half_open\"}} 1\n"
            );
            history.add(instance, 1, Duration::from_secs(1), Reading::parse(&text, role).unwrap());
        }
        let mut part = |name: &str| {
            let text = format!("four_plane_in_flight{{service=\"{name}\"}} 1\n");
            history.add("state/1", 1, Duration::from_secs(1), Reading::parse(&text, "state").unwrap());
        };
        part("database");
        let hosts =
            [host("catalog/1", "catalog"), host("recommendation/1", "recommendation"), host("state/1", "state")];

        let view = View { history: &history, hosts: &hosts, now: Duration::from_secs(1) };
        let [_, service, state, _] = <[PlaneStatus; 4]>::try_from(view.planes()).unwrap();

        assert_eq!((state.in_flight, state.waiting, state.limit), (Some(1.0), Some(8.0), Some(60.0)));
        assert_eq!((state.shed_total, state.retried_total), (4.0, 6.0));
        assert_eq!(state.breakers, BreakerCounts { closed: 1, half_open: 0, open: 1 });
        assert_eq!(service.breakers, BreakerCounts { closed: 0, half_open: 2, open: 0 });
        assert_eq!(state.services[0].breakers.len(), 0);
    }

    #[test]
    fn figures_that_nobody_counts_are_null() {
        let hosts = [host("edge/1", "edge")];
        let history = History::default();

        let view = View { history: &history, hosts: &hosts, now: Duration::from_secs(3) };
        let service = view.service("edge", "edge");

        assert_eq!((service.p99_ms, service.in_flight, service.waiting), (None, None, None));
        assert_eq!(service.cache_hit_ratio, None);
        assert_eq!(view.link("catalog", "cache").rps, None);
        assert_eq!(
            view.planes().iter().map(|plane| plane.plane).collect::<Vec<_>>(),
            ["edge", "service", "state", "control"]
        );
    }
}

//! A stack of our own on free ports, and what its control plane says of it.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use serde_json::json;

use super::web::{Answer, Stopwatch, Web};
use crate::{run::Ready, trial};

/// How often a condition is looked at while waiting for it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// `GET /control/status`, as far as it is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) state: State,
    pub(super) load: Load,
    pub(super) planes: Vec<Plane>,
    pub(super) links: Vec<Link>,
    pub(super) faults: Vec<ActiveFault>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ActiveFault {
    pub(super) id: u64,
}

/// What the state plane's parts are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) database: String,
    pub(super) cache: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Load {
    pub(super) sent: u64,
    pub(super) ok: u64,
    pub(super) degraded: u64,
    pub(super) shed: u64,
    pub(super) failed: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Plane {
    pub(super) plane: String,
    pub(super) services: Vec<Service>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    #[serde(rename = "service")]
    pub(super) name: String,
    pub(super) rps: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) error_ratio: Option<f64>,
    pub(super) in_flight: Option<f64>,
    pub(super) limit: Option<f64>,
    pub(super) shed_total: Option<f64>,
    pub(super) cache_hit_ratio: Option<f64>,
    pub(super) breakers: Vec<Breaker>,
    pub(super) instances: Vec<InstanceStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Breaker {
    pub(super) name: String,
    pub(super) state: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct InstanceStatus {
    pub(super) instance: String,
    pub(super) pid: Option<u32>,
    pub(super) url: Option<String>,
    pub(super) health: String,
    pub(super) rps: Option<f64>,
    pub(super) age_s: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) rps: Option<f64>,
}

impl Status {
    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        self.planes.iter().flat_map(|plane| &plane.services).find(|service| service.name == name)
    }

    pub(super) fn instance(&self, name: &str) -> Option<&InstanceStatus> {
        let (service, _) = name.split_once('/')?;
        self.service(service)?.instances.iter().find(|instance| instance.instance == name)
    }

    /// Requests per second from one to the other; nothing where they are not counted.
    pub(super) fn flow(&self, from: &str, to: &str) -> Option<f64> {
        self.links.iter().find(|link| link.from == from && link.to == to)?.rps
    }

    pub(super) fn breakers(&self) -> impl Iterator<Item = &Breaker> {
        self.planes.iter().flat_map(|plane| &plane.services).flat_map(|service| &service.breakers)
    }
}

/// A running stack; dropping it kills the parent, and with it every instance.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) web: Web,
    trial: trial::Stack,
}

impl Stack {
    /// Starts `program run` under a built-in load, with the real servers that are installed, and waits until everything
    /// answers.
    pub(super) async fn start(program: &Path, requests_per_second: u32) -> anyhow::Result<Self> {
        let load = requests_per_second.to_string();
        let trial = trial::Stack::start(program, &["--state", "auto", "--load", &load]).await?;
        Ok(Self { web: Web::new(), trial })
    }

    pub(super) const fn ready(&self) -> &Ready {
        self.trial.ready()
    }

    /// Asks the edge.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.web.get(&format!("{}{path}", self.ready().edge)).await
    }

    pub(super) async fn status(&self) -> anyhow::Result<Status> {
        Ok(serde_json::from_value(self.trial.status().await?)?)
    }

    /// Starts a fault and returns its id, for [`Self::heal`].
    pub(super) async fn fault(&self, kind: &str, target: &str, value: f64, seconds: u64) -> anyhow::Result<u64> {
        self.trial.inject(&json!({"kind": kind, "target": target, "value": value, "seconds": seconds})).await
    }

    /// Ends a fault before its time.
    pub(super) async fn heal(&self, fault: u64) -> anyhow::Result<()> {
        self.trial.end_fault(fault).await
    }

    /// Ends whatever faults are active: a measurement that was cut off has left its own behind.
    pub(super) async fn heal_all(&self) -> anyhow::Result<()> {
        for fault in self.status().await?.faults {
            // One that has ended by itself in the meantime needs no ending.
            let _ended = self.heal(fault.id).await;
        }
        Ok(())
    }

    /// Polls the control plane until `condition` holds and returns what it said then; nothing when it never did.
    pub(super) async fn until(
        &self,
        within: Duration,
        condition: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Option<Status>> {
        let watch = Stopwatch::start();
        while watch.elapsed() < within {
            let status = self.status().await?;
            if condition(&status) {
                return Ok(Some(status));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(None)
    }

    /// Drains it and waits for its end.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.trial.stop().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_with_unknown_and_missing_fields_is_read_as_far_as_it_is_known() {
        let status: Status = serde_json::from_value(json!({
            "uptime_s": 4,
            "planes": [{"plane": "service", "p50_ms": 1, "services": [{
                "service": "catalog", "rps": 30, "p99_ms": null,
                "breakers": [{"name": "database", "state": "open", "failure_ratio": 0.7}],
                "instances": [{"instance": "catalog/1", "pid": 7, "health": "pass", "limit": null}],
            }]}],
            "links": [{"from": "gateway", "to": "catalog", "rps": 30.5, "breaker": "closed"}],
        }))
        .unwrap();

        assert_eq!(status.service("catalog").unwrap().rps, Some(30.0));
        assert_eq!(status.instance("catalog/1").unwrap().pid, Some(7));
        assert!(status.instance("catalog/2").is_none());
        assert_eq!(status.flow("gateway", "catalog"), Some(30.5));
        assert_eq!(status.flow("edge", "gateway"), None);
        assert_eq!(status.breakers().next().unwrap().state, "open");
    }
}

//! The status document: the page's only source.

use std::time::Duration;

use serde::Serialize;

use super::events::Event;
use super::faults::ActiveFault;
use crate::link::FaultKind;
use crate::load::LoadTotals;

/// `GET /control/status`.
#[derive(Serialize, Debug, Clone)]
pub(crate) struct Status {
    pub(crate) now_ms: u64,
    pub(crate) uptime_s: f64,
    pub(crate) edge: String,
    /// Requests per second that all edge processes declare together.
    pub(crate) edge_capacity_rps: f64,
    pub(crate) state: Parts,
    pub(crate) load: LoadStatus,
    pub(crate) planes: Vec<PlaneStatus>,
    pub(crate) links: Vec<LinkStatus>,
    pub(crate) faults: Vec<FaultStatus>,
    pub(crate) events: Vec<Event>,
}

#[derive(Serialize, Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) database: String,
    pub(crate) cache: String,
}

#[derive(Serialize, Debug, Clone)]
pub(crate) struct LoadStatus {
    pub(crate) target_rps: f64,
    #[serde(flatten)]
    pub(crate) totals: LoadTotals,
}

#[derive(Serialize, Debug, Clone)]
pub(crate) struct PlaneStatus {
    pub(crate) plane: &'static str,
    pub(crate) rps: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) errors_per_s: f64,
    /// Of what answers for the plane, without those that wait for their turn.
    pub(crate) in_flight: Option<f64>,
    /// Those.
    pub(crate) waiting: Option<f64>,
    /// How many at once may be.
    pub(crate) limit: Option<f64>,
    /// Refused for lack of room, since the stack began.
    pub(crate) shed_total: f64,
    /// Attempts after the first.
    pub(crate) retried_total: f64,
    /// Answers by fallbacks.
    pub(crate) degraded_total: f64,
    pub(crate) breakers: BreakerCounts,
    pub(crate) services: Vec<ServiceStatus>,
}

/// How many of a plane's circuit breakers are in each state. Those before the state plane are its own and its callers'.
#[derive(Serialize, Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BreakerCounts {
    pub(crate) closed: usize,
    pub(crate) half_open: usize,
    pub(crate) open: usize,
}

#[derive(Serialize, Debug, Clone)]
pub(crate) struct ServiceStatus {
    pub(crate) service: &'static str,
    pub(crate) rps: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) error_ratio: f64,
    pub(crate) in_flight: Option<f64>,
    pub(crate) waiting: Option<f64>,
    pub(crate) limit: Option<f64>,
    pub(crate) shed_total: f64,
    pub(crate) retried_total: f64,
    pub(crate) degraded_total: f64,
    pub(crate) cache_hit_ratio: Option<f64>,
    pub(crate) breakers: Vec<BreakerStatus>,
    pub(crate) instances: Vec<InstanceStatus>,
}

#[derive(Serialize, Debug, Clone)]
pub(crate) struct BreakerStatus {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) failure_ratio: Option<f64>,
}

#[derive(Serialize, Debug, Clone)]
pub(crate) struct InstanceStatus {
    pub(crate) instance: String,
    pub(crate) pid: Option<u32>,
    pub(crate) url: Option<String>,
    pub(crate) health: &'static str,
    pub(crate) rps: f64,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) in_flight: Option<f64>,
    pub(crate) limit: Option<f64>,
    pub(crate) restarts: u32,
    /// Since its figures were read.
    pub(crate) age_s: Option<f64>,
}

#[derive(Serialize, Debug, Clone)]
pub(crate) struct LinkStatus {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) rps: Option<f64>,
    pub(crate) error_ratio: Option<f64>,
    pub(crate) breaker: Option<String>,
}

#[derive(Serialize, Debug, Clone)]
pub(crate) struct FaultStatus {
    pub(crate) id: u64,
    pub(crate) kind: FaultKind,
    pub(crate) target: String,
    pub(crate) value: f64,
    pub(crate) remaining_s: f64,
}

impl FaultStatus {
    pub(crate) fn new(active: &ActiveFault, now: Duration) -> Self {
        Self {
            id: active.fault.id,
            kind: active.fault.kind,
            target: active.fault.target.clone(),
            value: active.fault.value,
            remaining_s: rounded(active.until.saturating_sub(now).as_secs_f64()),
        }
    }
}

/// Three decimals: more is noise in a document that people read.
pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

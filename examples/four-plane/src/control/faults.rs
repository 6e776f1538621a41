//! Which faults can be asked for, and which are active.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::link::{Fault, FaultKind, Role};
use crate::supervisor::Plan;

/// How long a fault lasts when nothing is said.
const USUAL_SECONDS: f64 = 30.0;
/// The longest that a fault may last: a forgotten one ends by itself.
const MOST_SECONDS: f64 = 600.0;
/// How long a flush is told of, which is done once.
const FLUSH: Duration = Duration::from_secs(1);
/// The longest latency, in milliseconds.
const MOST_LATENCY: f64 = 60_000.0;
/// The most bytes per second that are a trickle.
const MOST_TRICKLE: f64 = 1_000_000.0;
/// The most multiples of the declared capacity that a burst may be.
const MOST_OVERLOAD: f64 = 20.0;

const KINDS: &str = "kill, latency, error, hang, refuse, trickle, flush, overload";
const INSTANCES: &str = "edge, gateway, catalog, recommendation, state, or one instance such as catalog/1";
const TARGETS: &str =
    "database, cache, edge, gateway, catalog, recommendation, state, or one instance such as catalog/1";
const OVERLOAD_TARGETS: &str = "edge";
const FLUSH_TARGETS: &str = "cache";

/// A field of a request that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; allowed is {allowed}")]
#[non_exhaustive]
pub struct FaultError {
    /// The field.
    pub field: String,
    /// What it holds, as JSON.
    pub value: String,
    /// What it may hold.
    pub allowed: &'static str,
}

/// A request that can be carried out.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FaultRequest {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Where.
    pub target: String,
    /// Milliseconds, share, bytes per second or multiple; 0 where the kind has none.
    pub value: f64,
    /// How long; a kill has no duration.
    pub duration: Duration,
}

impl FaultRequest {
    /// Reads the body of `POST /control/faults`.
    ///
    /// # Errors
    /// [`FaultError`] for the first field that is missing, unknown or out of range.
    pub fn read(body: &[u8]) -> Result<Self, FaultError> {
        let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| FaultError {
            field: "body".to_owned(),
            value: format!("not a JSON object ({error})"),
            allowed: "{\"kind\": …, \"target\": …, \"value\": …, \"seconds\": …}",
        })?;
        let known = ["kind", "target", "value", "seconds"];
        if let Some((field, value)) = fields.iter().find(|(field, _)| !known.contains(&field.as_str())) {
            return Err(wrong(field, Some(value), "one of kind, target, value, seconds"));
        }
        let kind = fields.get("kind");
        let kind = FaultKind::ALL
            .into_iter()
            .find(|known| kind.and_then(Value::as_str) == Some(known.name()))
            .ok_or_else(|| wrong("kind", kind, KINDS))?;
        let target = target(kind, fields.get("target"))?;
        let value = fields.get("value").filter(|value| !value.is_null());
        let value = match kind {
            FaultKind::Kill | FaultKind::Hang | FaultKind::Refuse | FaultKind::Flush => nothing(kind, value)?,
            FaultKind::Latency => number("value", value, 1.0..=MOST_LATENCY, "1 to 60000 (milliseconds)")?,
            FaultKind::Error => number("value", value, 0.001..=1.0, "0.001 to 1 (share of the calls)")?,
            FaultKind::Trickle => number("value", value, 1.0..=MOST_TRICKLE, "1 to 1000000 (bytes per second)")?,
            FaultKind::Overload => {
                number("value", value, 0.1..=MOST_OVERLOAD, "0.1 to 20 (multiples of the capacity)")?
            }
        };
        let seconds = match fields.get("seconds").filter(|seconds| !seconds.is_null()) {
            None => USUAL_SECONDS,
            seconds => number("seconds", seconds, 0.1..=MOST_SECONDS, "0.1 to 600")?,
        };
        let duration = if kind == FaultKind::Flush { FLUSH } else { Duration::from_secs_f64(seconds) };
        Ok(Self { kind, target, value, duration })
    }
}

/// A kind without a value: none, or the 0 that the lists of faults show for it.
fn nothing(kind: FaultKind, value: Option<&Value>) -> Result<f64, FaultError> {
    let allowed = match kind {
        FaultKind::Kill => "none, or 0: a kill has no value",
        FaultKind::Hang => "none, or 0: a hang has no value",
        FaultKind::Flush => "none, or 0: a flush has no value",
        _ => "none, or 0: a refusal has no value",
    };
    value.map_or(Ok(0.0), |given| number("value", Some(given), 0.0..=0.0, allowed))
}

fn target(kind: FaultKind, value: Option<&Value>) -> Result<String, FaultError> {
    let allowed = match kind {
        FaultKind::Kill => INSTANCES,
        FaultKind::Overload => OVERLOAD_TARGETS,
        FaultKind::Flush => FLUSH_TARGETS,
        _ => TARGETS,
    };
    let text = value.and_then(Value::as_str).unwrap_or_default();
    let valid = match (kind, text) {
        (FaultKind::Overload, text) => text == Role::Edge.name(),
        (FaultKind::Flush, text) => text == "cache",
        (kind, "database" | "cache") => kind != FaultKind::Kill,
        (_, text) => is_instance(text),
    };
    if valid { Ok(text.to_owned()) } else { Err(wrong("target", value, allowed)) }
}

/// A role, or a role and the number of one of its instances.
fn is_instance(text: &str) -> bool {
    let (role, number) = text.split_once('/').map_or((text, None), |(role, number)| (role, Some(number)));
    role.parse::<Role>().is_ok_and(|role| {
        number.is_none_or(|digits| digits.parse().is_ok_and(|number| (1..=Plan::count(role)).contains(&number)))
    })
}

fn number(
    field: &str,
    value: Option<&Value>,
    range: std::ops::RangeInclusive<f64>,
    allowed: &'static str,
) -> Result<f64, FaultError> {
    value.and_then(Value::as_f64).filter(|number| range.contains(number)).ok_or_else(|| wrong(field, value, allowed))
}

fn wrong(field: &str, value: Option<&Value>, allowed: &'static str) -> FaultError {
    let value = value.map_or_else(|| "missing".to_owned(), ToString::to_string);
    FaultError { field: field.to_owned(), value, allowed }
}

/// An active fault and when it ends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ActiveFault {
    /// What every instance that it concerns is told.
    pub fault: Fault,
    /// On the parent's clock.
    pub until: Duration,
}

/// The active faults. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    active: Arc<watch::Sender<Registry>>,
}

#[derive(Debug, Default)]
struct Registry {
    last_id: u64,
    active: Vec<ActiveFault>,
}

impl Faults {
    /// None active.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault, unless it is a kill, which is over at once; returns its id.
    pub fn add(&self, request: &FaultRequest, now: Duration) -> u64 {
        let mut id = 0;
        self.active.send_modify(|registry| {
            registry.last_id = registry.last_id.saturating_add(1);
            id = registry.last_id;
            if request.kind != FaultKind::Kill {
                let fault = Fault { id, kind: request.kind, target: request.target.clone(), value: request.value };
                registry.active.push(ActiveFault { fault, until: now.saturating_add(request.duration) });
            }
        });
        id
    }

    /// Ends a fault; `None` when no such fault is active.
    pub fn remove(&self, id: u64) -> Option<Fault> {
        let mut removed = None;
        self.active.send_if_modified(|registry| {
            let index = registry.active.iter().position(|active| active.fault.id == id);
            removed = index.map(|index| registry.active.remove(index).fault);
            removed.is_some()
        });
        removed
    }

    /// Ends what has lasted long enough, and returns it.
    pub fn expire(&self, now: Duration) -> Vec<Fault> {
        let mut over = Vec::new();
        self.active.send_if_modified(|registry| {
            over = registry.active.extract_if(.., |active| active.until <= now).map(|active| active.fault).collect();
            !over.is_empty()
        });
        over
    }

    /// Those that are active.
    pub fn active(&self) -> Vec<ActiveFault> {
        self.active.borrow().active.clone()
    }

    /// Resolves after every change.
    pub fn changes(&self) -> impl Future<Output = ()> + use<> {
        let mut changes = self.active.subscribe();
        changes.mark_unchanged();
        async move {
            let _gone = changes.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        FaultRequest::read(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_request_needs_only_what_its_kind_uses() {
        let kill = FaultRequest::read(br#"{"kind": "kill", "target": "catalog/1"}"#).unwrap();
        let latency =
            FaultRequest::read(br#"{"kind": "latency", "target": "database", "value": 500, "seconds": 5}"#).unwrap();

        let refused = FaultRequest::read(br#"{"kind": "refuse", "target": "cache", "value": 0}"#).unwrap();

        assert_eq!((kill.kind, kill.target.as_str()), (FaultKind::Kill, "catalog/1"));
        assert_eq!((refused.kind, refused.value), (FaultKind::Refuse, 0.0));
        assert_eq!((latency.value, latency.duration), (500.0, Duration::from_secs(5)));
    }

    #[test]
    fn each_wrong_field_is_named_with_value_and_what_is_allowed() {
        for (body, expected) in [
            ("{}", "kind is missing; allowed is kill, latency, error, hang, refuse, trickle, flush, overload"),
            (
                r#"{"kind": "burn"}"#,
                "kind is \"burn\"; allowed is kill, latency, error, hang, refuse, trickle, flush, overload",
            ),
            (r#"{"kind": "kill", "target": "database"}"#, &format!("target is \"database\"; allowed is {INSTANCES}")),
            (r#"{"kind": "kill", "target": "catalog/4"}"#, &format!("target is \"catalog/4\"; allowed is {INSTANCES}")),
            (r#"{"kind": "hang", "target": 7}"#, &format!("target is 7; allowed is {TARGETS}")),
            (r#"{"kind": "hang"}"#, &format!("target is missing; allowed is {TARGETS}")),
            (r#"{"kind": "flush", "target": "database"}"#, "target is \"database\"; allowed is cache"),
            (r#"{"kind": "overload", "target": "gateway", "value": 5}"#, "target is \"gateway\"; allowed is edge"),
            (r#"{"kind": "latency", "target": "cache"}"#, "value is missing; allowed is 1 to 60000 (milliseconds)"),
            (
                r#"{"kind": "latency", "target": "cache", "value": "x"}"#,
                "value is \"x\"; allowed is 1 to 60000 (milliseconds)",
            ),
            (
                r#"{"kind": "error", "target": "cache", "value": 1.5}"#,
                "value is 1.5; allowed is 0.001 to 1 (share of the calls)",
            ),
            (
                r#"{"kind": "trickle", "target": "cache", "value": 0}"#,
                "value is 0; allowed is 1 to 1000000 (bytes per second)",
            ),
            (
                r#"{"kind": "kill", "target": "catalog/1", "value": 5}"#,
                "value is 5; allowed is none, or 0: a kill has no value",
            ),
            (
                r#"{"kind": "hang", "target": "cache", "value": "long"}"#,
                "value is \"long\"; allowed is none, or 0: a hang has no value",
            ),
            (r#"{"kind": "hang", "target": "cache", "seconds": 0}"#, "seconds is 0; allowed is 0.1 to 600"),
            (
                r#"{"kind": "hang", "target": "cache", "secs": 1}"#,
                "secs is 1; allowed is one of kind, target, value, seconds",
            ),
        ] {
            assert_eq!(message(body), expected);
        }
        assert!(message("[1]").starts_with("body is not a JSON object"), "{}", message("[1]"));
    }

    #[test]
    fn a_flush_is_told_of_for_a_second_however_long_it_is_asked_for() {
        let flush = FaultRequest::read(br#"{"kind": "flush", "target": "cache", "seconds": 60}"#).unwrap();

        assert_eq!((flush.kind, flush.duration), (FaultKind::Flush, Duration::from_secs(1)));
    }

    #[test]
    fn a_fault_ends_when_its_time_is_over_or_when_it_is_removed() {
        let faults = Faults::new();
        let request = FaultRequest::read(br#"{"kind": "hang", "target": "cache", "seconds": 2}"#).unwrap();
        let first = faults.add(&request, Duration::from_secs(10));
        let second = faults.add(&request, Duration::from_secs(11));

        assert_eq!(faults.expire(Duration::from_millis(11_999)), []);
        assert_eq!(faults.expire(Duration::from_secs(12)).iter().map(|fault| fault.id).collect::<Vec<_>>(), [first]);
        assert_eq!(faults.remove(second).map(|fault| fault.id), Some(second));
        assert_eq!(faults.remove(second), None);
        assert!(faults.active().is_empty());
    }
}

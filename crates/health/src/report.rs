use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{CheckKind, Phase, RecoveryAction, Status};

/// All checks at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HealthReport {
    /// Where the process is in its life.
    pub phase: Phase,
    /// The whole in one word: the worst of those checks that decide, fail in every phase but [`Phase::Ready`]. Checks of
    /// kind [`CheckKind::Info`] make it warn at most.
    pub status: Status,
    /// The checks, in the order in which they were registered.
    pub checks: Vec<CheckReport>,
    pub(crate) service: Service,
}

/// One check at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: CheckKind,
    /// What is to be done when it fails.
    pub action: Option<RecoveryAction>,
    /// How it stands by its thresholds.
    pub status: Status,
    /// Whether it fails because its runs do not end.
    pub stuck: bool,
    /// What the last run said.
    pub output: Option<String>,
    /// What the last run measured, and its unit.
    pub value: Option<(f64, &'static str)>,
    /// How long ago a run was completed.
    pub age: Option<Duration>,
    /// Failures in a row, up to the last run.
    pub failures_in_a_row: u32,
    /// Runs completed.
    pub runs: u64,
    /// Runs that failed.
    pub failures: u64,
    /// Changes of status.
    pub changes: u64,
}

/// What the service is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) id: Option<String>,
    pub(crate) version: Option<String>,
}

/// An answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status: 200 or 503.
    pub status: u16,
    /// The body, of the type [`Answer::CONTENT_TYPE`]. Not to be cached.
    pub body: String,
}

impl Answer {
    /// The media type of the body.
    pub const CONTENT_TYPE: &'static str = "application/health+json";
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    notes: [&'static str; 1],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<&'a str, [Detail<'a>; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    status: &'static str,
    component_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_unit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    /// Beyond the draft, which allows more keys: what the check is for, and how long ago it ran.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<f64>,
}

impl HealthReport {
    /// Whether the process is to be left running: no liveness check fails. One that is starting is not judged.
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Starting
            || (self.phase != Phase::Stopped && self.of(CheckKind::Liveness).all(|check| check.status != Status::Fail))
    }

    /// Whether the process is to be sent work: it is in [`Phase::Ready`] and each readiness check passes or warns.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready && self.of(CheckKind::Readiness).all(|check| check.status.is_up())
    }

    /// Whether the startup checks have all passed once.
    pub fn is_started(&self) -> bool {
        self.phase != Phase::Starting
    }

    /// The whole as an `application/health+json` document.
    ///
    /// # Source
    /// draft-inadarei-api-health-check-06.
    pub fn answer(&self) -> Answer {
        self.render(self.status, |_| true)
    }

    /// The answer of a liveness probe, which shows the liveness checks.
    pub fn live_answer(&self) -> Answer {
        self.render(as_status(self.is_live()), |kind| kind == CheckKind::Liveness)
    }

    /// The answer of a readiness probe, which shows the readiness checks.
    pub fn ready_answer(&self) -> Answer {
        self.render(as_status(self.is_ready()), |kind| kind == CheckKind::Readiness)
    }

    /// The answer of a startup probe, which shows the startup checks.
    pub fn startup_answer(&self) -> Answer {
        self.render(as_status(self.is_started()), |kind| kind == CheckKind::Startup)
    }

    /// The status alone, without any check, for those who may know no more.
    pub fn summary_answer(&self) -> Answer {
        self.render(self.status, |_| false)
    }

    fn of(&self, kind: CheckKind) -> impl Iterator<Item = &CheckReport> {
        self.checks.iter().filter(move |check| check.kind == kind)
    }

    fn render(&self, status: Status, picks: impl Fn(CheckKind) -> bool) -> Answer {
        let shown = || self.checks.iter().filter(|check| picks(check.kind));
        let failing: Vec<&str> = shown().filter(|check| !check.status.is_up()).map(|it| it.name.as_str()).collect();
        let output = match (status.is_up(), self.phase) {
            (true, _) => None,
            (false, Phase::Ready) if failing.is_empty() => None,
            (false, Phase::Ready) => Some(format!("failing: {}", failing.join(", "))),
            (false, phase) => Some(phase.as_str().to_owned()),
        };
        let document = Document {
            status: status.as_str(),
            version: self.service.version.as_deref(),
            service_id: self.service.id.as_deref(),
            output,
            notes: [self.phase.as_str()],
            checks: shown().map(|check| (check.name.as_str(), [check.detail()])).collect(),
        };
        // It has string keys and numbers that are finite only: serialization cannot fail.
        let body = serde_json::to_string(&document).unwrap_or_default();
        Answer { status: status.http_status(), body }
    }
}

impl CheckReport {
    fn detail(&self) -> Detail<'_> {
        let value = self.value.filter(|(value, _)| value.is_finite());
        Detail {
            status: self.status.as_str(),
            component_type: "component",
            observed_value: value.map(|(value, _)| value),
            observed_unit: value.map(|(_, unit)| unit),
            // What a check said that passes is no reason for anything: a failure too few, or one that is over.
            output: self.output.as_deref().filter(|_| self.status != Status::Pass),
            kind: self.kind.as_str(),
            age_seconds: self.age.map(|age| age.as_secs_f64()),
        }
    }
}

const fn as_status(good: bool) -> Status {
    if good { Status::Pass } else { Status::Fail }
}

use crate::{CheckKind, Status};

/// What is done about a check that fails, and undone once it passes again.
///
/// The registry does not do it: it tells those who asked with
/// [`Registry::on_recovery`](crate::Registry::on_recovery), once when the failure begins and once when it ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecoveryAction {
    /// Take the instance out of the load balancer's pool.
    RemoveFromPool,
    /// Open the circuit breaker before the dependency.
    OpenCircuit,
    /// Go past the cache.
    BypassCache,
    /// Tell somebody, and delete old logs.
    AlertAndCleanUp,
    /// Finish what is under way, then start anew.
    RestartGracefully,
}

impl RecoveryAction {
    /// The name as it stands in metrics and events: `remove_from_pool`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RemoveFromPool => "remove_from_pool",
            Self::OpenCircuit => "open_circuit",
            Self::BypassCache => "bypass_cache",
            Self::AlertAndCleanUp => "alert_and_clean_up",
            Self::RestartGracefully => "restart_gracefully",
        }
    }
}

/// Which end of a failure.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a failure has two ends")]
pub enum RecoveryEdge {
    /// The check has failed as often as it may.
    Begin,
    /// It has passed as often as it must.
    End,
}

/// A check went from one status to another.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusChange<'a> {
    /// The check.
    pub check: &'a str,
    /// What it is for.
    pub kind: CheckKind,
    /// What it was.
    pub from: Status,
    /// What it is.
    pub to: Status,
    /// What the check said.
    pub output: Option<&'a str>,
    /// What is to be done about it.
    pub action: Option<RecoveryAction>,
}

impl StatusChange<'_> {
    /// Which end of a failure this is, if any.
    pub fn edge(&self) -> Option<RecoveryEdge> {
        match (self.from, self.to) {
            (Status::Fail, Status::Pass | Status::Warn) => Some(RecoveryEdge::End),
            (from, Status::Fail) if from != Status::Fail => Some(RecoveryEdge::Begin),
            _ => None,
        }
    }
}

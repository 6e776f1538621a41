use std::{fmt, sync::Arc};

use seawall_core::{Clock, Env, Environment, Timestamp};

use crate::{CheckKind, HealthReport, Phase, Status, entry::Entry, phase::Life, registry::Listener, report::Service};

/// What the tasks and the handles share.
pub(crate) struct Inner<E> {
    pub(crate) env: E,
    pub(crate) entries: Vec<Entry>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) service: Service,
    pub(crate) life: Life,
}

impl<E: Environment> Inner<E> {
    pub(crate) fn now(&self) -> Timestamp {
        self.env.clock().now()
    }

    /// The process has started once each startup check has passed.
    pub(crate) fn advance_when_started(&self) {
        let mut startup = self.entries.iter().filter(|entry| entry.config.kind == CheckKind::Startup);
        if self.life.phase() == Phase::Starting && startup.all(Entry::has_passed) {
            self.life.advance(Phase::Ready);
        }
    }
}

/// The health of a process, for whoever asks. Clones are the same.
///
/// Asking runs no check: it reads what the runs in the background have found.
pub struct Health<E = Env> {
    inner: Arc<Inner<E>>,
}

impl<E: Environment> Health<E> {
    pub(crate) const fn new(inner: Arc<Inner<E>>) -> Self {
        Self { inner }
    }

    /// All checks at this moment.
    pub fn report(&self) -> HealthReport {
        let now = self.inner.now();
        let phase = self.inner.life.phase();
        let checks: Vec<_> = self.inner.entries.iter().map(|entry| entry.report(now)).collect();
        let worst = checks.iter().map(|check| match (check.kind, check.status) {
            // Shown and acted upon, but no reason to send no work.
            (CheckKind::Info, Status::Fail) => Status::Warn,
            // Not yet looked at is no reason to be started anew.
            (CheckKind::Info | CheckKind::Liveness | CheckKind::Startup, Status::Unknown) => Status::Pass,
            (_, status) => status,
        });
        let status = match phase {
            Phase::Ready => worst.max().unwrap_or(Status::Pass),
            Phase::Starting => Status::Unknown,
            Phase::Draining | Phase::Stopped => Status::Fail,
        };
        HealthReport { phase, status, checks, service: self.inner.service.clone() }
    }

    /// Where the process is in its life.
    pub fn phase(&self) -> Phase {
        self.inner.life.phase()
    }

    /// Takes no new work from here on: readiness fails, liveness does not. Says whether this call began it, so that of
    /// two signals one starts the shutdown.
    pub fn drain(&self) -> bool {
        self.inner.life.advance(Phase::Draining)
    }

    /// Serves nothing from here on; the checks end. Says whether this call began it.
    pub fn stop(&self) -> bool {
        self.inner.life.advance(Phase::Stopped)
    }
}

impl<E> Clone for Health<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Environment> fmt::Debug for Health<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("report", &self.report()).finish_non_exhaustive()
    }
}

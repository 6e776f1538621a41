use std::time::Duration;

use super::Observer;
use crate::{Outcome, Rejection};

/// Emits one `tracing` event at debug level per refused, cut, repeated or degraded call.
#[derive(Clone, Debug)]
pub struct TracingObserver {
    name: String,
}

impl TracingObserver {
    /// An observer whose events carry `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Observer for TracingObserver {
    fn on_reject(&self, rejection: &Rejection) {
        tracing::debug!(
            name = %self.name,
            pattern = rejection.pattern().as_str(),
            reason = rejection.reason().as_str(),
            retry_after = ?rejection.retry_after(),
            queued = rejection.queued(),
            "call refused"
        );
    }

    fn on_cut(&self, rejection: &Rejection) {
        tracing::debug!(
            name = %self.name,
            pattern = rejection.pattern().as_str(),
            reason = rejection.reason().as_str(),
            "call cut"
        );
    }

    fn on_retry(&self, attempts: u32, wait: Duration, outcome: Outcome) {
        tracing::debug!(name = %self.name, attempts, ?wait, outcome = outcome.as_str(), "call tried again");
    }

    fn on_give_up(&self, reason: &'static str) {
        tracing::debug!(name = %self.name, reason, "call not tried again");
    }

    fn on_degraded(&self, source: &'static str) {
        tracing::debug!(name = %self.name, source, "call answered by a fallback");
    }
}

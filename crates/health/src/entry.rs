use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{MutexGuard, PoisonError},
};

use seawall_core::Timestamp;

use crate::{CheckConfig, CheckReport, Judge, Observation, Status, StatusChange, check::AnyCheck, registry::Listener};

#[expect(
    clippy::disallowed_types,
    reason = "one per check, held for a few instructions by its runs and by who reads the report: no call waits for it"
)]
type Lock<T> = std::sync::Mutex<T>;

/// A check with its name, its rules, and what it found.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) config: CheckConfig,
    pub(crate) check: Box<dyn AnyCheck>,
    state: Lock<State>,
    /// What the listeners heard last. Held while they are told, so that they hear the changes of a check in order.
    announced: Lock<Status>,
}

#[derive(Debug)]
struct State {
    judge: Judge,
    last: Option<Observation>,
    /// Whether any run has passed, whatever the thresholds say.
    has_passed: bool,
    runs: u64,
    failures: u64,
    changes: u64,
}

fn lock<T>(mutex: &Lock<T>) -> MutexGuard<'_, T> {
    // The listeners' panics are caught, and nothing else in here panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    pub(crate) fn new(name: String, config: CheckConfig, check: Box<dyn AnyCheck>) -> Self {
        let judge = Judge::new(&config);
        let state = State { judge, last: None, has_passed: false, runs: 0, failures: 0, changes: 0 };
        Self { name, config, check, state: Lock::new(state), announced: Lock::new(Status::Unknown) }
    }

    /// Takes in a run that was completed at `now`.
    pub(crate) fn record(&self, observation: Observation, now: Timestamp, listeners: &[Listener]) {
        let mut state = lock(&self.state);
        if observation.is_conclusive() && !observation.status().is_up() {
            state.judge.record_conclusive_failure(now);
        } else {
            state.judge.record(observation.status(), now);
        }
        state.has_passed |= observation.status().is_up();
        state.runs = state.runs.saturating_add(1);
        state.failures = state.failures.saturating_add(u64::from(observation.status() == Status::Fail));
        state.last = Some(observation);
        drop(state);
        self.announce(listeners);
    }

    /// Notices that the check is stuck.
    pub(crate) fn look(&self, now: Timestamp, listeners: &[Listener]) {
        lock(&self.state).judge.look(now);
        self.announce(listeners);
    }

    pub(crate) fn has_passed(&self) -> bool {
        lock(&self.state).has_passed
    }

    pub(crate) fn report(&self, now: Timestamp) -> CheckReport {
        let state = lock(&self.state);
        let stuck = state.judge.is_stuck(now);
        let age = state.judge.completed().map(|completed| now.since(completed));
        let output = if stuck {
            Some(format!("stuck: no run was completed for {:?}", age.unwrap_or_default()))
        } else if state.runs == 0 {
            Some("has not run yet".to_owned())
        } else {
            state.last.as_ref().and_then(|last| last.output().map(str::to_owned))
        };
        CheckReport {
            name: self.name.clone(),
            kind: self.config.kind,
            action: self.config.action,
            status: state.judge.status(now),
            stuck,
            output,
            value: state.last.as_ref().and_then(Observation::value),
            age,
            failures_in_a_row: state.judge.failures_in_a_row(),
            runs: state.runs,
            failures: state.failures,
            changes: state.changes,
        }
    }

    /// Tells the listeners if the status is another than they heard last.
    fn announce(&self, listeners: &[Listener]) {
        let mut announced = lock(&self.announced);
        let mut state = lock(&self.state);
        let to = state.judge.standing();
        if to == *announced {
            return;
        }
        state.changes = state.changes.saturating_add(1);
        let output = state.last.as_ref().and_then(|last| last.output().map(str::to_owned));
        drop(state);
        let from = std::mem::replace(&mut *announced, to);
        let change = StatusChange {
            check: &self.name,
            kind: self.config.kind,
            from,
            to,
            output: output.as_deref(),
            action: self.config.action,
        };
        for listener in listeners {
            // A listener that panics keeps no other one from hearing, and no check from running.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(&change)));
        }
    }
}

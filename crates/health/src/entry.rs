use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{MutexGuard, PoisonError},
};

use seawall_core::{Span, Timestamp};

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
    /// What the listeners heard last, or will have heard once `untold` is empty.
    announced: Status,
    untold: VecDeque<Untold>,
    /// Whether somebody is telling the listeners. Whoever comes meanwhile leaves its change to them, so that changes are
    /// told in order, and a listener that waits, or asks for a run, stops nobody.
    telling: bool,
}

/// A change that the listeners have not heard of.
#[derive(Debug)]
struct Untold {
    from: Status,
    to: Status,
    output: Option<String>,
}

fn lock<T>(mutex: &Lock<T>) -> MutexGuard<'_, T> {
    // Nothing panics in here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    pub(crate) fn new(name: String, config: CheckConfig, check: Box<dyn AnyCheck>) -> Self {
        let judge = Judge::new(&config);
        let state = State {
            judge,
            last: None,
            has_passed: false,
            runs: 0,
            failures: 0,
            changes: 0,
            announced: Status::Unknown,
            untold: VecDeque::new(),
            telling: false,
        };
        Self { name, config, check, state: Lock::new(state) }
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
            Some(format!("stuck: no run was completed for {}", Span::rounded_up(age.unwrap_or_default())))
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
        let mut state = lock(&self.state);
        let to = state.judge.standing();
        if to != state.announced {
            state.changes = state.changes.saturating_add(1);
            let output = state.last.as_ref().and_then(|last| last.output().map(str::to_owned));
            let from = std::mem::replace(&mut state.announced, to);
            state.untold.push_back(Untold { from, to, output });
        }
        if std::mem::replace(&mut state.telling, true) {
            return;
        }
        while let Some(untold) = state.untold.pop_front() {
            drop(state);
            self.tell(&untold, listeners);
            state = lock(&self.state);
        }
        state.telling = false;
    }

    fn tell(&self, untold: &Untold, listeners: &[Listener]) {
        let change = StatusChange {
            check: &self.name,
            kind: self.config.kind,
            from: untold.from,
            to: untold.to,
            output: untold.output.as_deref(),
            action: self.config.action,
        };
        for listener in listeners {
            // A listener that panics keeps no other one from hearing, and no check from running.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(&change)));
        }
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Arc, Weak, mpsc::channel},
        time::Duration,
    };

    use super::*;

    fn seconds(count: u64) -> Timestamp {
        Timestamp::ZERO.saturating_add(Duration::from_secs(count))
    }

    #[test]
    fn a_listener_may_bring_the_next_change_about_and_hears_of_it_after_the_first() {
        let check = Box::new(|| async { Ok::<_, Infallible>(()) });
        let entry = Arc::new(Entry::new("catalog".to_owned(), CheckConfig::application(), check));
        let (sender, heard) = channel();
        let inside: Weak<Entry> = Arc::downgrade(&entry);
        let listener = move |change: &StatusChange<'_>| {
            sender.send((change.from, change.to)).expect("the test listens");
            if change.to == Status::Pass {
                // Far later: by then the check is stuck, and that is another change.
                inside.upgrade().expect("it is being told").look(seconds(1_000_000), &[]);
            }
        };
        let listeners: Vec<Listener> = vec![Box::new(listener)];

        entry.record(Observation::pass(), seconds(1), &listeners);

        assert_eq!(
            heard.try_iter().collect::<Vec<_>>(),
            [(Status::Unknown, Status::Pass), (Status::Pass, Status::Fail)]
        );
        for second in 1_000_001..1_000_010 {
            entry.record(Observation::pass(), seconds(second), &listeners);
        }
        assert_eq!(heard.try_recv(), Ok((Status::Fail, Status::Pass)), "whoever came last has not stopped the telling");
    }
}

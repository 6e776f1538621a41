#![expect(clippy::disallowed_types, reason = "the template is locked only when a retry happens")]

use std::sync::{Mutex, PoisonError};

use seawall_core::{CallContext, Clock, Entropy, Environment, Shared, Timestamp};

use crate::{Ended, Hint, Next, RetryConfig, RetrySchedule, Stopped, figures::Tally};

/// What all services and clones of one layer share.
#[derive(Debug)]
pub(crate) struct Core<E> {
    pub(crate) config: RetryConfig,
    pub(crate) env: E,
    pub(crate) tally: Tally,
}

impl<E: Environment> Core<E> {
    pub(crate) fn new(config: RetryConfig, env: E) -> Self {
        Self { config, env, tally: Tally::default() }
    }

    /// Whether a call that succeeds at first concerns nobody: no budget, no limit of time.
    const fn is_plain(&self) -> bool {
        self.config.budget().is_none() && self.config.max_elapsed().is_none()
    }

    /// A call begins: pays in, and tells until when its attempts may start.
    #[inline(never)]
    pub(crate) fn begin(&self) -> Timestamp {
        if let Some(budget) = self.config.budget() {
            budget.request(|| self.env.clock().now());
        }
        self.config.max_elapsed().map_or(Timestamp::MAX, |longest| self.env.clock().now().saturating_add(longest))
    }

    /// A call ends with the outcome of its last attempt.
    #[inline(never)]
    pub(crate) fn end(&self, success: bool, retried: bool) {
        if success {
            if let Some(budget) = self.config.budget() {
                budget.success();
            }
            if retried {
                self.tally.recovery();
            }
        }
    }

    /// Decides after an attempt that was worth another. `request` makes the next one, or there is none.
    pub(crate) fn next<R>(
        &self,
        schedule: &mut RetrySchedule,
        ended: Ended,
        until: Timestamp,
        request: impl FnOnce(u32) -> Option<(R, CallContext)>,
    ) -> Option<(R, Timestamp)> {
        let (config, env) = (&self.config, &self.env);
        // A refusal by a layer says nothing about the other side.
        if !matches!(ended.hint, Hint::Refused(_)) {
            if let Some(budget) = config.budget() {
                budget.failure();
            }
        }
        if let Some(stopped) = schedule.stops(config, ended) {
            self.tally.stop(stopped);
            return None;
        }
        let Some((request, mut context)) = request(schedule.attempts()) else {
            self.tally.stop(Stopped::NotReplayable);
            return None;
        };
        if until < Timestamp::MAX {
            context.deadline = Some(context.deadline.map_or(until, |deadline| deadline.min(until)));
        }
        let now = env.clock().now();
        let pay = || config.budget().is_none_or(|budget| budget.withdraw(|| now));
        match schedule.next(config, ended, &context, now, env.entropy().next_u64(), pay) {
            Next::Retry { at, wait } => {
                self.tally.retry();
                // No wait needs no timer, which would round it up to a tick.
                Some((request, if wait.is_zero() { Timestamp::ZERO } else { at }))
            }
            Next::Stop(stopped) => {
                self.tally.stop(stopped);
                None
            }
        }
    }
}

/// What the futures of one service need for a second attempt: a service to clone, which is itself never called.
#[derive(Debug)]
pub(crate) struct Template<S, E: 'static, P, W> {
    pub(crate) core: Shared<Core<E>>,
    pub(crate) replay: P,
    pub(crate) when: W,
    // Here as well as in the core: the path of a call that succeeds at first follows one pointer.
    pub(crate) env: E,
    plain: bool,
    service: Mutex<S>,
}

impl<S, E: Environment, P, W> Template<S, E, P, W> {
    pub(crate) fn new(core: Shared<Core<E>>, replay: P, when: W, service: S) -> Self {
        let (env, plain) = (core.env.clone(), core.is_plain());
        Self { core, replay, when, env, plain, service: Mutex::new(service) }
    }

    /// A call begins. Where there is a budget or a limit of time, tells until when its attempts may start.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Timestamp> {
        if self.plain { None } else { Some(self.core.begin()) }
    }

    pub(crate) fn service(&self) -> S
    where
        S: Clone,
    {
        // A clone that panicked has changed nothing.
        self.service.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

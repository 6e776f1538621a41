#![expect(clippy::disallowed_types, reason = "the template is locked only when a retry happens")]

use std::sync::{Mutex, PoisonError};

use seawall_core::{Attributes, CallContext, Clock, Entropy, Environment, Shared, Timer, Timestamp};

use crate::{Ended, Hint, Next, RetryConfig, RetrySchedule, Stopped, figures::Tally};

/// What a call has to do with budget and time. One word: it is written for every call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Until when attempts may start: [`Timestamp::MAX`] for ever, [`Timestamp::ZERO`] in an empty account.
    until: Timestamp,
}

impl Account {
    /// No budget and no limit of time.
    pub(crate) const EMPTY: Self = Self { until: Timestamp::ZERO };

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    fn until(self) -> Option<Timestamp> {
        (self.until > Timestamp::ZERO && self.until < Timestamp::MAX).then_some(self.until)
    }
}

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

    /// A call begins, and pays in.
    #[inline(never)]
    pub(crate) fn begin(&self) -> Account {
        if let Some(budget) = self.config.budget() {
            budget.request(|| self.env.clock().now());
        }
        let until = self.config.max_elapsed().map(|longest| self.env.clock().now().saturating_add(longest));
        Account { until: until.unwrap_or(Timestamp::MAX) }
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
        account: Account,
        request: impl FnOnce(u32) -> Option<(R, CallContext)>,
    ) -> Option<(R, Option<Timestamp>)> {
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
        if let Some(until) = account.until() {
            context.deadline = Some(context.deadline.map_or(until, |deadline| deadline.min(until)));
        }
        let now = env.clock().now();
        let pay = || config.budget().is_none_or(|budget| budget.withdraw(|| now));
        match schedule.next(config, ended, &context, now, env.entropy().next_u64(), pay) {
            Next::Retry { at, wait } => {
                self.tally.retry();
                // No wait needs no timer, which would round it up to a tick.
                Some((request, (!wait.is_zero()).then_some(at)))
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

    /// A call begins.
    #[inline]
    pub(crate) fn begin(&self) -> Account {
        if self.plain { Account::EMPTY } else { self.core.begin() }
    }

    /// Decides after an attempt that was worth another: its request, and the wait before it, if there is to be one.
    pub(crate) fn next<R, T>(
        &self,
        schedule: &mut RetrySchedule,
        ended: Ended,
        account: Account,
        request: impl FnOnce(u32) -> Option<R>,
    ) -> Option<(R, Option<T>)>
    where
        E: Environment<Clock: Timer<Sleep = T>> + Attributes<R>,
    {
        let core = &*self.core;
        let next = core.next(schedule, ended, account, |previous| {
            let request = request(previous)?;
            let context = core.env.context(&request);
            Some((request, context))
        });
        next.map(|(request, at)| (request, at.map(|at| core.env.clock().sleep_until(at))))
    }

    pub(crate) fn service(&self) -> S
    where
        S: Clone,
    {
        // A clone that panicked has changed nothing.
        self.service.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]
#![expect(clippy::disallowed_types, reason = "the template is locked only when a retry happens")]

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use seawall_core::{
    Attributes, Budget, CallContext, Class, Clock, Entropy, Environment, Held, Observer, Outcome, RecentQuantile,
    Shared, Timer, Timestamp,
};

use crate::{Advice, Ended, Hint, Next, RetryConfig, RetrySchedule, Stopped, figures::Tally, spent, watch::Watched};

/// How far back it is looked to learn how long attempts take: up to two of these.
const WINDOW: Duration = Duration::from_secs(10);

/// What a call has to do with budget and time. One word: it is written for every call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// When the call began, or one of two times that never are.
    began: Timestamp,
}

impl Account {
    /// No budget and no limit of time.
    pub(crate) const EMPTY: Self = Self { began: Timestamp::MAX };
    /// Nobody has read the clock.
    const UNSTAMPED: Self = Self { began: Timestamp::from_nanos(u64::MAX - 1) };
    /// Nor here, but the budget hears of successes.
    const COUNTED: Self = Self { began: Timestamp::from_nanos(u64::MAX - 2) };

    /// Whether nobody hears of a success.
    #[inline(always)]
    fn is_silent(self) -> bool {
        self.began >= Self::UNSTAMPED.began
    }

    fn began(self) -> Option<Timestamp> {
        (self.began < Self::COUNTED.began).then_some(self.began)
    }
}

/// How far a call has come that was not answered at first.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) schedule: RetrySchedule,
    account: Account,
    /// What the attempt under way has of the budget.
    held: Option<Held>,
    /// When the attempt under way may have begun.
    began: Option<Timestamp>,
}

impl Course {
    pub(crate) fn new(account: Account) -> Self {
        Self { schedule: RetrySchedule::default(), account, held: None, began: account.began() }
    }
}

/// What all services and clones of one layer share.
#[derive(Debug)]
pub(crate) struct Core<E> {
    pub(crate) config: RetryConfig,
    pub(crate) env: E,
    pub(crate) tally: Tally,
    /// How long successful attempts take.
    usual: Option<RecentQuantile>,
}

impl<E: Environment> Watched for Core<E> {
    type Observer = E::Observer;

    #[inline]
    fn observer(&self) -> &E::Observer {
        self.env.observer()
    }
}

impl<E: Environment> Core<E> {
    pub(crate) fn new(config: RetryConfig, env: E) -> Self {
        let usual = config.min_remaining_quantile().map(|quantile| RecentQuantile::new(quantile, WINDOW));
        Self { config, env, tally: Tally::default(), usual }
    }

    /// Whether the beginning of a call concerns nobody: no budget, no limit of time.
    const fn is_plain(&self) -> bool {
        self.config.budget().is_none() && self.config.max_elapsed().is_none()
    }

    /// A call begins, and pays in.
    #[inline(never)]
    pub(crate) fn begin(&self) -> Account {
        if self.config.max_elapsed().is_some() {
            let began = self.env.clock().now();
            if let Some(budget) = self.config.budget() {
                budget.request(|| began);
            }
            return Account { began };
        }
        let Some(budget) = self.config.budget() else { return Account::UNSTAMPED };
        let mut account = if budget.counts_successes() { Account::COUNTED } else { Account::UNSTAMPED };
        // Most requests are counted without a reading of the clock.
        budget.request(|| {
            let now = self.env.clock().now();
            if self.usual.is_some() {
                account.began = now;
            }
            now
        });
        account
    }

    /// A call ends with its first attempt.
    #[inline(never)]
    pub(crate) fn end_at_first(&self, outcome: Outcome, account: Account) {
        if outcome == Outcome::Finished(Class::Success) {
            if let Some(budget) = self.config.budget() {
                budget.success(|| self.env.clock().now());
            }
            self.learn(account.began());
        }
    }

    /// A call ends with an attempt that was worth no other.
    pub(crate) fn end(&self, outcome: Outcome, course: &mut Course) {
        if course.schedule.attempts() == 1 {
            return self.end_at_first(outcome, course.account);
        }
        let held = course.held.take();
        if outcome == Outcome::Finished(Class::Success) {
            if let Some(budget) = self.config.budget() {
                budget.recovered(held.as_ref().map(Held::paid).unwrap_or_default(), || self.env.clock().now());
            }
            self.learn(course.began);
            self.tally.recovery();
        }
    }

    /// An attempt that began then, where that is known, has succeeded.
    #[inline]
    fn learn(&self, began: Option<Timestamp>) {
        if let (Some(usual), Some(began)) = (&self.usual, began) {
            let now = self.env.clock().now();
            usual.record(now, now.since(began));
        }
    }

    fn stop(&self, stopped: Stopped) {
        self.tally.stop(stopped);
        let tried = stopped == Stopped::Attempts && self.config.attempts() > 1;
        if tried || matches!(stopped, Stopped::Budget | Stopped::Exhausted) {
            spent::mark();
        }
        if stopped != Stopped::Final {
            self.env.observer().on_give_up(stopped.as_str());
        }
    }

    /// Decides after an attempt that was worth another. `request` makes the next one, or says why not.
    pub(crate) fn next<R>(
        &self,
        course: &mut Course,
        (ended, outcome): (Ended, Outcome),
        request: impl FnOnce(u32) -> Result<(R, CallContext), Stopped>,
    ) -> Option<(R, Option<Timestamp>)> {
        let (config, env) = (&self.config, &self.env);
        course.held = None;
        let attempts = course.schedule.attempts();
        // A refusal by a layer says nothing about the other side, and neither does what it has not seen.
        if !matches!(ended.hint, Hint::Refused(_)) && ended.advice != Advice::Unseen {
            if let Some(budget) = config.budget() {
                budget.failure();
            }
        }
        let exhausted = (spent::take() && !config.multiplies_attempts()).then_some(Stopped::Exhausted);
        if let Some(stopped) = course.schedule.stops(config, ended).or(exhausted) {
            self.stop(stopped);
            return None;
        }
        // What the other side has not seen is none of the attempts that it is told of.
        let unseen = u32::from(course.schedule.is_free(config, ended));
        let (request, mut context) = match request(attempts.saturating_sub(unseen)) {
            Ok(made) => made,
            Err(stopped) => {
                self.stop(stopped);
                return None;
            }
        };
        let now = env.clock().now();
        self.limit(course, &mut context, now);
        let pay = || match config.budget() {
            Some(budget) => {
                course.held = budget.hold(ended.overload, || now);
                course.held.is_some()
            }
            None => true,
        };
        match course.schedule.next(config, ended, &context, now, env.entropy().next_u64(), pay) {
            Next::Retry { at, wait } => {
                course.began = Some(at);
                self.tally.retry();
                env.observer().on_retry(attempts, wait, outcome);
                // No wait needs no timer, which would round it up to a tick.
                Some((request, (!wait.is_zero()).then_some(at)))
            }
            Next::Stop(stopped) => {
                self.stop(stopped);
                None
            }
        }
    }

    /// Brings the end of the time for attempts into the context, and what must remain of it into the schedule.
    fn limit(&self, course: &mut Course, context: &mut CallContext, now: Timestamp) {
        let usual = self.usual.as_ref().and_then(|usual| usual.get(now));
        let mut remain = context.deadline.and(usual).unwrap_or_default();
        let longest = self.config.max_elapsed();
        if let Some(until) = course.account.began().zip(longest).map(|(began, longest)| began.saturating_add(longest)) {
            // The time that attempts may begin ends earlier than the time that they may take.
            remain = remain.saturating_sub(context.deadline.unwrap_or(Timestamp::MAX).since(until));
            context.deadline = Some(context.deadline.map_or(until, |deadline| deadline.min(until)));
        }
        course.schedule.set_usual(remain);
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
    /// The budget, where the beginning of a call concerns nobody else.
    budget: Option<Budget>,
    service: Mutex<S>,
}

impl<S, E: Environment, P, W> Watched for Template<S, E, P, W> {
    type Observer = E::Observer;

    #[inline]
    fn observer(&self) -> &E::Observer {
        self.env.observer()
    }
}

impl<S, E: Environment, P, W> Template<S, E, P, W> {
    pub(crate) fn new(core: Shared<Core<E>>, replay: P, when: W, service: S) -> Self {
        let (env, plain) = (core.env.clone(), core.is_plain());
        let budget = core.config.budget().filter(|_| core.config.max_elapsed().is_none()).cloned();
        Self { core, replay, when, env, plain, budget, service: Mutex::new(service) }
    }

    /// A call begins.
    #[inline(always)]
    pub(crate) fn begin(&self) -> Account {
        if self.plain {
            Account::EMPTY
        } else if self.budget.as_ref().is_some_and(Budget::request_untimed) {
            Account::UNSTAMPED
        } else {
            self.core.begin()
        }
    }

    /// A call ends with its first attempt.
    #[inline(always)]
    pub(crate) fn end_at_first(&self, outcome: Outcome, account: Account) {
        if !account.is_silent() {
            self.core.end_at_first(outcome, account);
        }
    }

    /// Decides after an attempt that was worth another: its request, and the wait before it, if there is to be one.
    pub(crate) fn next<R, T>(
        &self,
        course: &mut Course,
        ended: (Ended, Outcome),
        request: impl FnOnce(u32) -> Result<R, Stopped>,
    ) -> Option<(R, Option<T>)>
    where
        E: Environment<Clock: Timer<Sleep = T>> + Attributes<R>,
    {
        let core = &*self.core;
        let next = core.next(course, ended, |previous| {
            let request = request(previous)?;
            let context = core.env.context(&request);
            Ok((request, context))
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

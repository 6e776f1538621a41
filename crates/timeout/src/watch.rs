use std::any::TypeId;

use seawall_core::{
    CarryRejection, Class, Classify, Clock, Environment, NoObserver, Observer, Outcome, Rejection, Shared, Timestamp,
};

use crate::{
    AdaptiveTimeout, TimeoutConfig,
    config::{Allowance, Limit},
};

/// What all services and clones of one layer share.
#[derive(Debug)]
pub(crate) struct Core<E> {
    pub(crate) config: TimeoutConfig,
    pub(crate) env: E,
    /// The fixed limit in nanoseconds, or the ceiling of the adaptive one.
    limit: u64,
    pub(crate) adaptive: Option<AdaptiveTimeout>,
}

impl<E: Environment> Core<E> {
    pub(crate) fn new(config: TimeoutConfig, env: E) -> Self {
        let (limit, adaptive) = match config.limit() {
            Limit::Fixed(limit) => (*limit, None),
            Limit::Adaptive(config) => (config.ceiling(), Some(AdaptiveTimeout::new(*config))),
        };
        Self { config, env, limit: Timestamp::ZERO.saturating_add(limit).as_nanos(), adaptive }
    }

    /// Decides on a call that begins at `now`; nothing: too little time is left.
    #[inline]
    pub(crate) fn allow(&self, now: Timestamp, deadline: Option<Timestamp>) -> Option<Allowance> {
        let own = match &self.adaptive {
            None => Timestamp::from_nanos(now.as_nanos().saturating_add(self.limit)),
            Some(adaptive) => now.saturating_add(adaptive.limit(now)),
        };
        self.config.allow(own, now, deadline)
    }
}

/// Reports how one call ended, exactly once, where somebody wants to know. Where nobody does it counts no reference.
#[derive(Debug)]
pub(crate) struct Watch<E: Environment> {
    watched: Option<(Shared<Core<E>>, Timestamp)>,
    running: bool,
}

impl<E: Environment> Watch<E> {
    #[inline]
    pub(crate) fn new(core: &Shared<Core<E>>, start: Timestamp) -> Self {
        let heard = TypeId::of::<E::Observer>() != TypeId::of::<NoObserver>();
        let watched = if heard || core.adaptive.is_some() { Some((core.clone(), start)) } else { None };
        Self { watched, running: false }
    }

    /// Watches a call from before it is made, so that a panic in there is reported. Where nobody hears of panics, from
    /// after: what is made later need not be moved.
    #[inline]
    pub(crate) fn over<T>(core: &Shared<Core<E>>, start: Timestamp, call: impl FnOnce() -> T) -> (T, Self) {
        if E::Observer::PER_CALL {
            let mut watch = Self::new(core, start);
            (watch.around(call), watch)
        } else {
            let result = call();
            (result, Self::new(core, start))
        }
    }

    /// Runs a piece of the call: a panic inside is reported as one.
    #[inline]
    pub(crate) fn around<T>(&mut self, call: impl FnOnce() -> T) -> T {
        if E::Observer::PER_CALL {
            self.running = true;
        }
        let result = call();
        if E::Observer::PER_CALL {
            self.running = false;
        }
        result
    }

    /// The call was answered in time.
    #[inline]
    pub(crate) fn answered<T, X>(&mut self, result: &Result<T, X>)
    where
        E: Classify<T, X::Remote>,
        X: CarryRejection,
    {
        let Some((core, start)) = self.watched.take() else { return };
        if core.adaptive.is_none() && !E::Observer::PER_CALL {
            return;
        }
        let outcome = match result {
            Ok(response) => Outcome::Finished(core.env.classify(Ok(response)).class),
            Err(error) => match error.split() {
                Ok(remote) => Outcome::Finished(core.env.classify(Err(remote)).class),
                Err(rejection) => Outcome::of_rejection(rejection),
            },
        };
        if let Some(adaptive) = &core.adaptive {
            if outcome == Outcome::Finished(Class::Success) {
                let now = core.env.clock().now();
                adaptive.record(now, now.since(start));
            }
        }
        if E::Observer::PER_CALL {
            core.env.observer().on_call(outcome);
        }
    }

    /// The call was refused, or cut.
    pub(crate) fn rejected(&mut self, rejection: &Rejection) {
        let Some((core, _)) = self.watched.take() else { return };
        core.env.observer().on_reject(rejection);
        if E::Observer::PER_CALL && rejection.may_have_been_sent() {
            core.env.observer().on_call(Outcome::TimedOut);
        }
    }
}

impl<E: Environment> Drop for Watch<E> {
    #[inline]
    fn drop(&mut self) {
        if E::Observer::PER_CALL {
            if let Some((core, _)) = self.watched.take() {
                let outcome = if self.running { Outcome::Panicked } else { Outcome::Cancelled };
                core.env.observer().on_call(outcome);
            }
        }
    }
}

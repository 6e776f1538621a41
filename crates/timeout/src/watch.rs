#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{any::TypeId, mem::ManuallyDrop, time::Duration};

use seawall_core::{
    CarryRejection, Class, Classify, Clock, Environment, NoObserver, Observer, Outcome, Pattern, Reason,
    RecentQuantile, Rejection, Shared, Timestamp,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    AdaptiveTimeout, TimeoutConfig,
    config::{Allowance, Limit},
};

/// How far back what is usual is looked for, and twice that.
const USUAL_WINDOW: Duration = Duration::from_secs(10);

/// What all services and clones of one layer share.
#[derive(Debug)]
pub(crate) struct Core<E> {
    pub(crate) config: TimeoutConfig,
    pub(crate) env: E,
    /// The fixed limit in nanoseconds, or the ceiling of the adaptive one.
    limit: u64,
    pub(crate) adaptive: Option<AdaptiveTimeout>,
    /// What must remain at least of a call's deadline.
    usual: Option<RecentQuantile>,
    /// Whether something is learnt from how calls end.
    learns: bool,
    /// How many calls would have been refused.
    pub(crate) spared: AtomicU64,
}

impl<E: Environment> Core<E> {
    pub(crate) fn new(config: TimeoutConfig, env: E) -> Self {
        let (limit, adaptive) = match config.limit() {
            Limit::Fixed(limit) => (*limit, None),
            Limit::Adaptive(config) => (config.ceiling(), Some(AdaptiveTimeout::new(*config))),
        };
        let usual = config.usual_remaining().map(|quantile| RecentQuantile::new(quantile, USUAL_WINDOW));
        let limit = Timestamp::ZERO.saturating_add(limit).as_nanos();
        let learns = adaptive.is_some() || usual.is_some();
        Self { config, env, limit, adaptive, usual, learns, spared: AtomicU64::new(0) }
    }

    /// Decides on a call that begins at `now` and may take `limit`, where its request says so; nothing: too little time is
    /// left. And whether nothing is learnt from it.
    #[inline(always)]
    pub(crate) fn allow(
        &self,
        now: Timestamp,
        limit: Option<Duration>,
        (deadline, total): (Option<Timestamp>, bool),
    ) -> (Option<Allowance>, bool) {
        // What learns from calls has an adaptive limit or looks at deadlines.
        match (self.learns, limit, deadline) {
            (false, None, None) => {
                let until = Timestamp::from_nanos(now.as_nanos().saturating_add(self.limit));
                (Some(self.config.allow_until(until)), true)
            }
            _ => (self.weigh(now, limit, deadline, total), !self.learns),
        }
    }

    /// The same for a call whose end depends on more than a fixed limit. Out of line: that is next to nothing.
    #[inline(never)]
    fn weigh(
        &self,
        now: Timestamp,
        limit: Option<Duration>,
        deadline: Option<Timestamp>,
        total: bool,
    ) -> Option<Allowance> {
        let own = match (limit, &self.adaptive) {
            (None, None) => Timestamp::from_nanos(now.as_nanos().saturating_add(self.limit)),
            (None, Some(adaptive)) => now.saturating_add(adaptive.limit(now)),
            (Some(limit), _) => now.saturating_add(limit),
        };
        match self.config.allow(own, now, deadline, || self.usual(now)) {
            None => self.spare(own),
            Some(allowance) if total => Some(allowance.by_total()),
            allowance => allowance,
        }
    }

    /// What the layer itself allows at `now`.
    pub(crate) fn own_limit(&self, now: Timestamp) -> Duration {
        self.adaptive.as_ref().map_or(Duration::from_nanos(self.limit), |adaptive| adaptive.usual_limit(now))
    }

    #[inline]
    fn usual(&self, now: Timestamp) -> Duration {
        self.usual.as_ref().and_then(|usual| usual.get(now)).unwrap_or_default()
    }

    #[cold]
    fn spare(&self, own: Timestamp) -> Option<Allowance> {
        self.config.is_observed_only().then(|| {
            // Relaxed: a count that guards nothing.
            self.spared.fetch_add(1, Relaxed);
            self.config.allow_until(own)
        })
    }

    /// Learns from how a call ended, and tells the observer.
    fn ended(&self, start: Timestamp, outcome: Outcome) {
        if self.learns {
            self.learn(start, outcome);
        }
        if E::Observer::PER_CALL {
            self.env.observer().on_call(outcome);
        }
    }

    fn learn(&self, start: Timestamp, outcome: Outcome) {
        let now = self.env.clock().now();
        match outcome {
            Outcome::Finished(Class::Success) => {
                let latency = now.since(start);
                if let Some(adaptive) = &self.adaptive {
                    adaptive.record(now, latency);
                }
                if let Some(usual) = &self.usual {
                    usual.record(now, latency);
                }
            }
            Outcome::Finished(Class::Failure) | Outcome::TimedOut | Outcome::DeadlineExceeded => {
                if let Some(adaptive) = &self.adaptive {
                    adaptive.record_failure(now);
                }
            }
            // Whoever gives up first says by it that the call took too long: else a hang would look like calm.
            Outcome::Cancelled | Outcome::Panicked => {
                if let Some(adaptive) = &self.adaptive {
                    adaptive.record_dropped(now, now.since(start));
                }
            }
            _ => {}
        }
    }
}

type Watched<E> = (Shared<Core<E>>, Timestamp);

/// Reports how one call ended, exactly once, where somebody wants to know. Where nobody does it counts no reference.
#[derive(Debug)]
pub(crate) struct Watch<E: Environment> {
    // Nothing is left in it to drop once the watch's own drop has seen to it: said, so that it is not looked at again.
    watched: ManuallyDrop<Option<Watched<E>>>,
    running: bool,
}

impl<E: Environment> Watch<E> {
    /// `silent`: nothing is learnt from the call.
    #[inline(always)]
    pub(crate) fn new(core: &Shared<Core<E>>, silent: bool, start: Timestamp) -> Self {
        let heard = TypeId::of::<E::Observer>() != TypeId::of::<NoObserver>();
        let watched = if silent && !heard { None } else { Some((core.clone(), start)) };
        Self { watched: ManuallyDrop::new(watched), running: false }
    }

    /// Watches a call from before it is made, so that a panic in there is reported. Where nobody hears of panics, from
    /// after: what is made later need not be moved.
    #[inline(always)]
    pub(crate) fn over<T>(
        core: &Shared<Core<E>>,
        silent: bool,
        start: Timestamp,
        call: impl FnOnce() -> T,
    ) -> (T, Self) {
        if E::Observer::PER_CALL {
            let mut watch = Self::new(core, silent, start);
            (watch.around(call), watch)
        } else {
            let result = call();
            (result, Self::new(core, silent, start))
        }
    }

    /// Runs a piece of the call: a panic inside is reported as one.
    #[inline(always)]
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
    #[inline(always)]
    pub(crate) fn answered<T, X>(&mut self, result: &Result<T, X>)
    where
        E: Classify<T, X::Remote>,
        X: CarryRejection,
    {
        if let Some((core, start)) = self.watched.take() {
            report(core, start, result);
        }
    }

    /// The call was refused, or cut, since it `expired`.
    #[inline(always)]
    pub(crate) fn reject(&mut self, expired: Reason) -> Rejection {
        let rejection = Rejection::new(Pattern::Timeout, expired);
        if let Some((core, start)) = self.watched.take() {
            report_rejected(core, start, expired);
        }
        rejection
    }
}

impl<E: Environment> Drop for Watch<E> {
    #[inline(always)]
    fn drop(&mut self) {
        // Asked first, so that nothing is loaded of a call that has been reported.
        if self.watched.is_some() {
            if let Some((core, start)) = self.watched.take() {
                abandon(core, start, self.running);
            }
        }
    }
}

// What follows is told what it needs by value: nothing may point into the future. And it is out of line: most timeouts are
// watched by nobody.

#[inline(never)]
#[expect(clippy::needless_pass_by_value, reason = "a reference would point into the future")]
fn report<E, T, X>(core: Shared<Core<E>>, start: Timestamp, result: &Result<T, X>)
where
    E: Environment + Classify<T, X::Remote>,
    X: CarryRejection,
{
    if !core.learns && !E::Observer::PER_CALL {
        return;
    }
    let outcome = match result {
        Ok(response) => Outcome::Finished(core.env.classify(Ok(response)).class),
        Err(error) => match error.split() {
            Ok(remote) => Outcome::Finished(core.env.classify(Err(remote)).class),
            Err(rejection) => Outcome::of_rejection(rejection),
        },
    };
    core.ended(start, outcome);
}

#[cold]
#[inline(never)]
#[expect(clippy::needless_pass_by_value, reason = "a reference would point into the future")]
fn report_rejected<E: Environment>(core: Shared<Core<E>>, start: Timestamp, expired: Reason) {
    let rejection = Rejection::new(Pattern::Timeout, expired);
    if !rejection.may_have_been_sent() {
        core.env.observer().on_reject(&rejection);
        return;
    }
    core.env.observer().on_cut(&rejection);
    core.ended(start, Outcome::of_rejection(&rejection));
}

/// A call ends without an answer.
#[cold]
#[inline(never)]
#[expect(clippy::needless_pass_by_value, reason = "a reference would point into the future")]
fn abandon<E: Environment>(core: Shared<Core<E>>, start: Timestamp, running: bool) {
    core.ended(start, Outcome::of_drop(running));
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use proptest::prelude::*;
    use seawall_core::Env;

    use super::*;
    use crate::AdaptiveConfig;

    /// The layer's own limit, and of an adaptive one the floor.
    #[derive(Clone, Debug)]
    enum Own {
        Attempt(u64),
        Total(u64),
        Immediate,
        Adaptive(u64, u64),
    }

    impl Own {
        fn config(&self) -> TimeoutConfig {
            let nanos = Duration::from_nanos;
            match *self {
                Self::Attempt(limit) => TimeoutConfig::attempt(nanos(limit)).unwrap(),
                Self::Total(limit) => TimeoutConfig::total(nanos(limit)).unwrap(),
                Self::Immediate => TimeoutConfig::immediate(),
                Self::Adaptive(floor, more) => {
                    TimeoutConfig::adaptive(AdaptiveConfig::new(nanos(floor), nanos(floor + more)).unwrap())
                }
            }
        }

        /// How long a call may take while nothing is known of others, and what it is told after that.
        const fn says(&self) -> (u64, Reason) {
            match *self {
                Self::Attempt(limit) => (limit, Reason::AttemptTimeout),
                Self::Total(limit) => (limit, Reason::TotalTimeout),
                Self::Immediate => (0, Reason::AttemptTimeout),
                Self::Adaptive(floor, more) => (floor + more, Reason::AttemptTimeout),
            }
        }
    }

    const SECOND: u64 = 1_000_000_000;

    proptest! {
        #[test]
        fn a_call_ends_at_the_earliest_of_all_that_limits_it_or_never_begins(
            own in prop_oneof![
                (1..SECOND).prop_map(Own::Attempt),
                (1..SECOND).prop_map(Own::Total),
                Just(Own::Immediate),
                (1..SECOND, 0..SECOND).prop_map(|(floor, more)| Own::Adaptive(floor, more)),
            ],
            asked in prop::option::of(0..SECOND),
            deadline in prop::option::of(0..2 * SECOND),
            (least, usual) in (prop_oneof![Just(0), 0..SECOND], prop::option::of(1_000_000..SECOND)),
            is_observed in any::<bool>(),
        ) {
            const NOW: u64 = 20 * SECOND + SECOND / 2;
            let config = own.config().with_min_remaining(Duration::from_nanos(least));
            let config = if usual.is_some() { config.with_usual_remaining(0.5).unwrap() } else { config };
            let config = if is_observed { config.with_deadline_observed_only() } else { config };
            let core = Core::new(config, Env::new());
            for _ in 0..100 {
                core.usual.iter().zip(usual).for_each(|(learnt, latency)| {
                    learnt.record(Timestamp::from_nanos(NOW - 10 * SECOND), Duration::from_nanos(latency));
                });
            }
            let deadline = deadline.map(|deadline| NOW - SECOND / 2 + deadline);
            let left = deadline.map(|deadline| deadline.saturating_sub(NOW));
            // What is usual is known to one part in 64.
            prop_assume!(left.zip(usual).is_none_or(|(left, usual)| left.abs_diff(usual) > usual / 32));

            let (said, _) = core.allow(
                Timestamp::from_nanos(NOW),
                asked.map(Duration::from_nanos),
                (deadline.map(Timestamp::from_nanos), false),
            );

            let (limit, reason) = own.says();
            let mut ends = vec![(NOW + asked.unwrap_or(limit), reason)];
            let is_vain = left.is_some_and(|left| left == 0 || left < least || usual.is_some_and(|usual| left < usual));
            if !is_vain {
                ends.extend(deadline.map(|deadline| (deadline, Reason::DeadlineExceeded)));
            }
            let first = ends.into_iter().min_by_key(|(end, _)| *end);
            let said = said.map(|allowance| (allowance.until.as_nanos(), allowance.expired));
            prop_assert_eq!(said, first.filter(|_| !is_vain || is_observed));
            prop_assert_eq!(core.spared.load(Relaxed), u64::from(is_vain && is_observed));
        }
    }
}

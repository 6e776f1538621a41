#[cfg(feature = "metrics")]
mod metrics_observer;
#[cfg(feature = "tracing")]
mod tracing_observer;

use std::time::Duration;

#[cfg(feature = "metrics")]
pub use metrics_observer::MetricsObserver;
#[cfg(feature = "tracing")]
pub use tracing_observer::TracingObserver;

use crate::{Outcome, Pattern, Rejection};

/// Hears what a layer does. Handles to counters are looked up once, never per call.
///
/// A pair of observers is one: both hear everything.
///
/// ```
/// use seawall_core::{Observer, Reason, Rejection};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
///
/// /// Counts the calls that a full bulkhead refused.
/// #[derive(Clone, Default)]
/// struct Full(Arc<AtomicU64>);
///
/// impl Observer for Full {
///     fn on_reject(&self, rejection: &Rejection) {
///         self.0.fetch_add(u64::from(rejection.reason() == Reason::BulkheadFull), Relaxed);
///     }
/// }
///
/// let full = Full::default();
/// full.on_reject(&Rejection::new(seawall_core::Pattern::Bulkhead, Reason::BulkheadFull));
/// assert_eq!(full.0.load(Relaxed), 1);
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Whether [`Observer::on_call`] is wanted: `false` spares every call the work.
    const PER_CALL: bool = false;

    /// The observer of one layer of a stack that is given one for all its layers, as the presets of `seawall` are. `part` tells
    /// layers of one pattern apart, and is empty where there is one. By default all layers tell the same,
    /// and so do they through an `Arc`: what is cheap to clone is given as it is.
    #[must_use]
    fn for_layer(self, pattern: Pattern, part: &'static str) -> Self
    where
        Self: Sized,
    {
        let _ = (pattern, part);
        self
    }

    /// A call was refused.
    fn on_reject(&self, rejection: &Rejection) {
        let _ = rejection;
    }

    /// A call that was under way was cut, and has ended by that: who hears of every end has it in [`Observer::on_call`] as well.
    /// So by default this tells nothing more to those, and to all others that a call was refused: each call is told once.
    fn on_cut(&self, rejection: &Rejection) {
        if !Self::PER_CALL {
            self.on_reject(rejection);
        }
    }

    /// An admitted call, or one that left the queue by itself, has ended. Only when [`Observer::PER_CALL`].
    fn on_call(&self, outcome: Outcome) {
        let _ = outcome;
    }

    /// A call that had to queue was admitted, after it had waited for so long. Only when [`Observer::PER_CALL`].
    fn on_wait(&self, waited: Duration) {
        let _ = waited;
    }

    /// A call is tried again after `wait`, when `attempts` (1 and more) have failed, the last with `outcome`.
    fn on_retry(&self, attempts: u32, wait: Duration, outcome: Outcome) {
        let _ = (attempts, wait, outcome);
    }

    /// A failed call that another attempt might have mended is not tried again, or a fallback had no answer either.
    /// `reason` is a fixed word of few.
    fn on_give_up(&self, reason: &'static str) {
        let _ = reason;
    }

    /// `source` answered in the place of a service that could not. It is a fixed word of few.
    fn on_degraded(&self, source: &'static str) {
        let _ = source;
    }
}

/// The default: nobody listens.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct NoObserver;

impl Observer for NoObserver {}

impl<A: Observer, B: Observer> Observer for (A, B) {
    const PER_CALL: bool = A::PER_CALL || B::PER_CALL;

    fn for_layer(self, pattern: Pattern, part: &'static str) -> Self {
        (self.0.for_layer(pattern, part), self.1.for_layer(pattern, part))
    }

    fn on_reject(&self, rejection: &Rejection) {
        self.0.on_reject(rejection);
        self.1.on_reject(rejection);
    }

    fn on_cut(&self, rejection: &Rejection) {
        self.0.on_cut(rejection);
        self.1.on_cut(rejection);
    }

    fn on_call(&self, outcome: Outcome) {
        if A::PER_CALL {
            self.0.on_call(outcome);
        }
        if B::PER_CALL {
            self.1.on_call(outcome);
        }
    }

    fn on_wait(&self, waited: Duration) {
        if A::PER_CALL {
            self.0.on_wait(waited);
        }
        if B::PER_CALL {
            self.1.on_wait(waited);
        }
    }

    fn on_retry(&self, attempts: u32, wait: Duration, outcome: Outcome) {
        self.0.on_retry(attempts, wait, outcome);
        self.1.on_retry(attempts, wait, outcome);
    }

    fn on_give_up(&self, reason: &'static str) {
        self.0.on_give_up(reason);
        self.1.on_give_up(reason);
    }

    fn on_degraded(&self, source: &'static str) {
        self.0.on_degraded(source);
        self.1.on_degraded(source);
    }
}

impl<O: Observer> Observer for std::sync::Arc<O> {
    const PER_CALL: bool = O::PER_CALL;

    fn on_reject(&self, rejection: &Rejection) {
        O::on_reject(self, rejection);
    }

    fn on_cut(&self, rejection: &Rejection) {
        O::on_cut(self, rejection);
    }

    fn on_call(&self, outcome: Outcome) {
        O::on_call(self, outcome);
    }

    fn on_wait(&self, waited: Duration) {
        O::on_wait(self, waited);
    }

    fn on_retry(&self, attempts: u32, wait: Duration, outcome: Outcome) {
        O::on_retry(self, attempts, wait, outcome);
    }

    fn on_give_up(&self, reason: &'static str) {
        O::on_give_up(self, reason);
    }

    fn on_degraded(&self, source: &'static str) {
        O::on_degraded(self, source);
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use std::sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    };

    use super::*;
    use crate::{Class, Pattern, Reason};

    /// Writes down what it hears.
    struct Hears<const PER_CALL: bool>(Sender<String>);

    impl<const PER_CALL: bool> Hears<PER_CALL> {
        fn note(&self, what: impl Into<String>) {
            self.0.send(what.into()).expect("the test listens");
        }
    }

    fn hears<const PER_CALL: bool>() -> (Hears<PER_CALL>, Receiver<String>) {
        let (sender, heard) = channel();
        (Hears(sender), heard)
    }

    impl<const WANTED: bool> Observer for Hears<WANTED> {
        const PER_CALL: bool = WANTED;

        fn on_reject(&self, rejection: &Rejection) {
            self.note(rejection.reason().as_str());
        }

        fn on_call(&self, outcome: Outcome) {
            self.note(outcome.as_str());
        }

        fn on_wait(&self, waited: Duration) {
            self.note(format!("waited {waited:?}"));
        }

        fn on_retry(&self, attempts: u32, wait: Duration, outcome: Outcome) {
            self.note(format!("{} after {attempts}, again in {wait:?}", outcome.as_str()));
        }

        fn on_give_up(&self, reason: &'static str) {
            self.note(format!("gave up: {reason}"));
        }

        fn on_degraded(&self, source: &'static str) {
            self.note(format!("from {source}"));
        }
    }

    fn tell(observer: &impl Observer) {
        observer.on_reject(&Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull));
        observer.on_call(Outcome::Finished(Class::Success));
        observer.on_wait(Duration::from_secs(1));
        observer.on_retry(2, Duration::from_secs(3), Outcome::TimedOut);
        observer.on_give_up("budget");
        observer.on_degraded("value");
    }

    const SELDOM: [&str; 4] = ["bulkhead_full", "timed_out after 2, again in 3s", "gave up: budget", "from value"];
    const ALWAYS: [&str; 6] =
        ["bulkhead_full", "success", "waited 1s", "timed_out after 2, again in 3s", "gave up: budget", "from value"];

    #[test]
    fn both_of_a_pair_hear_everything_that_they_want_to() {
        let ((one, first), (other, second)) = (hears::<true>(), hears::<false>());
        tell(&(one, other));
        assert_eq!(first.try_iter().collect::<Vec<_>>(), ALWAYS);
        assert_eq!(second.try_iter().collect::<Vec<_>>(), SELDOM);

        let ((one, first), (other, second)) = (hears::<false>(), hears::<true>());
        tell(&(one, other));
        assert_eq!(first.try_iter().collect::<Vec<_>>(), SELDOM);
        assert_eq!(second.try_iter().collect::<Vec<_>>(), ALWAYS);
    }

    #[test]
    fn an_observer_that_is_shared_hears_all() {
        let (observer, heard) = hears::<true>();
        tell(&Arc::new(observer));
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ALWAYS);
    }
}

use std::time::Duration;

use crate::{Outcome, Rejection};

/// Hears what a layer does. Handles to counters are looked up once, when the observer is made, never per call.
///
/// A pair of observers is one: both hear everything.
pub trait Observer: Send + Sync + 'static {
    /// Whether [`Observer::on_call`] is wanted: `false` spares every call the work.
    const PER_CALL: bool = false;

    /// A call was refused.
    fn on_reject(&self, rejection: &Rejection) {
        let _ = rejection;
    }

    /// An admitted call, or one that left the queue by itself, has ended. Only when [`Observer::PER_CALL`].
    fn on_call(&self, outcome: Outcome) {
        let _ = outcome;
    }

    /// A call is tried again after `wait`, when `attempts` (1 and more) have failed.
    fn on_retry(&self, attempts: u32, wait: Duration) {
        let _ = (attempts, wait);
    }

    /// A failed call that another attempt might have mended is not tried again. `reason` is a fixed word of few.
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

    fn on_reject(&self, rejection: &Rejection) {
        self.0.on_reject(rejection);
        self.1.on_reject(rejection);
    }

    fn on_call(&self, outcome: Outcome) {
        if A::PER_CALL {
            self.0.on_call(outcome);
        }
        if B::PER_CALL {
            self.1.on_call(outcome);
        }
    }

    fn on_retry(&self, attempts: u32, wait: Duration) {
        self.0.on_retry(attempts, wait);
        self.1.on_retry(attempts, wait);
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

    fn on_call(&self, outcome: Outcome) {
        O::on_call(self, outcome);
    }

    fn on_retry(&self, attempts: u32, wait: Duration) {
        O::on_retry(self, attempts, wait);
    }

    fn on_give_up(&self, reason: &'static str) {
        O::on_give_up(self, reason);
    }

    fn on_degraded(&self, source: &'static str) {
        O::on_degraded(self, source);
    }
}

#[cfg(feature = "metrics")]
pub use metrics_observer::MetricsObserver;
#[cfg(feature = "tracing")]
pub use tracing_observer::TracingObserver;

#[cfg(feature = "metrics")]
mod metrics_observer {
    use std::{fmt, time::Duration};

    use metrics::{Counter, counter};

    use super::Observer;
    use crate::{Class, Outcome, Pattern, Reason, Rejection};

    /// Counts through the `metrics` facade:
    /// `seawall_<pattern>_calls_total{name, outcome}` and `seawall_<pattern>_rejections_total{name, reason}`.
    ///
    /// A retry also counts `seawall_retry_retries_total{name}` and `seawall_retry_given_up_total{name, reason}`, a fallback
    /// `seawall_fallback_degraded_total{name, source}`.
    ///
    /// The outcome is one of `success`, `failure`, `overload`, `ignored`, `timed_out`, `cancelled`, `panicked`.
    #[derive(Clone)]
    pub struct MetricsObserver {
        pattern: Pattern,
        name: String,
        success: Counter,
        failure: Counter,
        overload: Counter,
        ignored: Counter,
        timed_out: Counter,
        cancelled: Counter,
        panicked: Counter,
    }

    impl MetricsObserver {
        /// Registers the counters of the instance `name` of `pattern` with the recorder that is installed at this time.
        pub fn new(pattern: Pattern, name: impl Into<String>) -> Self {
            let name = name.into();
            let calls = |outcome: &'static str| counter!(format!("seawall_{}_calls_total", pattern.as_str()), "name" => name.clone(), "outcome" => outcome);
            Self {
                success: calls("success"),
                failure: calls("failure"),
                overload: calls("overload"),
                ignored: calls("ignored"),
                timed_out: calls("timed_out"),
                cancelled: calls("cancelled"),
                panicked: calls("panicked"),
                pattern,
                name,
            }
        }

        fn rejections(&self, reason: Reason) -> Counter {
            counter!(
                format!("seawall_{}_rejections_total", self.pattern.as_str()),
                "name" => self.name.clone(),
                "reason" => reason.as_str()
            )
        }
    }

    impl fmt::Debug for MetricsObserver {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("MetricsObserver")
                .field("pattern", &self.pattern)
                .field("name", &self.name)
                .finish_non_exhaustive()
        }
    }

    impl Observer for MetricsObserver {
        const PER_CALL: bool = true;

        fn on_reject(&self, rejection: &Rejection) {
            self.rejections(rejection.reason()).increment(1);
        }

        fn on_call(&self, outcome: Outcome) {
            match outcome {
                Outcome::Finished(Class::Success) => &self.success,
                Outcome::Finished(Class::Failure) => &self.failure,
                Outcome::Finished(Class::Overload) => &self.overload,
                Outcome::Finished(Class::Ignored) => &self.ignored,
                Outcome::TimedOut => &self.timed_out,
                Outcome::Cancelled => &self.cancelled,
                Outcome::Panicked => &self.panicked,
            }
            .increment(1);
        }

        fn on_retry(&self, _: u32, _: Duration) {
            counter!(format!("seawall_{}_retries_total", self.pattern.as_str()), "name" => self.name.clone())
                .increment(1);
        }

        fn on_give_up(&self, reason: &'static str) {
            let metric = format!("seawall_{}_given_up_total", self.pattern.as_str());
            counter!(metric, "name" => self.name.clone(), "reason" => reason).increment(1);
        }

        fn on_degraded(&self, source: &'static str) {
            let metric = format!("seawall_{}_degraded_total", self.pattern.as_str());
            counter!(metric, "name" => self.name.clone(), "source" => source).increment(1);
        }
    }
}

#[cfg(feature = "tracing")]
mod tracing_observer {
    use std::time::Duration;

    use super::Observer;
    use crate::Rejection;

    /// Emits one `tracing` event at debug level per refused, repeated or degraded call.
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
                "call refused"
            );
        }

        fn on_retry(&self, attempts: u32, wait: Duration) {
            tracing::debug!(name = %self.name, attempts, ?wait, "call tried again");
        }

        fn on_give_up(&self, reason: &'static str) {
            tracing::debug!(name = %self.name, reason, "call not tried again");
        }

        fn on_degraded(&self, source: &'static str) {
            tracing::debug!(name = %self.name, source, "call answered by a fallback");
        }
    }
}

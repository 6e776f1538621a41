//! What stands between a service and a part of the state plane.

use std::time::Duration;

use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};
use seawall::circuit_breaker::{BreakerConfig, CircuitBreakerLayer, Window};
use seawall::health::{RecoveryAction, RecoveryEdge, Registry};
use seawall::timeout::{AdaptiveConfig, TimeoutConfig, TimeoutLayer};
use seawall_core::{
    ByResult, CallContext, Clock as _, Env, Error, MetricsObserver, MonotonicClock, NoAttributes, Pattern,
};

use super::figures;
use super::metrics::{AttemptMetrics, CallMetrics};
use crate::link::{Instance, ProtectionMode};
use crate::state::StateError;

/// Why there is no answer: the part failed, or the call was refused or cut on this side.
pub type Refusal = Error<StateError>;

/// Half the default: most requests are answered from the cache, and those that are not should wait for no more than a few
/// seconds' worth of cut calls.
const WINDOW: Duration = Duration::from_secs(5);
/// Half the default, as the window is.
const MIN_CALLS: u32 = 10;
/// Shorter than the default: what answers meanwhile is good, and a probe on loopback costs little.
const OPEN_FOR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));

/// Calls that take longer than three times the 99th percentile are cut and count as failures; while half of them fail,
/// none is made; and never more at once than there are places, so that one part cannot hold up all requests.
#[derive(Debug)]
pub struct Guard {
    protection: ProtectionMode,
    bulkhead: Bulkhead,
    timeout: TimeoutLayer,
    breaker: Breaker,
    metrics: CallMetrics,
    attempts: AttemptMetrics,
}

type Bulkhead = BulkheadLayer<Env<MonotonicClock, ByResult, NoAttributes, MetricsObserver>>;
type Breaker = CircuitBreakerLayer<Env<MonotonicClock, ByResult, NoAttributes, MetricsObserver>>;

impl Guard {
    /// Of `database` or `cache` as this instance calls it: at most so many calls at once, each within a timeout that stays
    /// within these bounds.
    pub(super) fn new(
        name: &'static str,
        (floor, ceiling): (Duration, Duration),
        places: usize,
        caller: &Instance,
    ) -> Self {
        super::metrics::install();
        let adaptive = AdaptiveConfig::new(floor, ceiling).expect("constants in their ranges");
        let observed = |pattern| Env::new().with_observer(MetricsObserver::new(pattern, name));
        let places = BulkheadConfig::new(places).expect("constants in their ranges");
        let config = BreakerConfig::builder()
            .window(Window::Time(WINDOW))
            .min_calls(MIN_CALLS)
            .open_for(OPEN_FOR.0)
            .max_open_for(OPEN_FOR.1)
            .build()
            .expect("constants in their ranges");
        let breaker = CircuitBreakerLayer::with_env(config, observed(Pattern::CircuitBreaker));
        figures::of(name, &breaker);
        let bulkhead = BulkheadLayer::with_env(places, observed(Pattern::Bulkhead));
        figures::of(name, &bulkhead);
        let timeout = TimeoutLayer::new(TimeoutConfig::adaptive(adaptive));
        figures::of(name, &timeout);
        Self {
            protection: caller.options.protection,
            bulkhead,
            timeout,
            breaker,
            metrics: CallMetrics::new(caller, name),
            attempts: AttemptMetrics::new(caller, name),
        }
    }

    /// Runs a call, or refuses it.
    pub(super) async fn run<T>(&self, call: impl Future<Output = Result<T, StateError>> + Send) -> Result<T, Refusal> {
        let call = async {
            self.attempts.sent(false);
            call.await
        };
        let answer = match self.protection {
            ProtectionMode::On => {
                // Outside the breaker: that there is no place says nothing of the part.
                let context = CallContext::default();
                let bounded = self.breaker.run_carrying(context, self.timeout.run(call));
                self.bulkhead.run_carrying(context, bounded).await
            }
            ProtectionMode::Off => call.await.map_err(Error::Inner),
        };
        self.metrics.finished(answer.is_ok());
        answer
    }

    /// Makes no call while a health check says that the part is down; afterwards calls decide again.
    pub(super) fn follow(&self, checks: &mut Registry, action: RecoveryAction) {
        let breaker = self.breaker.clone();
        checks.on_recovery(action, move |edge| match edge {
            RecoveryEdge::Begin => breaker.gate().force_open(MonotonicClock.now()),
            RecoveryEdge::End => breaker.gate().reset(MonotonicClock.now()),
        });
    }
}

//! The peers, each as its users set it up.

use std::{hint::black_box, sync::Arc, time::Duration};

use seatbelt::{RecoveryInfo, ResilienceContext};
use tower::{
    Layer, ServiceBuilder,
    limit::ConcurrencyLimitLayer,
    load_shed::LoadShedLayer,
    retry::{
        Policy, RetryLayer,
        budget::{Budget, TpsBudget},
    },
    timeout::TimeoutLayer,
};
use tower_resilience_adaptive::{AdaptiveLimiterLayer, Aimd, Vegas};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::Side;
use crate::operation::{Calls, Executes, Failed, LaterLeaf, Leaf, Operation, Steps, built};

/// Wide enough that nothing is refused.
const PLACES: usize = 1_000;
/// Long enough that nothing times out.
const LONG: Duration = Duration::from_secs(5);

macro_rules! side {
    ($name:literal, $operation:expr) => {
        Side { name: $name, make: || -> Box<dyn Operation> { Box::new($operation) } }
    };
}

type SeatbeltContext = ResilienceContext<u64, Result<u64, Failed>>;

fn seatbelt_context() -> SeatbeltContext {
    ResilienceContext::new(tick::Clock::new_tokio())
}

fn recovery(result: &Result<u64, Failed>) -> RecoveryInfo {
    if result.is_ok() { RecoveryInfo::never() } else { RecoveryInfo::retry() }
}

macro_rules! seatbelt_breaker {
    ($context:expr) => {
        seatbelt::breaker::Breaker::layer("breaker", $context)
            .recovery_with(|result, _| recovery(result))
            .rejected_input_error(|_, _| Failed::default())
    };
}

macro_rules! seatbelt_stack {
    ($context:expr, $service:expr) => {
        ServiceBuilder::new()
            .layer(
                seatbelt::timeout::Timeout::layer("timeout", $context)
                    .timeout(LONG)
                    .timeout_error(|_| Failed::default()),
            )
            .layer(
                seatbelt::retry::Retry::layer("retry", $context)
                    .clone_input()
                    .recovery_with(|result, _| recovery(result)),
            )
            .layer(seatbelt_breaker!($context))
            .service($service)
    };
}

pub(super) const SEATBELT_BREAKER: Side = side!(
    "seatbelt breaker",
    Calls(ServiceBuilder::new().layer(seatbelt_breaker!(&seatbelt_context())).service(Leaf::default()))
);

pub(super) const SEATBELT_BREAKER_OWN: Side = side!(
    "seatbelt breaker, own trait",
    Executes(ServiceBuilder::new().layer(seatbelt_breaker!(&seatbelt_context())).service(Leaf::default()))
);

pub(super) const SEATBELT_STACK_OWN: Side = side!(
    "seatbelt Timeout > Retry > Breaker, own trait",
    Executes(seatbelt_stack!(&seatbelt_context(), Leaf::default()))
);

/// As its users set it up: by the share of successes, or five failures in a row.
pub(super) const FAILSAFE: Side = side!("failsafe", {
    let breaker = failsafe::Config::new().build();
    Steps(move |request| {
        let _ = black_box(failsafe::CircuitBreaker::call(&breaker, || Ok::<_, Failed>(black_box(request))));
    })
});

pub(super) const SEATBELT_STACK: Side =
    side!("seatbelt Timeout > Retry > Breaker", Calls(seatbelt_stack!(&seatbelt_context(), Leaf::default())));

pub(super) const RESILIENCE_BREAKER: Side = side!("tower-resilience CircuitBreaker", {
    Calls(built(CircuitBreakerLayer::builder().sliding_window_size(100).build()).layer(Leaf::default()))
});

pub(super) const RECLOSER: Side = side!("recloser", {
    let breaker = Arc::new(recloser::Recloser::custom().closed_len(100).build());
    Steps(move |request| {
        let _ = black_box(breaker.call(|| Ok::<_, Failed>(black_box(request))));
    })
});

pub(super) const TOWER_CONCURRENCY: Side =
    side!("tower ConcurrencyLimit", Calls(ConcurrencyLimitLayer::new(PLACES).layer(Leaf::default())));

pub(super) const RESILIENCE_BULKHEAD: Side = side!("tower-resilience Bulkhead", {
    let layer = BulkheadLayer::builder().max_concurrent_calls(PLACES).reject_when_full().build();
    Calls(built(layer).layer(Leaf::default()))
});

pub(super) const TOWER_TIMEOUT: Side = side!("tower Timeout", Calls(TimeoutLayer::new(LONG).layer(Leaf::default())));

pub(super) const TOWER_TIMEOUT_PENDING: Side =
    side!("tower Timeout", Calls(TimeoutLayer::new(LONG).layer(LaterLeaf::default())));

pub(super) const RESILIENCE_TIMEOUT: Side = side!("tower-resilience TimeLimiter", {
    Calls(TimeLimiterLayer::builder().timeout_duration(LONG).build().layer(Leaf::default()))
});

/// Retries failures within a budget.
#[derive(Clone)]
struct WithBudget(Arc<TpsBudget>);

impl Policy<u64, u64, Failed> for WithBudget {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, Failed>) -> Option<Self::Future> {
        if result.is_ok() {
            self.0.deposit();
            return None;
        }
        self.0.withdraw().then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

/// Never retries.
#[derive(Clone)]
struct Never;

impl Policy<u64, u64, Failed> for Never {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u64, _: &mut Result<u64, Failed>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

pub(super) const TOWER_RETRY: Side = side!("tower Retry", Calls(RetryLayer::new(Never).layer(Leaf::default())));

pub(super) const TOWER_RETRY_BUDGET: Side = side!(
    "tower Retry + TpsBudget",
    Calls(RetryLayer::new(WithBudget(Arc::new(TpsBudget::default()))).layer(Leaf::default()))
);

pub(super) const RESILIENCE_AIMD: Side = side!("tower-resilience Adaptive AIMD", {
    let limit = Aimd::builder().initial_limit(100).max_limit(PLACES).build();
    Calls(AdaptiveLimiterLayer::new(built(limit)).layer(Leaf::default()))
});

pub(super) const RESILIENCE_VEGAS: Side = side!("tower-resilience Adaptive Vegas", {
    let limit = Vegas::builder().initial_limit(100).max_limit(PLACES).build();
    Calls(AdaptiveLimiterLayer::new(built(limit)).layer(Leaf::default()))
});

pub(super) const LITTLE_LOADSHEDDER: Side = side!(
    "little-loadshedder",
    Calls(little_loadshedder::LoadShedLayer::new(0.01, Duration::from_millis(100)).layer(Leaf::default()))
);

macro_rules! tower_three {
    ($leaf:expr) => {
        ServiceBuilder::new()
            .layer(LoadShedLayer::new())
            .layer(ConcurrencyLimitLayer::new(PLACES))
            .layer(TimeoutLayer::new(LONG))
            .service($leaf)
    };
}

pub(super) const TOWER_THREE: Side = side!("tower three", Calls(tower_three!(Leaf::default())));

pub(super) const TOWER_THREE_PENDING: Side = side!("tower three", Calls(tower_three!(LaterLeaf::default())));

pub(super) const RESILIENCE_STACK: Side = side!("tower-resilience TimeLimiter > Retry > CircuitBreaker > Bulkhead", {
    let breaker = built(CircuitBreakerLayer::builder().build());
    let bulkhead = built(BulkheadLayer::builder().max_concurrent_calls(PLACES).build());
    let attempts = breaker.layer(bulkhead.layer(Leaf::default()));
    let retry = tower_resilience_retry::RetryLayer::exponential_backoff().build();
    Calls(TimeLimiterLayer::builder().timeout_duration(LONG).build().layer(retry.layer(attempts)))
});

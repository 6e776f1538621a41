//! The circuit breaker.

use std::time::Duration;

use seawall::{
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, State},
    core::{Class, Clock, Outcome, TokioClock},
};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd},
};
use tower::ServiceExt;

fn closed(env: TestEnv) -> CircuitBreakerLayer<TestEnv> {
    CircuitBreakerLayer::with_env(BreakerConfig::default(), env)
}

/// Opened an hour ago, so that the next calls are probes: what a lost probe would wedge.
fn half_open(env: TestEnv) -> CircuitBreakerLayer<TestEnv> {
    let layer = closed(env);
    let then = TokioClock.now().saturating_sub(Duration::from_secs(3600));
    for _ in 0..20 {
        let ticket = layer.gate().try_admit(then).unwrap();
        layer.gate().record(ticket, Outcome::Finished(Class::Failure), Duration::ZERO, then);
    }
    assert_eq!(layer.gate().state(), State::Open);
    layer
}

/// Whether no probe would get through long after everything ended.
fn wedged(layer: &CircuitBreakerLayer<TestEnv>) -> usize {
    let much_later = TokioClock.now().saturating_add(Duration::from_secs(3600));
    usize::from(layer.gate().try_admit(much_later).is_err())
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(closed).await;
    contract::every_call_ends_in_exactly_one_outcome(half_open).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(closed, wedged).await;
    contract::dropping_at_any_point_leaves_nothing_held(half_open, wedged).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(closed).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(closed).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(closed, async |service| {
        for _ in 0..20 {
            let _ = service.clone().oneshot(Script::Fail).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_holds_is_woken_once() {
    contract::every_waiter_is_woken_and_none_spins(closed, Crowd::Passes).await;
}

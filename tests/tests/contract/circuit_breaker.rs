//! The circuit breaker.

use std::time::Duration;

use seawall::{
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, CountAs, State},
    core::{Class, Clock, Outcome, TokioClock},
};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd},
    hold,
};
use tower::ServiceExt;

/// How many are let through at once by default.
const PROBES: usize = 3;

pub(crate) fn closed(env: TestEnv) -> CircuitBreakerLayer<TestEnv> {
    CircuitBreakerLayer::with_env(BreakerConfig::default(), env)
}

/// Opened an hour ago, so that the next calls are probes: what a lost probe would wedge. Callers who leave teach it
/// nothing, or so many of them would open it again, which is no wedge.
pub(crate) fn half_open(env: TestEnv) -> CircuitBreakerLayer<TestEnv> {
    let config = BreakerConfig::builder().cancelled(CountAs::Nothing).build().unwrap();
    let layer = CircuitBreakerLayer::with_env(config, env);
    let then = TokioClock.now().saturating_sub(Duration::from_secs(3600));
    for _ in 0..20 {
        let ticket = layer.gate().try_admit(then).unwrap();
        layer.gate().record(ticket, Outcome::Finished(Class::Failure), Duration::ZERO, then);
    }
    assert_eq!(layer.gate().state(), State::Open);
    layer
}

/// Whether probes are missing although none is under way: one that has failed has opened it again instead. Asked now: much
/// later, lost probes would have been given up.
pub(crate) fn wedged(layer: &CircuitBreakerLayer<TestEnv>) -> usize {
    let is_refused = layer.gate().try_admit(TokioClock.now()).is_err();
    usize::from(is_refused && layer.gate().state() != State::Open)
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
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(half_open).await;
}

/// Of a half-open one: no handle has taken a probe's place.
#[tokio::test(start_paused = true)]
async fn handles_that_are_ready_and_idle_keep_nobody_out() {
    contract::handles_that_are_ready_and_idle_keep_nobody_out(closed).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(half_open).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(closed, Crowd::Passes).await;
    contract::works_under_a_buffer(half_open, Crowd::IsRefused).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(closed, async |service| {
        for _ in 0..20 {
            let _ = service.clone().oneshot(Script::Fail).await;
        }
    })
    .await;
    // All probes are out.
    contract::state_is_shared_by_clones_and_by_layer_calls(half_open, async |service| {
        hold(&service, Script::Hang, PROBES)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_holds_is_woken_once() {
    contract::every_waiter_is_woken_and_none_spins(closed, Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(half_open, Crowd::IsRefused).await;
}

//! The retry layer.

use std::time::Duration;

use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, RetryConfig, RetryLayer},
    bulkhead::{BulkheadConfig, BulkheadLayer},
    core::{Env, TokioClock, WrapError},
};
use seawall_testkit::{
    Probe, Recorder, Script, TestEnv,
    contract::{self, Crowd},
};
use tower::{Layer, ServiceExt};

use crate::pool;

/// Tries once, so that an ending happens when the probe says so.
pub(crate) fn once(env: TestEnv) -> RetryLayer<TestEnv> {
    RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat).with_attempts(1).unwrap(), env)
}

pub(crate) fn thrice(env: TestEnv) -> RetryLayer<TestEnv> {
    RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(once).await;
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_once_whatever_it_does_inside() {
    contract::every_call_through_it_ends_once(once).await;
    contract::every_call_through_it_ends_once(thrice).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(thrice, |_| 0).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(thrice).await;
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_ready_and_idle_keep_nobody_out() {
    contract::handles_that_are_ready_and_idle_keep_nobody_out(thrice).await;
}

#[tokio::test(start_paused = true)]
async fn one_budget_pays_for_all_clones_and_services() {
    let make = |env| {
        let config = RetryConfig::new(IfUnknown::Repeat).with_backoff(Backoff::constant(Duration::ZERO));
        RetryLayer::with_env(config, env)
    };

    contract::what_one_service_learns_all_know(
        make,
        async |service| {
            for _ in 0..20 {
                let _ = service.clone().oneshot(Script::Fail).await;
            }
        },
        async |service, probe| {
            let before = probe.calls();
            let _ = service.oneshot(Script::Fail).await;
            probe.calls() - before == 1
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(thrice, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(thrice, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn the_place_in_the_bulkhead_below_is_free_while_a_retry_waits() {
    let env = || Env::new().with_clock(TokioClock).with_observer(Recorder::default());
    let bulkhead = BulkheadLayer::with_env(BulkheadConfig::new(1).unwrap(), env());
    let probe = Probe::new();
    let mut waiting = Box::pin(thrice(env()).layer(bulkhead.protect(probe.clone())).oneshot(Script::Fail));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending(), "the retry waits");

    assert_eq!((probe.calls(), bulkhead.gate().in_flight()), (1, 0));
    assert_eq!(bulkhead.protect(Probe::new()).oneshot(Script::Answer).await, Ok("answered"));
    drop(waiting);

    assert_eq!((bulkhead.gate().in_flight(), probe.running()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_connection_of_the_pool_below_is_free_while_a_retry_waits() {
    let env = Env::new().with_clock(TokioClock).with_observer(Recorder::default());
    let connections = pool::pool(1);
    let service = pool::over(&connections).layer(WrapError::new(Probe::new()));
    let mut waiting = Box::pin(thrice(env).layer(service.clone()).oneshot(Script::Fail));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while connections.status().totals.handed_out == 0 {
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        tokio::task::yield_now().await;
    }

    assert_eq!(connections.status().in_use, 0);
    assert_eq!(service.oneshot(Script::Answer).await, Ok("answered"));
    drop(waiting);

    assert_eq!((connections.status().in_use, connections.status().waiters), (0, 0));
}

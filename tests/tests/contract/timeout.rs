//! The timeout layer.

use std::time::Duration;

use seawall::{
    core::Error,
    timeout::{TimeoutConfig, TimeoutLayer},
};
use seawall_testkit::{
    Probe, Recorder, Script, TestEnv,
    contract::{self, Crowd},
};
use tower::ServiceExt;

const LIMIT: Duration = Duration::from_secs(1);

fn attempt(env: TestEnv) -> TimeoutLayer<TestEnv> {
    TimeoutLayer::with_env(TimeoutConfig::attempt(LIMIT).unwrap(), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_once_whatever_it_does_inside() {
    contract::every_call_ends_in_exactly_one_outcome(attempt).await;
    contract::every_call_through_it_ends_once(attempt).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(attempt, |_| 0).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(attempt).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(attempt).await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(attempt, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_is_cut_and_the_service_inside_is_dropped() {
    let probe = Probe::new();
    let env = seawall::core::Env::new().with_clock(seawall::core::TokioClock).with_observer(Recorder::default());

    let cut = attempt(env).protect(probe.clone()).oneshot(Script::Hang).await;

    assert!(matches!(cut, Err(Error::Rejected(rejection)) if rejection.reason().is_timeout()));
    assert_eq!((probe.calls(), probe.running()), (1, 0));
}

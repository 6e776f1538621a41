//! The timeout layer.

use std::time::Duration;

use seawall::{
    core::{Clock, Env, Error, TokioClock},
    timeout::{AdaptiveConfig, TimeoutConfig, TimeoutLayer},
};
use seawall_testkit::{
    Probe, Recorder, Script, TestEnv,
    contract::{self, Crowd},
};
use tower::ServiceExt;

const LIMIT: Duration = Duration::from_secs(1);

pub(crate) fn attempt(env: TestEnv) -> TimeoutLayer<TestEnv> {
    TimeoutLayer::with_env(TimeoutConfig::attempt(LIMIT).unwrap(), env)
}

const FLOOR: Duration = Duration::from_millis(50);
const CEILING: Duration = Duration::from_secs(5);

pub(crate) fn adaptive(env: TestEnv) -> TimeoutLayer<TestEnv> {
    TimeoutLayer::with_env(TimeoutConfig::adaptive(AdaptiveConfig::new(FLOOR, CEILING).unwrap()), env)
}

async fn keeps_the_contract(make: fn(TestEnv) -> TimeoutLayer<TestEnv>) {
    contract::every_call_ends_in_exactly_one_outcome(make).await;
    contract::every_call_through_it_ends_once(make).await;
    contract::dropping_at_any_point_leaves_nothing_held(make, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(make).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(make).await;
    contract::works_under_a_buffer(make, Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(make, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn a_fixed_timeout_keeps_the_contract() {
    keeps_the_contract(attempt).await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_follows_latencies_keeps_the_contract() {
    keeps_the_contract(adaptive).await;
}

#[tokio::test(start_paused = true)]
async fn what_one_service_learns_of_latencies_bounds_the_calls_of_all() {
    contract::what_one_service_learns_all_know(
        adaptive,
        async |service| {
            for _ in 0..200 {
                assert_eq!(service.clone().oneshot(Script::Answer).await, Ok("answered"));
            }
            tokio::time::advance(Duration::from_secs(10)).await;
        },
        async |service, _| {
            let begin = TokioClock.now();
            let cut = service.oneshot(Script::Hang).await;
            assert!(matches!(cut, Err(Error::Rejected(rejection)) if rejection.reason().is_timeout()));
            let took = TokioClock.now().since(begin);
            assert!(took == FLOOR || took == CEILING, "{took:?}");
            took == FLOOR
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_is_cut_and_the_service_inside_is_dropped() {
    let probe = Probe::new();
    let env = Env::new().with_clock(TokioClock).with_observer(Recorder::default());

    let cut = attempt(env).protect(probe.clone()).oneshot(Script::Hang).await;

    assert!(matches!(cut, Err(Error::Rejected(rejection)) if rejection.reason().is_timeout()));
    assert_eq!((probe.calls(), probe.running()), (1, 0));
}

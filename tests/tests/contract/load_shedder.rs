//! The load shedder.

use seawall::{
    core::{GateLayer, TokioClock},
    load_shedder::{
        Knee, LoadShedderConfig, LoadShedderLayer, QueueingLoadShedder, QueueingShedderConfig, Throttle, ThrottleConfig,
    },
};
use seawall_testkit::{Script, TestEnv, contract, hold};

fn adaptive(env: TestEnv) -> LoadShedderLayer<TestEnv> {
    LoadShedderLayer::with_env(LoadShedderConfig::default(), env)
}

fn queueing(env: TestEnv) -> GateLayer<QueueingLoadShedder<Knee, TokioClock>, TestEnv> {
    GateLayer::with_env(QueueingLoadShedder::new(QueueingShedderConfig::default(), TokioClock), env)
}

fn throttle(env: TestEnv) -> GateLayer<Throttle, TestEnv> {
    GateLayer::with_env(ThrottleConfig::default(), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(adaptive);
    contract::every_call_ends_in_exactly_one_outcome(throttle);
    contract::every_call_through_it_ends_once(queueing);
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(adaptive, |layer| layer.gate().in_flight().try_into().unwrap());
    contract::dropping_at_any_point_leaves_nothing_held(queueing, |layer| {
        layer.gate().queued() + usize::try_from(layer.gate().in_flight()).unwrap()
    });
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(adaptive).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(queueing).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(throttle).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(adaptive).await;
    contract::works_under_a_buffer(queueing).await;
    contract::works_under_a_buffer(throttle).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(adaptive, async |service| {
        hold(&service, Script::Hang, 1_000)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(adaptive).await;
    contract::every_waiter_is_woken_and_none_spins(queueing).await;
}

//! The bulkhead that refuses, and the one that lets calls wait.

use seawall::{
    bulkhead::{Bulkhead, BulkheadConfig, BulkheadLayer, QueueingBulkhead, QueueingBulkheadConfig},
    core::{GateLayer, TokioClock},
};
use seawall_testkit::{Script, TestEnv, contract, hold};

const PLACES: usize = 4;

fn refusing(env: TestEnv) -> BulkheadLayer<TestEnv> {
    BulkheadLayer::with_env(BulkheadConfig::new(PLACES).unwrap(), env)
}

fn queueing(env: TestEnv) -> GateLayer<QueueingBulkhead<TokioClock>, TestEnv> {
    let config = QueueingBulkheadConfig::new(BulkheadConfig::new(PLACES).unwrap());
    GateLayer::with_env(QueueingBulkhead::new(config, TokioClock), env)
}

fn held(layer: &GateLayer<Bulkhead, TestEnv>) -> usize {
    layer.gate().in_flight().try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(refusing);
    contract::every_call_through_it_ends_once(queueing);
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(refusing, held);
    contract::dropping_at_any_point_leaves_nothing_held(queueing, |layer| {
        layer.gate().queued() + usize::try_from(layer.gate().in_flight()).unwrap()
    });
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(refusing).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(queueing).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(refusing).await;
    contract::works_under_a_buffer(queueing).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(refusing, async |service| {
        hold(&service, Script::Hang, PLACES)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(queueing).await;
}

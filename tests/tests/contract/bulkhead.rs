//! The bulkhead that refuses, and the one that lets calls wait.

use seawall::{
    bulkhead::{Bulkhead, BulkheadConfig, BulkheadLayer, QueueingBulkhead, QueueingBulkheadConfig},
    core::{GateLayer, TokioClock},
};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd},
    hold,
};

const PLACES: usize = 4;
const QUEUED: usize = 100;

fn refusing(env: TestEnv) -> BulkheadLayer<TestEnv> {
    BulkheadLayer::with_env(BulkheadConfig::new(PLACES).unwrap(), env)
}

fn queueing(env: TestEnv) -> GateLayer<QueueingBulkhead<TokioClock>, TestEnv> {
    let config = QueueingBulkheadConfig::new(BulkheadConfig::new(PLACES).unwrap()).with_max_queued(QUEUED).unwrap();
    GateLayer::with_env(QueueingBulkhead::new(config, TokioClock), env)
}

fn held(layer: &GateLayer<Bulkhead, TestEnv>) -> usize {
    layer.gate().in_flight().try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(refusing).await;
    contract::every_call_ends_in_exactly_one_outcome(queueing).await;
    contract::every_call_that_waited_ends_in_exactly_one_outcome(queueing, PLACES).await;
    contract::a_call_that_waits_in_vain_is_booked_as_refused(queueing, PLACES).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(refusing, held).await;
    contract::dropping_at_any_point_leaves_nothing_held(queueing, |layer| {
        layer.gate().queued() + usize::try_from(layer.gate().in_flight()).unwrap()
    })
    .await;
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
    contract::state_is_shared_by_clones_and_by_layer_calls(queueing, async |service| {
        hold(&service, Script::Hang, PLACES + QUEUED)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(refusing, Crowd::IsRefused).await;
    contract::every_waiter_is_woken_and_none_spins(queueing, Crowd::Waits).await;
}

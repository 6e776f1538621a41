//! The bulkhead whose services wait before they are ready.

use seawall::bulkhead::{BackPressureLayer, BulkheadConfig, QueueingBulkheadConfig};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd},
    hold,
};
use tower::ServiceExt;

const PLACES: usize = 4;
const QUEUED: usize = 100;

fn reserving(env: TestEnv) -> BackPressureLayer<TestEnv> {
    let config = QueueingBulkheadConfig::new(BulkheadConfig::new(PLACES).unwrap());
    BackPressureLayer::with_env(config.with_max_queued(QUEUED).unwrap(), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(reserving).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(reserving, |layer| {
        layer.bulkhead().queued() + usize::try_from(layer.bulkhead().in_flight()).unwrap()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_gives_back_what_it_reserved() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(reserving).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(reserving, Crowd::Waits).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(reserving, async |service| {
        let calls = hold(&service, Script::Hang, PLACES);
        let waiting: Vec<_> = (0..QUEUED).map(|_| tokio::spawn(service.clone().ready_oneshot())).collect();
        tokio::task::yield_now().await;
        (calls, waiting)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(reserving, Crowd::Waits).await;
}

//! The load shedder.

use seawall::load_shedder::{LoadShedderConfig, LoadShedderLayer};
use seawall_testkit::{Script, TestEnv, contract, hold};

fn adaptive(env: TestEnv) -> LoadShedderLayer<TestEnv> {
    LoadShedderLayer::with_env(LoadShedderConfig::default(), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(adaptive);
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(adaptive, |layer| layer.gate().in_flight().try_into().unwrap());
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(adaptive).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(adaptive).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(adaptive, async |service| {
        hold(&service, Script::Hang, 1_000)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_holds_is_woken_once() {
    contract::every_waiter_is_woken_and_none_spins(adaptive).await;
}

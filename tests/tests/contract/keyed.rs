//! A gate per key: with one key it is as good as the gate itself.

use seawall::{
    bulkhead::{Bulkhead, BulkheadConfig, QueueingBulkhead, QueueingBulkheadConfig},
    core::{KeyedLayer, TokioClock},
};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd},
    hold,
};

const PLACES: usize = 4;
const QUEUED: usize = 100;

type OneKey = fn(&Script) -> &str;
type ByKey<G> = KeyedLayer<str, OneKey, G, TestEnv>;

const ONE_KEY: OneKey = |_| "one";

fn refusing(env: TestEnv) -> ByKey<Bulkhead> {
    KeyedLayer::with_env(2, BulkheadConfig::new(PLACES).unwrap(), ONE_KEY, env).unwrap()
}

/// The queueing bulkhead on tokio's clock.
#[derive(Clone)]
struct OnTokio(QueueingBulkheadConfig);

impl From<OnTokio> for QueueingBulkhead<TokioClock> {
    fn from(OnTokio(config): OnTokio) -> Self {
        Self::new(config, TokioClock)
    }
}

fn queueing(env: TestEnv) -> ByKey<QueueingBulkhead<TokioClock>> {
    let config = QueueingBulkheadConfig::new(BulkheadConfig::new(PLACES).unwrap()).with_max_queued(QUEUED).unwrap();
    KeyedLayer::with_env(2, OnTokio(config), ONE_KEY, env).unwrap()
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
    contract::dropping_at_any_point_leaves_nothing_held(refusing, |layer| {
        layer.gate("one").gate().in_flight().try_into().unwrap()
    })
    .await;
    contract::dropping_at_any_point_leaves_nothing_held(queueing, |layer| {
        let one = layer.gate("one");
        one.gate().queued() + usize::try_from(one.gate().in_flight()).unwrap()
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

//! A gate per key: with one key it is as good as the gate itself.

use seawall::{
    bulkhead::{Bulkhead, BulkheadConfig, QueueingBulkhead, QueueingBulkheadConfig},
    circuit_breaker::{BreakerConfig, KeyedCircuitBreakerLayer},
    core::{KeyedLayer, TokioClock},
    load_shedder::{KeyedThrottleLayer, ThrottleConfig},
};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd},
    hold,
};
use tower::ServiceExt;

const PLACES: usize = 4;
const QUEUED: usize = 100;

pub(crate) type OneKey = fn(&Script) -> &str;
pub(crate) type ByKey<G> = KeyedLayer<str, OneKey, G, TestEnv>;

pub(crate) const ONE_KEY: OneKey = |_| "one";

pub(crate) fn refusing(env: TestEnv) -> ByKey<Bulkhead> {
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

pub(crate) fn queueing(env: TestEnv) -> ByKey<QueueingBulkhead<TokioClock>> {
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
async fn handles_that_are_ready_and_idle_keep_nobody_out() {
    contract::handles_that_are_ready_and_idle_keep_nobody_out(refusing).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(queueing).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(refusing, Crowd::IsRefused).await;
    contract::works_under_a_buffer(queueing, Crowd::Waits).await;
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

fn breakers(env: TestEnv) -> KeyedCircuitBreakerLayer<str, OneKey, TestEnv> {
    KeyedLayer::with_env(2, BreakerConfig::default(), ONE_KEY, env).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_circuit_breaker_per_key_keeps_the_contract() {
    contract::every_call_ends_in_exactly_one_outcome(breakers).await;
    contract::every_call_through_it_ends_once(breakers).await;
    contract::dropping_at_any_point_leaves_nothing_held(breakers, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(breakers).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(breakers).await;
    contract::works_under_a_buffer(breakers, Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(breakers, Crowd::Passes).await;
    contract::state_is_shared_by_clones_and_by_layer_calls(breakers, async |service| {
        for _ in 0..20 {
            let _ = service.clone().oneshot(Script::Fail).await;
        }
    })
    .await;
}

/// Fewer calls than it holds anybody back for.
fn throttles(env: TestEnv) -> KeyedThrottleLayer<str, OneKey, TestEnv> {
    KeyedLayer::with_env(2, ThrottleConfig::default().with_padding(1_000_000), ONE_KEY, env).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_throttle_per_key_keeps_the_contract() {
    contract::every_call_ends_in_exactly_one_outcome(throttles).await;
    contract::every_call_through_it_ends_once(throttles).await;
    contract::dropping_at_any_point_leaves_nothing_held(throttles, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(throttles).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(throttles).await;
    contract::works_under_a_buffer(throttles, Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(throttles, Crowd::Passes).await;
}

//! The load shedder.

use seawall::{
    core::{Entropy, GateLayer, TokioClock},
    load_shedder::{
        Knee, LoadShedderConfig, LoadShedderLayer, QueueingLoadShedder, QueueingShedderConfig, Throttle, ThrottleConfig,
    },
};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd},
    hold,
};
use tower::ServiceExt;

pub(crate) fn adaptive(env: TestEnv) -> LoadShedderLayer<TestEnv> {
    LoadShedderLayer::with_env(LoadShedderConfig::default(), env)
}

pub(crate) fn queueing(env: TestEnv) -> GateLayer<QueueingLoadShedder<Knee, TokioClock>, TestEnv> {
    GateLayer::with_env(QueueingLoadShedder::new(QueueingShedderConfig::default(), TokioClock), env)
}

/// Where the default begins.
const PLACES: usize = 16;

/// The lowest word: every call that may be held back is.
#[derive(Debug)]
pub(crate) struct Lowest;

impl Entropy for Lowest {
    fn next_u64(&self) -> u64 {
        0
    }
}

pub(crate) fn always_holding_back(env: TestEnv) -> GateLayer<Throttle<Lowest>, TestEnv> {
    GateLayer::with_env(Throttle::with_entropy(ThrottleConfig::default(), Lowest), env)
}

/// The highest word: no call is.
#[derive(Debug)]
pub(crate) struct Highest;

impl Entropy for Highest {
    fn next_u64(&self) -> u64 {
        u64::MAX
    }
}

pub(crate) fn throttle(env: TestEnv) -> GateLayer<Throttle<Highest>, TestEnv> {
    GateLayer::with_env(Throttle::with_entropy(ThrottleConfig::default(), Highest), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(adaptive).await;
    contract::every_call_ends_in_exactly_one_outcome(throttle).await;
    contract::every_call_ends_in_exactly_one_outcome(queueing).await;
    contract::every_call_that_waited_ends_in_exactly_one_outcome(queueing, PLACES).await;
    contract::a_call_that_waits_in_vain_is_booked_as_refused(queueing, PLACES).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(adaptive, |layer| layer.gate().in_flight().try_into().unwrap())
        .await;
    contract::dropping_at_any_point_leaves_nothing_held(throttle, |_| 0).await;
    contract::dropping_at_any_point_leaves_nothing_held(queueing, |layer| {
        layer.gate().queued() + usize::try_from(layer.gate().in_flight()).unwrap()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(adaptive).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(queueing).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(throttle).await;
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_ready_and_idle_keep_nobody_out() {
    contract::handles_that_are_ready_and_idle_keep_nobody_out(adaptive).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(queueing).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(always_holding_back).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(adaptive, Crowd::IsRefused).await;
    contract::works_under_a_buffer(queueing, Crowd::Waits).await;
    contract::works_under_a_buffer(always_holding_back, Crowd::IsRefused).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(adaptive, async |service| {
        hold(&service, Script::Hang, 1_000)
    })
    .await;
    // What finds the places taken waits for a moment first, then it is refused.
    contract::state_is_shared_by_clones_and_by_layer_calls(queueing, async |service| {
        hold(&service, Script::Hang, PLACES)
    })
    .await;
    contract::state_is_shared_by_clones_and_by_layer_calls(always_holding_back, async |service| {
        for _ in 0..20 {
            let _ = service.clone().oneshot(Script::TimeOut).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(adaptive, Crowd::IsRefused).await;
    contract::every_waiter_is_woken_and_none_spins(queueing, Crowd::Waits).await;
    contract::every_waiter_is_woken_and_none_spins(always_holding_back, Crowd::IsRefused).await;
}

//! The bulkheads that refuse, and the one that lets calls wait, in each order.

use seawall::{
    bulkhead::{
        Bulkhead, BulkheadConfig, BulkheadLayer, Order, PriorityBulkheadLayer, QueueingBulkhead,
        QueueingBulkheadConfig, Reserve, Shares,
    },
    core::{GateLayer, TokioClock},
    fallback::{FallbackLayer, Value},
};
use seawall_testkit::{
    Probe, Script, TestEnv,
    contract::{self, Crowd},
    hold,
};
use tower::{Layer, ServiceExt};

pub(crate) const PLACES: usize = 4;
pub(crate) const QUEUED: usize = 100;

pub(crate) fn refusing(env: TestEnv) -> BulkheadLayer<TestEnv> {
    BulkheadLayer::with_env(BulkheadConfig::new(PLACES).unwrap(), env)
}

pub(crate) fn keeping(env: TestEnv) -> PriorityBulkheadLayer<TestEnv> {
    PriorityBulkheadLayer::with_env((BulkheadConfig::new(PLACES).unwrap(), Reserve::default()), env)
}

pub(crate) type Queueing = GateLayer<QueueingBulkhead<TokioClock>, TestEnv>;

fn ordered(order: Order, env: TestEnv) -> Queueing {
    let config = QueueingBulkheadConfig::new(BulkheadConfig::new(PLACES).unwrap()).with_order(order);
    GateLayer::with_env(QueueingBulkhead::new(config.with_max_queued(QUEUED).unwrap(), TokioClock), env)
}

/// One per order.
pub(crate) const QUEUEING: [fn(TestEnv) -> Queueing; 5] = [
    |env| ordered(Order::OldestFirst, env),
    |env| ordered(Order::NewestFirst, env),
    |env| ordered(Order::EarliestDeadlineFirst, env),
    |env| ordered(Order::MostCriticalFirst(Reserve::default()), env),
    |env| ordered(Order::ByShare(Shares::equal()), env),
];

fn held(layer: &GateLayer<Bulkhead, TestEnv>) -> usize {
    layer.gate().in_flight().try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(refusing).await;
    contract::every_call_ends_in_exactly_one_outcome(keeping).await;
    for queueing in QUEUEING {
        contract::every_call_ends_in_exactly_one_outcome(queueing).await;
        contract::every_call_that_waited_ends_in_exactly_one_outcome(queueing, PLACES).await;
        contract::a_call_that_waits_in_vain_is_booked_as_refused(queueing, PLACES).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(refusing, held).await;
    contract::dropping_at_any_point_leaves_nothing_held(keeping, |layer| layer.gate().in_flight().try_into().unwrap())
        .await;
    for queueing in QUEUEING {
        contract::dropping_at_any_point_leaves_nothing_held(queueing, |layer| {
            layer.gate().queued() + usize::try_from(layer.gate().in_flight()).unwrap()
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(refusing).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(keeping).await;
    for queueing in QUEUEING {
        contract::readiness_reserves_nothing_that_a_drop_does_not_return(queueing).await;
    }
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_ready_and_idle_keep_nobody_out() {
    contract::handles_that_are_ready_and_idle_keep_nobody_out(refusing).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(keeping).await;
    for queueing in QUEUEING {
        contract::handles_that_are_ready_and_idle_keep_nobody_out(queueing).await;
    }
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(refusing, Crowd::IsRefused).await;
    contract::works_under_a_buffer(keeping, Crowd::IsRefused).await;
    for queueing in QUEUEING {
        contract::works_under_a_buffer(queueing, Crowd::Waits).await;
    }
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(refusing, async |service| {
        hold(&service, Script::Hang, PLACES)
    })
    .await;
    contract::state_is_shared_by_clones_and_by_layer_calls(keeping, async |service| {
        hold(&service, Script::Hang, PLACES)
    })
    .await;
    for queueing in QUEUEING {
        contract::state_is_shared_by_clones_and_by_layer_calls(queueing, async |service| {
            hold(&service, Script::Hang, PLACES + QUEUED)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(refusing, Crowd::IsRefused).await;
    contract::every_waiter_is_woken_and_none_spins(keeping, Crowd::IsRefused).await;
    for queueing in QUEUEING {
        contract::every_waiter_is_woken_and_none_spins(queueing, Crowd::Waits).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_outside_answers_what_the_bulkhead_refuses() {
    let layer = BulkheadLayer::new(BulkheadConfig::new(1).unwrap());
    let probe = Probe::new();
    let degraded = FallbackLayer::new(Value::new("degraded")).layer(layer.protect(probe.clone()));
    let held = hold(&degraded, Script::Hang, 1);

    let refused = degraded.clone().oneshot(Script::Answer).await;
    drop(held);
    let served = degraded.oneshot(Script::Answer).await;

    assert_eq!((refused.unwrap(), served.unwrap(), probe.calls()), ("degraded", "answered", 2));
}

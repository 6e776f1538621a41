//! The load shedder.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use seawall::{
    core::{
        Admission, CallContext, Class, Classify, Clock, Entropy, Environment, Gate, GateLayer, Outcome, TokioClock,
        Verdict,
    },
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

/// Every failure says that there is too much to do.
#[derive(Clone, Copy, Debug)]
struct Busy;

impl<R, E> Classify<R, E> for Busy {
    fn classify(&self, result: Result<&R, &E>) -> Verdict {
        Verdict::new(if result.is_ok() { Class::Success } else { Class::Overload })
    }
}

/// The lowest word: every call that may be held back is.
#[derive(Debug)]
struct Lowest;

impl Entropy for Lowest {
    fn next_u64(&self) -> u64 {
        0
    }
}

/// Every other call that may be held back is, beginning with the second.
#[derive(Debug, Default)]
pub(crate) struct EveryOther(AtomicBool);

impl Entropy for EveryOther {
    fn next_u64(&self) -> u64 {
        if self.0.fetch_xor(true, Relaxed) { 0 } else { u64::MAX }
    }
}

/// Before a service that has just refused a call.
pub(crate) fn holding_back(env: TestEnv) -> GateLayer<Throttle<EveryOther>, TestEnv> {
    let throttle = Throttle::with_entropy(ThrottleConfig::default().with_padding(0), EveryOther::default());
    let now = || env.clock().now();
    assert!(matches!(throttle.admit(CallContext::new, now), Admission::Admitted(())));
    throttle.finish((), Outcome::Finished(Class::Overload), now);
    GateLayer::with_env(throttle, env)
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
    contract::handles_that_are_ready_and_idle_keep_nobody_out(holding_back).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(adaptive, Crowd::IsRefused).await;
    contract::works_under_a_buffer(queueing, Crowd::Waits).await;
    contract::works_under_a_buffer(holding_back, Crowd::IsRefused).await;
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
    let throttle = |env: TestEnv| {
        let throttle = Throttle::with_entropy(ThrottleConfig::default(), Lowest);
        GateLayer::<Throttle<Lowest>, _>::with_env(throttle, env.with_classifier(Busy))
    };
    contract::state_is_shared_by_clones_and_by_layer_calls(throttle, async |service| {
        for _ in 0..20 {
            let _ = service.clone().oneshot(Script::Fail).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(adaptive, Crowd::IsRefused).await;
    contract::every_waiter_is_woken_and_none_spins(queueing, Crowd::Waits).await;
    contract::every_waiter_is_woken_and_none_spins(holding_back, Crowd::IsRefused).await;
}

//! The fallback layer.

use std::{
    convert::Infallible,
    future::{Pending, pending},
    sync::RwLock,
    time::Duration,
};

use seawall::{
    core::{Criticality, Error, TokioClock},
    fallback::{Bounds, Cause, Combine, Dimmer, FallbackError, FallbackLayer, FeatureLayer, Value, from_fn},
};
use seawall_testkit::{
    Probe, ProbeError, Recorder, Script, TestEnv,
    contract::{self, Crowd},
};
use tower::{Layer, ServiceExt, layer::util::Stack, util::MapErrLayer};

pub(crate) type Failing = Error<ProbeError>;

/// The suite speaks of the service's own errors.
pub(crate) fn plain<F>(error: FallbackError<Failing, F>) -> Failing {
    error.into_parts().0
}

macro_rules! suite {
    ($when:expr) => {
        |env: TestEnv| {
            let layer = FallbackLayer::with_env(Value::new("answered"), env).with_when($when);
            Stack::new(layer, MapErrLayer::new(plain as fn(_) -> _))
        }
    };
}

fn never(_: Cause, _: Result<&&'static str, &Failing>) -> bool {
    false
}

fn on_errors(_: Cause, outcome: Result<&&'static str, &Failing>) -> bool {
    outcome.is_err()
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome_whoever_answers_it() {
    contract::every_call_ends_in_exactly_one_outcome(suite!(never)).await;
    contract::every_call_ends_in_exactly_one_outcome(suite!(on_errors)).await;
}

#[tokio::test(start_paused = true)]
async fn every_call_through_it_ends_once() {
    contract::every_call_through_it_ends_once(suite!(on_errors)).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(suite!(on_errors), |_| 0).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(suite!(on_errors)).await;
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_ready_and_idle_keep_nobody_out() {
    contract::handles_that_are_ready_and_idle_keep_nobody_out(suite!(on_errors)).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(suite!(on_errors), Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(suite!(on_errors), Crowd::Passes).await;
}

fn always(_: Cause, _: Result<&&'static str, &Failing>) -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the layer calls it")]
fn hangs((): &(), _: Result<&&'static str, &Failing>) -> Pending<Result<&'static str, Infallible>> {
    pending()
}

#[tokio::test(start_paused = true)]
async fn alternatives_within_bounds_are_dropped_at_any_point_and_give_their_places_back() {
    let places = 100;
    let bounds = Bounds::new(Duration::from_millis(1)).unwrap().with_places(places).unwrap();
    let bounded = from_fn(hangs).bounded(bounds).with_clock(TokioClock);
    let make = |env: TestEnv| {
        let layer = FallbackLayer::with_env(bounded.clone(), env).with_when(always);
        Stack::new(layer, MapErrLayer::new(plain as fn(_) -> _))
    };

    contract::dropping_at_any_point_leaves_nothing_held(make, |_| (places - bounded.free()) as usize).await;
}

pub(crate) fn lit(env: TestEnv) -> FeatureLayer<TestEnv> {
    FeatureLayer::with_env(Dimmer::default().feature(Criticality::Degraded), env)
}

#[tokio::test(start_paused = true)]
async fn a_feature_keeps_the_contract() {
    contract::every_call_ends_in_exactly_one_outcome(lit).await;
    contract::every_call_through_it_ends_once(lit).await;
    contract::dropping_at_any_point_leaves_nothing_held(lit, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(lit).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(lit).await;
    contract::works_under_a_buffer(lit, Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(lit, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn a_feature_that_is_switched_off_is_off_for_all_services() {
    let dimmers = RwLock::new(Vec::new());
    let make = |env| {
        let dimmer = Dimmer::default();
        dimmers.write().unwrap().push(dimmer.clone());
        FeatureLayer::with_env(dimmer.feature(Criticality::Degraded), env)
    };

    contract::state_is_shared_by_clones_and_by_layer_calls(make, async |_| {
        dimmers.read().unwrap()[0].dim_below(Criticality::Critical);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_answered_is_still_booked_as_the_services_failure() {
    let recorder = Recorder::default();
    let env = seawall::core::Env::new().with_clock(TokioClock).with_observer(recorder.clone());
    let layer = suite!(on_errors)(env);

    let answer = layer.layer(seawall::core::WrapError::new(Probe::new())).oneshot(Script::Fail).await;

    assert_eq!(answer, Ok("answered"));
    assert_eq!((recorder.booked().failed, recorder.booked().total()), (1, 1));
}

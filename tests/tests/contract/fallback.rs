//! The fallback layer.

use seawall::{
    core::Error,
    fallback::{Cause, FallbackError, FallbackLayer, Value},
};
use seawall_testkit::{
    Probe, ProbeError, Recorder, Script, TestEnv,
    contract::{self, Crowd},
};
use tower::{Layer, ServiceExt, layer::util::Stack, util::MapErrLayer};

type Failing = Error<ProbeError>;

/// The suite speaks of the service's own errors.
fn plain<F>(error: FallbackError<Failing, F>) -> Failing {
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
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(suite!(on_errors)).await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(suite!(on_errors), Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_answered_is_still_booked_as_the_services_failure() {
    let recorder = Recorder::default();
    let env = seawall::core::Env::new().with_clock(seawall::core::TokioClock).with_observer(recorder.clone());
    let layer = suite!(on_errors)(env);

    let answer = layer.layer(seawall::core::WrapError::new(Probe::new())).oneshot(Script::Fail).await;

    assert_eq!(answer, Ok("answered"));
    assert_eq!((recorder.booked().failed, recorder.booked().total()), (1, 1));
}

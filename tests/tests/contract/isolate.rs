//! The layer that runs calls on another runtime.

use std::time::Duration;

use seawall::{
    bulkhead::{BulkheadConfig, BulkheadLayer, IsolateLayer},
    core::{Env, Error, TokioClock, WrapError},
};
use seawall_testkit::{
    Booked, Cut, Probe, Recorder, Script, TestEnv,
    contract::{self, Crowd},
};
use tokio::runtime::{Builder, Handle};
use tower::{Layer, ServiceExt};

/// On the runtime of the test itself, whose paused time makes the suite exact: each call is a task all the same.
fn isolated(_: TestEnv) -> IsolateLayer {
    IsolateLayer::new(Handle::current())
}

/// It books no calls and has no state: what it must not do is lose one.
#[tokio::test(start_paused = true)]
async fn a_task_per_call_keeps_the_contract() {
    contract::every_call_through_it_ends_once(isolated).await;
    contract::dropping_at_any_point_leaves_nothing_held(isolated, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(isolated).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(isolated).await;
    contract::works_under_a_buffer(isolated, Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(isolated, Crowd::Passes).await;
}

/// Until `condition` holds; real threads are given ten seconds.
async fn comes_true(what: &str, condition: impl Fn() -> bool) {
    let comes_true = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), comes_true).await.is_ok(), "never: {what}");
}

#[tokio::test]
async fn on_a_runtime_of_its_own_every_call_is_booked_once_and_gives_its_place_back() {
    let dangerous = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let (probe, recorder) = (Probe::new(), Recorder::default());
    let env = Env::new().with_clock(TokioClock).with_observer(recorder.clone());
    let bulkhead = BulkheadLayer::with_env(BulkheadConfig::new(8).unwrap(), env);
    let leaf = Cut::new(WrapError::new(probe.clone()));
    let service = IsolateLayer::new(dangerous.handle().clone()).layer(bulkhead.layer(leaf));
    let end = async |script| tokio::spawn(service.clone().oneshot(script)).await.map_err(|lost| lost.is_panic());

    for _ in 0..20 {
        assert!(matches!(end(Script::Answer).await, Ok(Ok("answered"))));
        assert!(matches!(end(Script::AnswerLater).await, Ok(Ok("answered"))));
        assert!(matches!(end(Script::Fail).await, Ok(Err(Error::Inner(_)))));
        assert!(matches!(end(Script::TimeOut).await, Ok(Err(Error::Rejected(cut))) if cut.reason().is_timeout()));
        assert!(matches!(end(Script::PanicInCall).await, Err(true)));
        assert!(matches!(end(Script::PanicInPoll).await, Err(true)));
        let before = probe.calls();
        let dropped = tokio::spawn(service.clone().oneshot(Script::Hang));
        comes_true("the call has begun", || probe.calls() > before && probe.running() == 1).await;
        dropped.abort();
        comes_true("the call was dropped", || probe.running() == 0).await;
    }

    comes_true("all calls were booked", || recorder.booked().total() == 140).await;
    let Booked { returned, failed, timed_out, dropped, panicked, rejected, .. } = recorder.booked();
    assert_eq!([returned, failed, timed_out, dropped, panicked, rejected], [40, 20, 20, 20, 40, 0]);
    assert_eq!((bulkhead.gate().in_flight(), probe.running()), (0, 0));
    dangerous.shutdown_background();
}

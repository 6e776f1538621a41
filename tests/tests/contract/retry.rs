//! The retry layer.

use std::time::Duration;

use seawall::{
    backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer},
    bulkhead::{BulkheadConfig, QueueingBulkhead, QueueingBulkheadConfig},
    core::{Env, GateLayer, TokioClock},
};
use seawall_testkit::{Probe, Recorder, Script, TestEnv, contract};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit};

/// Tries once, so that an ending happens when the probe says so.
fn once(env: TestEnv) -> RetryLayer<TestEnv> {
    RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat).with_attempts(1).unwrap(), env)
}

fn thrice(env: TestEnv) -> RetryLayer<TestEnv> {
    RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(once);
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_once_whatever_it_does_inside() {
    contract::every_call_through_it_ends_once(once);
    contract::every_call_through_it_ends_once(thrice);
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(thrice, |_| 0);
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(thrice).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(thrice).await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(thrice).await;
}

#[tokio::test(start_paused = true)]
async fn a_queueing_layer_over_retry_over_a_limit_of_one_does_not_deadlock() {
    const CALLS: usize = 50;
    let env = || Env::new().with_clock(TokioClock).with_observer(Recorder::default());
    let queue = QueueingBulkheadConfig::new(BulkheadConfig::new(4).unwrap()).with_max_queued(CALLS).unwrap();
    let queue = GateLayer::<QueueingBulkhead<TokioClock>, _>::with_env(QueueingBulkhead::new(queue, TokioClock), env());
    let inner = thrice(env()).protect(ConcurrencyLimit::new(Probe::new(), 1));
    let mut handles: Vec<_> = (0..CALLS).map(|_| queue.layer(inner.clone())).collect();
    for handle in &mut handles {
        handle.ready().await.unwrap();
    }

    let calls: Vec<_> = handles.iter_mut().map(|handle| tokio::spawn(handle.call(Script::AnswerLater))).collect();

    let all = async {
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok("answered"));
        }
    };
    // Paused time runs on only when nothing else can: a deadlock ends here at once.
    tokio::time::timeout(Duration::from_secs(3600), all).await.unwrap();
}

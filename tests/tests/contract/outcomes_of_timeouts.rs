//! A timeout inside a gate is booked as timed out, one outside as dropped: either way once.

use std::time::Duration;

use seawall::{
    backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, State},
    core::{Env, TokioClock, WrapError},
    timeout::{TimeoutConfig, TimeoutLayer},
};
use seawall_testkit::{Probe, Recorder, Script, TestEnv};
use tower::{Layer, Service, ServiceExt};

fn env(recorder: &Recorder) -> TestEnv {
    Env::new().with_clock(TokioClock).with_observer(recorder.clone())
}

fn timeout() -> TimeoutLayer<TestEnv> {
    TimeoutLayer::with_env(TimeoutConfig::attempt(Duration::from_secs(2)).unwrap(), env(&Recorder::default()))
}

/// `count` calls hang until they are cut.
async fn hang_at_once<S>(service: &S, count: usize)
where
    S: Service<Script, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
{
    let calls: Vec<_> = (0..count).map(|_| tokio::spawn(service.clone().oneshot(Script::Hang))).collect();
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_over_a_timeout_books_timed_out_and_opens_on_a_hung_dependency() {
    let recorder = Recorder::default();
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env(&recorder));
    let service = breaker.layer(timeout().layer(WrapError::new(Probe::new())));

    hang_at_once(&service, 20).await;

    assert_eq!((recorder.booked().timed_out, recorder.booked().total()), (20, 20));
    assert_eq!(breaker.gate().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_over_a_breaker_is_seen_by_it_and_opens_it_too() {
    let recorder = Recorder::default();
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env(&recorder));
    let service = timeout().layer(breaker.layer(WrapError::new(Probe::new())));

    hang_at_once(&service, 20).await;

    assert_eq!((recorder.booked().dropped, recorder.booked().total()), (20, 20));
    assert_eq!(breaker.gate().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_hung_dependency_opens_the_breaker_between_a_timeout_and_a_retry() {
    let recorder = Recorder::default();
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env(&recorder));
    let retry = RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat), env(&Recorder::default()));
    let service = timeout().layer(breaker.layer(retry.layer(WrapError::new(Probe::new()))));

    hang_at_once(&service, 20).await;

    assert_eq!((recorder.booked().dropped, recorder.booked().total()), (20, 20));
    assert_eq!(breaker.gate().state(), State::Open);
}

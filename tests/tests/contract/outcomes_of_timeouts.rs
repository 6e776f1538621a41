//! A timeout is booked as timed out, be it inside a gate or outside; a deadline as one, and a caller who has gone as dropped.

use std::time::Duration;

use seawall::{
    backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, State},
    core::{CallContext, Clock, Env, Error, Timestamp, TokioClock, WrapError},
    timeout::{CarryDeadline, TimeoutConfig, TimeoutLayer},
};
use seawall_testkit::{Probe, Recorder, Script, TestEnv};
use tower::{Layer, Service, ServiceExt};

fn env(recorder: &Recorder) -> TestEnv {
    Env::new().with_clock(TokioClock).with_observer(recorder.clone())
}

fn timeout() -> TimeoutLayer<TestEnv> {
    timeout_of(2_000)
}

fn timeout_of(ms: u64) -> TimeoutLayer<TestEnv> {
    TimeoutLayer::with_env(TimeoutConfig::attempt(Duration::from_millis(ms)).unwrap(), env(&Recorder::default()))
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

    assert_eq!((recorder.booked().timed_out, recorder.booked().total()), (20, 20));
    assert_eq!(breaker.gate().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_hung_dependency_opens_the_breaker_between_a_timeout_and_a_retry() {
    let recorder = Recorder::default();
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env(&recorder));
    let retry = RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat), env(&Recorder::default()));
    let service = timeout().layer(breaker.layer(retry.layer(WrapError::new(Probe::new()))));

    hang_at_once(&service, 20).await;

    assert_eq!((recorder.booked().timed_out, recorder.booked().total()), (20, 20));
    assert_eq!(breaker.gate().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_hang_under_a_timeout_of_any_length_opens_the_breaker() {
    for ms in [1, 250, 500, 999] {
        let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env(&Recorder::default()));
        let service = timeout_of(ms).layer(breaker.layer(WrapError::new(Probe::new())));

        hang_at_once(&service, 20).await;

        assert_eq!(breaker.gate().state(), State::Open, "{ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_under_a_timeout_opens_the_breaker_without_tower_and_under_two_timeouts_too() {
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env(&Recorder::default()));
    let (outer, inner) = (timeout_of(250), timeout_of(500));
    for _ in 0..20 {
        let hangs = breaker.run(std::future::pending::<Result<(), &str>>());
        let ended = outer.run(inner.run(hangs)).await;
        assert!(matches!(ended, Err(Error::Rejected(_))));
    }

    assert_eq!(breaker.gate().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn callers_who_have_gone_open_nothing() {
    let recorder = Recorder::default();
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env(&recorder));
    let service = timeout_of(250).layer(breaker.layer(WrapError::new(Probe::new())));
    for _ in 0..100 {
        let call = service.clone().oneshot(Script::Hang);
        assert!(tokio::time::timeout(Duration::from_millis(249), call).await.is_err());
    }

    assert_eq!((recorder.booked().dropped, recorder.booked().total()), (100, 100));
    assert_eq!(breaker.gate().state(), State::Closed);
}

/// A dependency that answers in 20 ms, behind a breaker and a timeout that both know the deadline of a call.
async fn callers_with(left: Duration, timeout_is_outside: bool) -> State {
    let env = || Env::new().with_clock(TokioClock).with_attributes(|context: &CallContext| *context);
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env());
    let timeout = TimeoutLayer::with_env(TimeoutConfig::attempt(Duration::from_secs(2)).unwrap(), env());
    let answers = WrapError::new(tower::service_fn(async |_: CallContext| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, &str>("answer")
    }));
    for _ in 0..40 {
        let context = CallContext::new().with_deadline(TokioClock.now().saturating_add(left));
        let _ = if timeout_is_outside {
            timeout.layer(breaker.layer(answers)).oneshot(context).await
        } else {
            breaker.layer(timeout.layer(answers)).oneshot(context).await
        };
    }
    breaker.gate().state()
}

#[tokio::test(start_paused = true)]
async fn callers_with_little_time_left_do_not_open_the_breaker_of_a_healthy_dependency() {
    for timeout_is_outside in [false, true] {
        assert_eq!(callers_with(Duration::from_millis(5), timeout_is_outside).await, State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_that_leave_as_long_as_counts_open_the_breaker_of_one_that_hangs() {
    let context = || CallContext::new().with_deadline(TokioClock.now().saturating_add(Duration::from_secs(1)));
    let env = || Env::new().with_clock(TokioClock).with_attributes(|context: &CallContext| *context);
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::builder().min_calls(4).build().unwrap(), env());
    let timeout = TimeoutLayer::with_env(TimeoutConfig::attempt(Duration::from_secs(2)).unwrap(), env());
    let hangs = WrapError::new(tower::service_fn(|_: CallContext| std::future::pending::<Result<(), &str>>()));
    for call in 0..4 {
        let ended = if call % 2 == 0 {
            timeout.layer(breaker.layer(hangs)).oneshot(context()).await
        } else {
            breaker.layer(timeout.layer(hangs)).oneshot(context()).await
        };
        assert!(ended.is_err());
    }

    assert_eq!(breaker.gate().state(), State::Open);
}

/// When the caller stops waiting, and whether that is the end of a total timeout.
type Until = (Option<Timestamp>, bool);

#[derive(Clone)]
struct Carry;

impl CarryDeadline<Until> for Carry {
    fn carry(&self, until: &mut Until, deadline: Timestamp) {
        *until = (Some(deadline), false);
    }

    fn carry_total(&self, until: &mut Until, end: Timestamp) {
        *until = (Some(end), true);
    }
}

fn known((until, total): &Until) -> CallContext {
    match until {
        Some(end) if *total => CallContext::new().with_total_deadline(*end),
        Some(deadline) => CallContext::new().with_deadline(*deadline),
        None => CallContext::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_carried_inward_that_is_shorter_than_an_attempt_opens_the_breaker_of_one_that_hangs() {
    let env = || Env::new().with_clock(TokioClock).with_attributes(known as fn(&Until) -> CallContext);
    let limit = |config| TimeoutLayer::with_env(config, env()).with_carry(Carry);
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::default(), env());
    let attempt = limit(TimeoutConfig::attempt(Duration::from_secs(2)).unwrap());
    let total = limit(TimeoutConfig::total(Duration::from_millis(100)).unwrap());
    let hangs = WrapError::new(tower::service_fn(async |_: Until| std::future::pending::<Result<(), &str>>().await));
    let service = total.layer(breaker.layer(attempt.layer(hangs)));

    for _ in 0..20 {
        assert!(service.clone().oneshot((None, false)).await.is_err());
    }

    assert_eq!(breaker.gate().state(), State::Open);
}

//! What a call holds is given back before anybody hears of its end.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Waker},
    time::Duration,
};

use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, Rebuild, RetryConfig, RetryLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer},
    core::{ByResult, Env, NoAttributes, Observer, Outcome, TokioClock, WrapError},
    fallback::{FallbackLayer, OtherService},
    timeout::{TimeoutConfig, TimeoutLayer},
};
use seawall_testkit::{Probe, Script};
use tower::{Layer, ServiceExt};

/// Hears how calls end, and how many are then still under way in the probe.
#[derive(Clone)]
struct Ends {
    probe: Probe,
    heard: Arc<RwLock<Vec<(Outcome, usize)>>>,
}

impl Observer for Ends {
    const PER_CALL: bool = true;

    fn on_call(&self, outcome: Outcome) {
        let under_way = self.probe.running();
        self.heard.write().unwrap_or_else(PoisonError::into_inner).push((outcome, under_way));
    }
}

type EndsEnv = Env<TokioClock, ByResult, NoAttributes, Ends>;

const MINUTE: Duration = Duration::from_secs(60);

/// Polls `call` with a probe inside until it hangs there, and lets `end` end it; how that was heard of.
async fn heard_of<F, C, E>(call: impl FnOnce(Probe, EndsEnv) -> C, end: E) -> Vec<(Outcome, usize)>
where
    C: Future,
    E: FnOnce(std::pin::Pin<Box<C>>) -> F,
    F: Future<Output = ()>,
{
    let probe = Probe::new();
    let ends = Ends { probe: probe.clone(), heard: Arc::default() };
    let mut call = Box::pin(call(probe.clone(), Env::new().with_clock(TokioClock).with_observer(ends.clone())));
    while probe.running() == 0 {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    end(call).await;
    let heard = ends.heard.read().unwrap_or_else(PoisonError::into_inner);
    heard.clone()
}

async fn dropped<C>(call: std::pin::Pin<Box<C>>) {
    drop(call);
}

const CANCELLED: [(Outcome, usize); 1] = [(Outcome::Cancelled, 0)];

fn retry(env: EndsEnv) -> RetryLayer<EndsEnv> {
    RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat).with_backoff(Backoff::constant(Duration::ZERO)), env)
}

fn timeout(env: EndsEnv) -> TimeoutLayer<EndsEnv> {
    TimeoutLayer::with_env(TimeoutConfig::attempt(MINUTE).unwrap(), env)
}

#[tokio::test(start_paused = true)]
async fn the_attempt_of_a_retry_goes_first_be_it_the_first_or_a_later_one() {
    let first = heard_of(|probe, env| retry(env).layer(WrapError::new(probe)).oneshot(Script::Hang), dropped).await;
    let later = heard_of(
        |probe, env| {
            let replay = Rebuild::new(|_: &Script| Some(()), |(): &(), _| Some(Script::Hang));
            retry(env).with_replay(replay).layer(WrapError::new(probe)).oneshot(Script::Fail)
        },
        dropped,
    )
    .await;

    assert_eq!((&first[..], &later[..]), (&CANCELLED[..], &CANCELLED[..]));
}

#[tokio::test(start_paused = true)]
async fn the_call_inside_a_timeout_goes_first_be_it_dropped_or_cut() {
    let call = |probe, env| timeout(env).layer(WrapError::new(probe)).oneshot(Script::Hang);
    let dropped = heard_of(call, dropped).await;
    let cut = heard_of(call, async |call| assert!(pin!(call).await.is_err())).await;

    assert_eq!((&dropped[..], &cut[..]), (&CANCELLED[..], &[(Outcome::TimedOut, 0)][..]));
}

#[tokio::test(start_paused = true)]
async fn the_service_under_a_fallback_goes_first_and_so_does_the_one_that_stands_in() {
    let down = || WrapError::new(tower::service_fn(async |_: Script| Err::<&'static str, _>(())));
    let service = heard_of(
        |probe, env| {
            let other = FallbackLayer::with_env(OtherService::new(down(), |(): &()| Script::Answer), env);
            other.layer(WrapError::new(probe)).oneshot(Script::Hang)
        },
        dropped,
    )
    .await;
    let alternative = heard_of(
        |probe, env| {
            let other = OtherService::new(WrapError::new(probe), |(): &()| Script::Hang);
            FallbackLayer::with_env(other, env).layer(down()).oneshot(Script::Answer)
        },
        dropped,
    )
    .await;

    assert_eq!((&service[..], &alternative[..]), (&CANCELLED[..], &CANCELLED[..]));
}

#[tokio::test(start_paused = true)]
async fn the_call_behind_a_gate_goes_first() {
    let breaker = |env| CircuitBreakerLayer::with_env(BreakerConfig::default(), env);

    let heard = heard_of(|probe, env| breaker(env).protect(probe).oneshot(Script::Hang), dropped).await;

    assert_eq!(heard, CANCELLED);
}

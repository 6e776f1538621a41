//! A retry under a total timeout: no wait that nobody waits out.

use std::{future::ready, time::Duration};

use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, Jitter, RetryConfig, RetryLayer},
    core::{CallContext, Clock, Env, Error, TokioClock, WrapErrorLayer},
    timeout::{TimeoutConfig, TimeoutLayer},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("busy")]
struct Busy;

fn env() -> Env<TokioClock> {
    Env::new().with_clock(TokioClock)
}

fn total() -> TimeoutLayer<Env<TokioClock>> {
    TimeoutLayer::with_env(TimeoutConfig::total(Duration::from_millis(400)).expect("allowed"), env())
}

/// Five attempts, 300 ms apart: the third would come after the end.
fn retry() -> RetryLayer<Env<TokioClock>> {
    let backoff = Backoff::constant(Duration::from_millis(300)).with_jitter(Jitter::None).expect("allowed");
    let config = RetryConfig::new(IfUnknown::Repeat).with_backoff(backoff).with_attempts(5).expect("allowed");
    RetryLayer::with_env(config, env())
}

#[tokio::test(start_paused = true)]
async fn a_block_of_code_ends_with_its_last_error_as_soon_as_no_wait_fits() {
    let begin = TokioClock.now();

    let failing = retry().run(|| ready(Err::<(), _>(Busy)));
    let answer = total().run_carrying(CallContext::inherited(), failing).await;

    assert_eq!(answer, Err(Error::Inner(Busy)));
    assert_eq!(TokioClock.now().since(begin), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn so_does_a_call_whose_request_has_no_place_for_a_deadline() {
    let stack = ServiceBuilder::new().layer(total().inherited()).layer(retry()).layer(WrapErrorLayer::new());
    let begin = TokioClock.now();

    let answer = stack.service(service_fn(|(): ()| ready(Err::<(), _>(Busy)))).oneshot(()).await;

    assert_eq!(answer, Err(Error::Inner(Busy)));
    assert_eq!(TokioClock.now().since(begin), Duration::from_millis(300));
}

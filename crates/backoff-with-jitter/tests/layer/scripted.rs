//! A service that does what it is told, and the layers around it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use seawall_backoff_with_jitter::{Backoff, IfUnknown, Jitter, RetryConfig, RetryLayer};
use seawall_core::{Clock, Env, Error, Rejection, TokioClock};
use tower::Service;

pub(crate) type TestEnv = Env<TokioClock>;

pub(crate) fn env() -> TestEnv {
    Env::new().with_clock(TokioClock)
}

/// Three attempts, a second apart.
pub(crate) fn each_second() -> RetryConfig {
    let backoff = Backoff::constant(Duration::from_secs(1)).with_jitter(Jitter::None).expect("allowed");
    RetryConfig::new(IfUnknown::Repeat).with_backoff(backoff)
}

pub(crate) fn layer(config: RetryConfig) -> RetryLayer<TestEnv> {
    RetryLayer::with_env(config, env())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(pub(crate) &'static str);

/// What one attempt does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Answer(u32),
    Fail(&'static str),
    Refuse(Rejection),
    Hang,
}

/// Answers as it is told, counts its clones, and insists on being polled ready before each call.
pub(crate) struct Scripted {
    script: Arc<Script>,
    ready: bool,
}

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) steps: Mutex<Vec<Step>>,
    pub(crate) calls: Mutex<Vec<Duration>>,
    pub(crate) clones: AtomicUsize,
    pub(crate) running: AtomicUsize,
}

pub(crate) struct Running(Arc<Script>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

impl Scripted {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> (Self, Arc<Script>) {
        let script = Arc::new(Script { steps: Mutex::new(steps.into_iter().collect()), ..Script::default() });
        (Self { script: Arc::clone(&script), ready: false }, script)
    }
}

impl Clone for Scripted {
    fn clone(&self) -> Self {
        self.script.clones.fetch_add(1, Relaxed);
        Self { script: Arc::clone(&self.script), ready: false }
    }
}

impl<R: Send + 'static> Service<R> for Scripted {
    type Response = u32;
    type Error = Error<Fault>;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Error<Fault>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being polled ready");
        let script = Arc::clone(&self.script);
        script.calls.lock().expect("no panic").push(TokioClock.now().since(seawall_core::Timestamp::ZERO));
        let mut steps = script.steps.lock().expect("no panic");
        let step = if steps.is_empty() { Step::Fail("script over") } else { steps.remove(0) };
        drop(steps);
        script.running.fetch_add(1, Relaxed);
        let running = Running(script);
        Box::pin(async move {
            let _running = running;
            match step {
                Step::Answer(answer) => Ok(answer),
                Step::Fail(text) => Err(Error::Inner(Fault(text))),
                Step::Refuse(rejection) => Err(Error::Rejected(rejection)),
                Step::Hang => std::future::pending().await,
            }
        })
    }
}

impl Script {
    /// Seconds between the attempts.
    pub(crate) fn gaps(&self) -> Vec<u64> {
        let calls = self.calls.lock().expect("no panic");
        calls.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).as_secs()).collect()
    }

    pub(crate) fn attempts(&self) -> usize {
        self.calls.lock().expect("no panic").len()
    }
}

pub(crate) const FAIL: Step = Step::Fail("busy");

pub(crate) fn boxed<F: Future>(future: F) -> Pin<Box<F>> {
    Box::pin(future)
}

pub(crate) fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()))
}

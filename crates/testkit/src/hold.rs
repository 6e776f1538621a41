use std::{
    fmt,
    pin::Pin,
    task::{Context, Waker},
};

use tower::ServiceExt;
use tower_service::Service;

use crate::Script;

/// Calls that are under way until this is dropped.
#[must_use = "the calls end when this is dropped"]
pub struct Held<F> {
    calls: Vec<Pin<Box<F>>>,
}

impl<F> fmt::Debug for Held<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("calls", &self.calls.len()).finish()
    }
}

impl<F: Future> Held<F> {
    /// Polls those that have not ended.
    pub fn poll(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        self.calls.retain_mut(|call| call.as_mut().poll(&mut cx).is_pending());
    }
}

/// Begins `count` calls of `script`, polls each once and keeps them.
pub fn hold<S>(
    service: &S,
    script: Script,
    count: usize,
) -> Held<impl Future<Output = Result<S::Response, S::Error>> + use<S>>
where
    S: Service<Script> + Clone,
{
    let mut cx = Context::from_waker(Waker::noop());
    let calls = (0..count)
        .map(|_| {
            let mut call = Box::pin(service.clone().oneshot(script));
            let _ = call.as_mut().poll(&mut cx);
            call
        })
        .collect();
    Held { calls }
}

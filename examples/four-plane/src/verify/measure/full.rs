//! Filling a gate with calls that never end.

use std::pin::Pin;

/// Starts calls that never end until one is refused, and returns those that were let in; they end when they are dropped.
pub(super) async fn fill<F: Future>(call: impl Fn() -> F) -> Vec<Pin<Box<F>>> {
    let mut held = Vec::new();
    loop {
        let mut call = Box::pin(call());
        let refused = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
        if refused {
            return held;
        }
        held.push(call);
    }
}

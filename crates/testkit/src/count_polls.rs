use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

/// How often a future was polled.
#[derive(Clone, Debug, Default)]
pub struct Polls(Arc<AtomicUsize>);

impl Polls {
    /// The count so far.
    pub fn get(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Wraps `future` so that its polls count here.
    pub fn count<F: Future>(&self, future: F) -> CountPolls<F> {
        CountPolls { future: Box::pin(future), polls: self.clone() }
    }
}

/// A future whose polls are counted.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct CountPolls<F> {
    future: Pin<Box<F>>,
    polls: Polls,
}

impl<F: Future> Future for CountPolls<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.0.fetch_add(1, SeqCst);
        self.future.as_mut().poll(cx)
    }
}

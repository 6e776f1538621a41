//! One call, over and over: what is measured.

use std::{
    future::{Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use tower::Service;

/// Something that can be done many times, on several threads that share its state.
pub trait Operation: Send {
    /// Does it `iterations` times.
    fn run(&mut self, iterations: u64);

    /// Another handle on the same state, for another thread.
    fn share(&self) -> Box<dyn Operation>;
}

/// A service that is called again and again.
#[derive(Clone, Debug)]
pub struct Calls<S>(pub S);

impl<S> Operation for Calls<S>
where
    S: Service<u64> + Clone + Send + 'static,
{
    fn run(&mut self, iterations: u64) {
        let mut cx = Context::from_waker(Waker::noop());
        for iteration in 0..iterations {
            // A peer that makes callers wait is let go on by the other thread.
            while self.0.poll_ready(&mut cx).is_pending() {
                std::thread::yield_now();
            }
            let mut future = pin!(self.0.call(black_box(iteration)));
            while future.as_mut().poll(&mut cx).is_pending() {}
        }
    }

    fn share(&self) -> Box<dyn Operation> {
        Box::new(self.clone())
    }
}

/// A service of `layered`'s trait, which seatbelt is written for, that is called again and again.
#[derive(Clone, Debug)]
pub struct Executes<S>(pub S);

impl<S: layered::Service<u64> + Clone + 'static> Operation for Executes<S> {
    fn run(&mut self, iterations: u64) {
        let mut cx = Context::from_waker(Waker::noop());
        for iteration in 0..iterations {
            let mut future = pin!(self.0.execute(black_box(iteration)));
            while future.as_mut().poll(&mut cx).is_pending() {}
        }
    }

    fn share(&self) -> Box<dyn Operation> {
        Box::new(self.clone())
    }
}

/// A function that is called again and again.
#[derive(Clone, Debug)]
pub struct Steps<F>(pub F);

impl<F: FnMut(u64) + Clone + Send + 'static> Operation for Steps<F> {
    fn run(&mut self, iterations: u64) {
        for iteration in 0..iterations {
            (self.0)(black_box(iteration));
        }
    }

    fn share(&self) -> Box<dyn Operation> {
        Box::new(self.clone())
    }
}

/// The error of the innermost service. It never happens in the rows of the success path.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

/// The innermost service: ready at once, answers at once.
#[derive(Copy, Clone, Debug, Default)]
#[non_exhaustive]
pub struct Leaf;

impl Service<u64> for Leaf {
    type Response = u64;
    type Error = Failed;
    type Future = Ready<Result<u64, Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
    }
}

impl layered::Service<u64> for Leaf {
    type Out = Result<u64, Failed>;

    async fn execute(&self, request: u64) -> Self::Out {
        Ok(request)
    }
}

/// The innermost service that is ready at once and answers on its second poll.
#[derive(Copy, Clone, Debug, Default)]
#[non_exhaustive]
pub struct LaterLeaf;

impl Service<u64> for LaterLeaf {
    type Response = u64;
    type Error = Failed;
    type Future = Later;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Later {
        Later { request, polled: false }
    }
}

/// The future of [`LaterLeaf`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Later {
    request: u64,
    polled: bool,
}

impl Future for Later {
    type Output = Result<u64, Failed>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.polled, true) { Poll::Ready(Ok(self.request)) } else { Poll::Pending }
    }
}

/// What valid settings build.
///
/// # Panics
/// When they are not valid after all.
pub fn built<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| unreachable!("the settings of a row are valid: {error}"))
}

//! The bulkheads as a user stacks them.

mod back_pressure;
mod enforced;
mod failing_fast;
mod orders;
mod priority;
mod queueing;
mod shares;
mod wakers;

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_bulkhead::{BulkheadConfig, Error, Order, QueueingBulkhead, QueueingBulkheadConfig};
use seawall_core::{CallContext, Env, GateLayer, Reason, Run, Timer, WrapErrorFuture};

type QueueingLayer<T> = GateLayer<QueueingBulkhead<T>, Env<T>>;

/// A call that holds its place until dropped.
type Held<T> =
    Pin<Box<Run<WrapErrorFuture<std::future::Pending<Result<(), Infallible>>>, QueueingBulkhead<T>, Env<T>>>>;

fn places(max_concurrent: usize) -> BulkheadConfig {
    BulkheadConfig::new(max_concurrent).expect("tests ask for at least one place")
}

fn ordered<T: Timer>(max_concurrent: usize, max_queued: usize, order: Order, timer: T) -> QueueingLayer<T> {
    let config = QueueingBulkheadConfig::new(places(max_concurrent))
        .with_order(order)
        .with_max_queued(max_queued)
        .and_then(|config| config.with_max_wait(Duration::from_millis(100)))
        .expect("tests ask for a queue and a wait");
    GateLayer::with_env(QueueingBulkhead::new(config, timer.clone()), Env::new().with_clock(timer))
}

fn queueing<T: Timer>(max_concurrent: usize, max_queued: usize, timer: T) -> QueueingLayer<T> {
    ordered(max_concurrent, max_queued, Order::OldestFirst, timer)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn reason<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> Reason {
    result.expect_err("the call is refused").rejection().expect("by the bulkhead").reason()
}

/// A call that was polled once, and holds its place or waits for one until dropped.
fn begin<T: Timer>(layer: &QueueingLayer<T>, context: CallContext) -> Held<T> {
    let mut call = Box::pin(layer.run_with(context, pending()));
    assert!(poll(&mut call).is_pending(), "it neither holds a place nor waits");
    call
}

/// Counts its wake-ups.
#[derive(Default)]
struct Count(AtomicU32);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A call that holds its place, once it has one, until dropped.
fn hold<T: Timer>(layer: &QueueingLayer<T>) -> impl Future<Output = Result<(), Error<Infallible>>> + use<T> {
    layer.run(pending())
}

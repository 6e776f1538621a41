//! One reading of the clock serves a whole stack, and what is behind the boundary still measures its own time.
#![expect(
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a list of stamps in a test, which fails by panicking"
)]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Clock, ClockScopeLayer, Gate, GateLayer, MonotonicClock, NoWait, Outcome,
    ScopeBoundaryLayer, Timestamp, WrapErrorLayer,
};
use tower::{Layer, Service, ServiceExt, service_fn};

const WORK: Duration = Duration::from_millis(5);

/// Notes how long each call took.
#[derive(Clone, Debug, Default)]
struct Stopwatch {
    started: Arc<Mutex<Vec<Timestamp>>>,
    took: Arc<Mutex<Vec<Duration>>>,
}

impl Gate for Stopwatch {
    type Ticket = Timestamp;
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<Timestamp> {
        let now = now();
        self.started.lock().unwrap().push(now);
        Admission::Admitted(now)
    }

    fn finish(&self, start: Timestamp, _: Outcome, now: impl FnOnce() -> Timestamp) {
        self.took.lock().unwrap().push(now().since(start));
    }
}

/// Keeps the processor busy for [`WORK`]. Where the clock stands still, as it does inside a scope, it would be for ever.
fn spin() {
    const ENOUGH: usize = 20_000_000;
    let end = MonotonicClock.now().saturating_add(WORK);
    let passed = (0..ENOUGH).any(|_| {
        std::hint::spin_loop();
        MonotonicClock.now() >= end
    });
    assert!(passed, "the clock stands still");
}

fn spinning_leaf(_: &'static str) -> Ready<Result<(), Infallible>> {
    spin();
    ready(Ok(()))
}

fn stack<S>(
    watch: &Stopwatch,
    inner: S,
) -> impl Service<&'static str, Response = (), Error = seawall_core::Error<S::Error>>
where
    S: Service<&'static str, Response = ()>,
{
    let inner = ScopeBoundaryLayer::new().layer(WrapErrorLayer::new().layer(inner));
    ClockScopeLayer::new().layer(GateLayer::<Stopwatch>::new(watch.clone()).layer(inner))
}

#[tokio::test]
async fn a_leaf_that_works_inside_its_call_is_measured() {
    let watch = Stopwatch::default();

    stack(&watch, service_fn(spinning_leaf)).oneshot("call").await.unwrap();

    assert!(watch.took.lock().unwrap()[0] >= WORK, "{watch:?}");
}

#[tokio::test]
async fn a_leaf_that_works_inside_its_poll_is_measured() {
    let watch = Stopwatch::default();
    let leaf = service_fn(|_| async {
        spin();
        Ok::<_, Infallible>(())
    });

    stack(&watch, leaf).oneshot("call").await.unwrap();

    assert!(watch.took.lock().unwrap()[0] >= WORK, "{watch:?}");
}

#[tokio::test]
async fn a_stack_nested_behind_the_boundary_measures_its_own_time() {
    let (outer, inner) = (Stopwatch::default(), Stopwatch::default());
    let nested = inner.clone();
    let leaf = service_fn(move |request| {
        let nested = nested.clone();
        async move { stack(&nested, service_fn(spinning_leaf)).oneshot(request).await }
    });

    stack(&outer, leaf).oneshot("call").await.unwrap();

    assert!(inner.took.lock().unwrap()[0] >= WORK, "{inner:?}");
    assert!(outer.took.lock().unwrap()[0] >= WORK, "{outer:?}");
}

#[tokio::test]
async fn two_attempts_in_one_poll_each_start_with_a_fresh_reading() {
    let watch = Stopwatch::default();
    let gate = GateLayer::<Stopwatch>::new(watch.clone());
    let boundary = ScopeBoundaryLayer::new().layer(WrapErrorLayer::new().layer(service_fn(spinning_leaf)));
    let attempts = gate.layer(boundary);
    let twice = service_fn(move |request| {
        let attempts = attempts.clone();
        async move {
            attempts.clone().oneshot(request).await?;
            attempts.oneshot(request).await
        }
    });

    ClockScopeLayer::new().layer(twice).oneshot("call").await.unwrap();

    let took = watch.took.lock().unwrap().clone();
    assert!(took.len() == 2 && took.iter().all(|took| *took >= WORK), "{took:?}");
}

#[tokio::test]
async fn the_layers_of_one_stack_share_one_reading() {
    let (outer, inner) = (Stopwatch::default(), Stopwatch::default());
    let leaf = WrapErrorLayer::new().layer(service_fn(spinning_leaf));
    let gates = GateLayer::<Stopwatch>::new(outer.clone())
        .layer(GateLayer::<Stopwatch>::new(inner.clone()).layer(ScopeBoundaryLayer::new().layer(leaf)));

    ClockScopeLayer::new().layer(gates).oneshot("call").await.unwrap();

    assert_eq!(*outer.started.lock().unwrap(), *inner.started.lock().unwrap());
}

#[tokio::test]
async fn the_layers_of_one_stack_share_the_reading_at_the_end_of_a_poll_too() {
    let (outer, inner) = (Stopwatch::default(), Stopwatch::default());
    let leaf = WrapErrorLayer::new().layer(service_fn(|_: &'static str| async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(())
    }));
    let gates = GateLayer::<Stopwatch>::new(outer.clone())
        .layer(GateLayer::<Stopwatch>::new(inner.clone()).layer(ScopeBoundaryLayer::new().layer(leaf)));

    ClockScopeLayer::new().layer(gates).oneshot("call").await.unwrap();

    // Both began at one reading, so both took the same if and only if they ended at one.
    assert_eq!(*outer.took.lock().unwrap(), *inner.took.lock().unwrap());
}

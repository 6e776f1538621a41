//! A gate that refuses everybody does so whether or not the service behind it is ready.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Error, Gate, GateLayer, GateService, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp,
};
use tower::{
    Service, ServiceExt,
    limit::{ConcurrencyLimit, GlobalConcurrencyLimitLayer},
};
use tower_layer::Layer;

const REFUSAL: Rejection =
    Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen).with_retry_after(Duration::from_secs(5));

/// Refuses everybody while it is shut.
#[derive(Clone, Debug, Default)]
struct Door {
    shut: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Gate for Door {
    type Ticket = ();
    type Wait = NoWait;
    const FORESEES: bool = true;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        self.asked.fetch_add(1, SeqCst);
        if self.shut.load(SeqCst) { Admission::Refused(REFUSAL) } else { Admission::Admitted(()) }
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    fn refusal(&self, _: impl FnOnce() -> Timestamp) -> Option<Rejection> {
        self.shut.load(SeqCst).then_some(REFUSAL)
    }

    fn refused_as_foreseen(&self) {
        self.refused.fetch_add(1, SeqCst);
    }
}

type Answer = std::future::Pending<Result<(), Error<Infallible>>>;

/// Takes the only place of the limit, and never answers.
#[derive(Clone)]
struct Hangs {
    calls: Arc<AtomicUsize>,
}

impl Service<()> for Hangs {
    type Response = ();
    type Error = Error<Infallible>;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Answer {
        self.calls.fetch_add(1, SeqCst);
        std::future::pending()
    }
}

type Guarded = GateService<ConcurrencyLimit<Hangs>, Door>;

/// Two handles over one limit of 1: the second is not ready while the first holds its readiness.
fn handles(door: &Door) -> (Guarded, Guarded, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let narrow = GlobalConcurrencyLimitLayer::new(1);
    let layer = GateLayer::new(door.clone());
    let handle = || layer.layer(narrow.layer(Hangs { calls: Arc::clone(&calls) }));
    (handle(), handle(), Arc::clone(&calls))
}

fn poll_ready(service: &mut Guarded) -> bool {
    matches!(service.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

fn rejection(result: &Result<(), Error<Infallible>>) -> Option<Rejection> {
    result.as_ref().err().and_then(Error::rejection).copied()
}

#[tokio::test]
async fn a_shut_gate_refuses_at_once_over_a_service_that_is_not_ready() {
    let door = Door::default();
    let (mut holder, service, calls) = handles(&door);
    assert!(poll_ready(&mut holder));
    door.shut.store(true, SeqCst);

    let refused = service.oneshot(()).await;

    assert_eq!(rejection(&refused), Some(REFUSAL));
    assert_eq!((calls.load(SeqCst), door.refused.load(SeqCst), door.asked.load(SeqCst)), (0, 1, 0));
}

#[tokio::test]
async fn an_open_gate_leaves_it_to_the_service_behind_it_when_it_is_ready() {
    let door = Door::default();
    let (mut holder, mut service, _) = handles(&door);
    assert!(poll_ready(&mut holder) && !poll_ready(&mut service));

    drop(holder);

    assert!(poll_ready(&mut service));
}

#[tokio::test]
async fn a_call_that_was_told_to_come_never_reaches_an_unready_service_and_may_try_again_at_once() {
    let door = Door::default();
    let (mut holder, mut service, calls) = handles(&door);
    assert!(poll_ready(&mut holder));
    door.shut.store(true, SeqCst);
    assert!(poll_ready(&mut service));
    door.shut.store(false, SeqCst);

    let refused = service.call(()).await;

    assert_eq!(rejection(&refused), Some(REFUSAL.with_retry_after(Duration::ZERO)));
    assert_eq!((calls.load(SeqCst), door.refused.load(SeqCst)), (0, 1));
}

#[tokio::test]
async fn what_was_foreseen_is_forgotten_when_the_service_is_ready_after_all() {
    let door = Door::default();
    let (mut holder, mut service, calls) = handles(&door);
    assert!(poll_ready(&mut holder));
    door.shut.store(true, SeqCst);
    assert!(poll_ready(&mut service));
    door.shut.store(false, SeqCst);
    drop(holder);

    assert!(poll_ready(&mut service));
    let admitted = service.call(());

    assert_eq!((calls.load(SeqCst), door.asked.load(SeqCst)), (1, 1));
    drop(admitted);
}

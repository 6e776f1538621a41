//! The gate adapter keeps every promise of the contract suite, for a gate that refuses and for one that queues.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use seawall_core::{
    Admission, CallContext, Env, Error, Gate, GateLayer, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp,
};
use seawall_testkit::{
    Probe, ProbeError, Recorder, Script, TestEnv,
    contract::{self, Crowd},
    hold,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Service, ServiceExt};

const PLACES: usize = 4;

/// Admits up to [`PLACES`] calls and refuses the rest.
#[derive(Clone, Debug, Default)]
struct Refusing {
    taken: Arc<AtomicUsize>,
}

impl Gate for Refusing {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        let free = self.taken.fetch_update(SeqCst, SeqCst, |taken| (taken < PLACES).then(|| taken.saturating_add(1)));
        match free {
            Ok(_) => Admission::Admitted(()),
            Err(_) => Admission::Refused(Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull)),
        }
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {
        self.taken.fetch_sub(1, SeqCst);
    }
}

/// Admits up to [`PLACES`] calls and lets the rest wait.
#[derive(Clone, Debug)]
struct Queueing {
    places: Arc<Semaphore>,
}

impl Queueing {
    fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)) }
    }

    fn taken(&self) -> usize {
        PLACES.saturating_sub(self.places.available_permits())
    }
}

type BoxWait = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, Rejection>> + Send>>;

impl Gate for Queueing {
    type Ticket = OwnedSemaphorePermit;
    type Wait = BoxWait;

    fn admit(
        &self,
        _: impl FnOnce() -> CallContext,
        _: impl FnOnce() -> Timestamp,
    ) -> Admission<OwnedSemaphorePermit, BoxWait> {
        let places = Arc::clone(&self.places);
        if let Ok(permit) = Arc::clone(&places).try_acquire_owned() {
            return Admission::Admitted(permit);
        }
        Admission::Queued(Box::pin(async move {
            places.acquire_owned().await.map_err(|_| Rejection::new(Pattern::Bulkhead, Reason::Closed))
        }))
    }

    fn finish(&self, _: OwnedSemaphorePermit, _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

fn refusing(env: TestEnv) -> GateLayer<Refusing, TestEnv> {
    GateLayer::with_env(Refusing::default(), env)
}

fn queueing(env: TestEnv) -> GateLayer<Queueing, TestEnv> {
    GateLayer::with_env(Queueing::new(), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(refusing).await;
    contract::every_call_ends_in_exactly_one_outcome(queueing).await;
    contract::every_call_that_waited_ends_in_exactly_one_outcome(queueing, PLACES).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(refusing, |layer| layer.gate().taken.load(SeqCst)).await;
    contract::dropping_at_any_point_leaves_nothing_held(queueing, |layer| layer.gate().taken()).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(refusing).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(queueing).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(refusing, Crowd::IsRefused).await;
    contract::works_under_a_buffer(queueing, Crowd::Waits).await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(queueing, Crowd::Waits).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(refusing, async |service| {
        hold(&service, Script::Hang, PLACES)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_leaves_the_queue_is_recorded_as_dropped() {
    let recorder = Recorder::default();
    let layer = queueing(Env::new().with_clock(seawall_core::TokioClock).with_observer(recorder.clone()));
    let probe = Probe::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = || {
        let mut future = Box::pin(layer.protect(probe.clone()).oneshot(Script::Hang));
        let _ = future.as_mut().poll(&mut cx);
        future
    };
    let held: Vec<_> = (0..PLACES).map(|_| call()).collect();
    let queued = call();
    assert_eq!(probe.calls(), PLACES);

    drop(queued);

    assert_eq!(recorder.booked().dropped, 1);
    drop(held);
    assert_eq!(recorder.booked().dropped, PLACES + 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_leaves_the_readiness_of_the_inner_service_with_its_handle() {
    let layer = GateLayer::<Refusing>::new(Refusing::default());
    let probe = Probe::new();
    let mut service = layer.protect(probe.clone());
    layer.gate().taken.store(PLACES, SeqCst);
    let refused = service.ready().await.unwrap().call(Script::Answer).await;
    assert!(matches!(refused, Err(Error::Rejected(_))));
    layer.gate().taken.store(0, SeqCst);

    // The probe panics when it is called without readiness: the handle still has it.
    let answered = service.call(Script::Answer).await;

    assert_eq!(answered, Ok("answered"));
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_unwinds_does_not_make_an_innocent_call_panicked() {
    let recorder = Recorder::default();
    let layer = refusing(Env::new().with_clock(seawall_core::TokioClock).with_observer(recorder.clone()));
    let mut innocent = Box::pin(layer.protect(Probe::new()).oneshot(Script::Hang));
    let _ = innocent.as_mut().poll(&mut Context::from_waker(Waker::noop()));

    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _dropped_while_unwinding = innocent;
        std::panic::resume_unwind(Box::new("elsewhere"));
    }));

    assert!(unwound.is_err());
    assert_eq!((recorder.booked().dropped, recorder.booked().panicked), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_queueing_layer_over_a_limit_of_one_does_not_deadlock_with_kept_ready_handles() {
    let layer = queueing(Env::new().with_clock(seawall_core::TokioClock).with_observer(Recorder::default()));
    let narrow = tower::limit::ConcurrencyLimit::new(Probe::new(), 1);
    let mut handles: Vec<_> = (0..50).map(|_| layer.protect(narrow.clone())).collect();
    for handle in &mut handles {
        poll_fn(|cx| handle.poll_ready(cx)).await.unwrap();
    }

    let tasks: Vec<_> = handles.iter_mut().map(|handle| tokio::spawn(handle.call(Script::AnswerLater))).collect();

    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok("answered"));
    }
}

#[tokio::test(start_paused = true)]
async fn run_protects_a_plain_future_and_asks_the_gate_only_when_it_is_polled() {
    let recorder = Recorder::default();
    let layer = refusing(Env::new().with_clock(seawall_core::TokioClock).with_observer(recorder.clone()));
    let started = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&started);

    let idle = layer.run(async { Ok::<_, std::io::Error>(()) });
    assert_eq!(layer.gate().taken.load(SeqCst), 0);
    drop(idle);
    let answer = layer
        .run(async move {
            mark.store(true, SeqCst);
            Err::<(), _>(std::io::Error::other("disk"))
        })
        .await;

    assert!(started.load(SeqCst));
    assert_eq!(answer.unwrap_err().to_string(), "disk");
    assert_eq!((recorder.booked().failed, recorder.booked().total()), (1, 1));
    layer.gate().taken.store(PLACES, SeqCst);
    assert!(matches!(layer.run(async { Ok::<_, ()>(()) }).await, Err(Error::Rejected(_))));
}

#[tokio::test(start_paused = true)]
async fn what_an_inner_layer_refuses_or_cuts_counts_as_that_under_run_carrying_and_as_a_failure_under_run() {
    let recorder = Recorder::default();
    let layer = refusing(Env::new().with_clock(seawall_core::TokioClock).with_observer(recorder.clone()));
    let refusal = |reason| async move { Err::<(), Error<ProbeError>>(Rejection::new(Pattern::Timeout, reason).into()) };

    for reason in [Reason::AttemptTimeout, Reason::BulkheadFull] {
        let carried = layer.run_carrying(CallContext::default(), refusal(reason)).await;
        assert!(matches!(carried, Err(Error::Rejected(rejection)) if rejection.reason() == reason));
    }
    let nested = layer.run(refusal(Reason::BulkheadFull)).await;

    assert!(matches!(nested, Err(Error::Inner(Error::Rejected(_)))));
    let booked = recorder.booked();
    assert_eq!((booked.timed_out, booked.returned, booked.failed, booked.total()), (1, 1, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn run_waits_in_the_queue_of_a_gate_that_has_one() {
    let layer = queueing(Env::new().with_clock(seawall_core::TokioClock).with_observer(Recorder::default()));
    let mut cx = Context::from_waker(Waker::noop());
    let mut held: Vec<_> = (0..PLACES).map(|_| Box::pin(layer.run(std::future::pending::<Result<(), ()>>()))).collect();
    for run in &mut held {
        assert!(run.as_mut().poll(&mut cx).is_pending());
    }
    let mut waiting = Box::pin(layer.run(async { Ok::<_, ()>(7) }));
    assert!(waiting.as_mut().poll(&mut cx).is_pending());

    held.pop();

    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(7)));
    drop(held);
    assert_eq!(layer.gate().taken(), 0);
}

/// Keeps the deadline of the last call.
#[derive(Clone, Debug, Default)]
struct Asking(Arc<std::sync::atomic::AtomicU64>);

impl Gate for Asking {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, context: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        self.0.store(context().deadline.map_or(0, Timestamp::as_nanos), SeqCst);
        Admission::Admitted(())
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

#[tokio::test]
async fn a_gate_that_asks_is_told_the_earlier_of_the_inherited_and_the_own_deadline() {
    let layer: GateLayer<Asking> = GateLayer::new(Asking::default());
    let at = Timestamp::from_nanos;
    let own = |nanos| CallContext::new().with_deadline(at(nanos));
    let call = || async { Ok::<_, std::io::Error>(()) };
    let told = || layer.gate().0.swap(0, SeqCst);

    seawall_core::InheritDeadline::new(at(7), layer.run(call())).await.unwrap();
    assert_eq!(told(), 7);
    seawall_core::InheritDeadline::new(at(7), layer.run_with(own(5), call())).await.unwrap();
    assert_eq!(told(), 5);
    seawall_core::InheritDeadline::new(at(7), layer.run_with(own(9), call())).await.unwrap();
    assert_eq!(told(), 7);
    let service = layer.protect(tower::service_fn(move |()| call()));
    seawall_core::InheritDeadline::new(at(7), service.oneshot(())).await.unwrap();
    assert_eq!(told(), 7);
    layer.run(call()).await.unwrap();
    assert_eq!(told(), 0);
}

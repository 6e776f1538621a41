//! What is given back first when a call ends, and who hears of it.
#![expect(
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests write down what happens, and fail by panicking"
)]

use std::{
    future::{Ready, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Class, Clock, ClockScopeLayer, Env, Environment, Gate, GateLayer, Guard, MonotonicClock,
    NoWait, Outcome, Pattern, Reason, Rejection, ScopeBoundaryLayer, Settle, Timestamp, Verdict,
};
use seawall_testkit::Recorder;
use tower::{Layer, Service, ServiceExt, service_fn};

/// What happened, in order.
#[derive(Clone, Debug, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn read(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Notes what it hears.
#[derive(Clone, Debug, Default)]
struct Noting(Diary);

impl Gate for Noting {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        Admission::Admitted(())
    }

    fn pushback(&self, (): &(), wait: Duration, _: impl FnOnce() -> Timestamp) {
        self.0.note(format!("pushback {wait:?}"));
    }

    fn trip(&self, (): &(), wait: Option<Duration>, _: impl FnOnce() -> Timestamp) {
        self.0.note(format!("trip {wait:?}"));
    }

    fn finish(&self, (): (), outcome: Outcome, _: impl FnOnce() -> Timestamp) {
        self.0.note(format!("{outcome:?}"));
    }

    /// Once there is something to remember.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.0.0.lock().unwrap().is_empty()
    }
}

/// Something that a call holds.
struct Held(Diary);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.note("given back");
    }
}

/// Holds something until it is dropped; hangs, or answers when it is first polled.
struct Holding {
    _held: Held,
    answer: Option<Result<u8, &'static str>>,
}

impl Future for Holding {
    type Output = Result<u8, &'static str>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.take().map_or(Poll::Pending, Poll::Ready)
    }
}

fn holding(diary: &Diary, answer: Option<Result<u8, &'static str>>) -> Holding {
    Holding { _held: Held(diary.clone()), answer }
}

fn noting() -> (Diary, GateLayer<Noting>) {
    let diary = Diary::default();
    (diary.clone(), GateLayer::new(Noting(diary)))
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_dropped_call_gives_back_what_it_holds_before_its_end_is_told() {
    let (diary, layer) = noting();
    let leaf = diary.clone();
    let mut through_tower = Box::pin(layer.protect(service_fn(move |()| holding(&leaf, None))).oneshot(()));
    let mut run = Box::pin(layer.run(holding(&diary, None)));
    assert!(poll_once(through_tower.as_mut()).is_pending());
    assert!(poll_once(run.as_mut()).is_pending());

    drop(through_tower);
    assert_eq!(diary.read(), ["given back", "Cancelled"]);
    drop(run);
    assert_eq!(diary.read(), ["given back", "Cancelled"]);
}

#[test]
fn run_gives_back_what_the_future_held_before_its_end_is_told() {
    for (answer, told) in [(Ok(1), "Finished(Success)"), (Err("broken"), "Finished(Failure)")] {
        let (diary, layer) = noting();
        let mut run = Box::pin(layer.run(holding(&diary, Some(answer))));

        assert!(poll_once(run.as_mut()).is_ready());

        assert_eq!(diary.read(), ["given back", told], "before the future of run is dropped itself");
        assert!(poll_once(run.as_mut()).is_pending(), "polled again, it waits for ever");
    }
}

/// Lets every call wait, then refuses it: at once, or when it is polled again.
#[derive(Clone, Copy, Debug)]
struct TurningAway;

struct NotToday {
    polled: bool,
}

impl Future for NotToday {
    type Output = Result<(), Rejection>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.polled, true) {
            return Poll::Ready(Err(Rejection::new(Pattern::Bulkhead, Reason::QueueTimeout)));
        }
        Poll::Pending
    }
}

impl Gate for TurningAway {
    type Ticket = ();
    type Wait = NotToday;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<(), NotToday> {
        Admission::Queued(NotToday { polled: false })
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

#[test]
fn a_call_that_waited_in_vain_is_told_as_refused_once_and_not_as_dropped() {
    let recorder = Recorder::default();
    let layer = GateLayer::<TurningAway, _>::with_env(TurningAway, Env::new().with_observer(recorder.clone()));
    let diary = Diary::default();
    let mut run = Box::pin(layer.run(holding(&diary, None)));
    let service = layer.protect(service_fn(|()| ready(Ok::<_, &str>(1))));
    let mut through_tower = Box::pin(service.oneshot(()));
    assert!(poll_once(run.as_mut()).is_pending());
    assert!(poll_once(through_tower.as_mut()).is_pending());

    assert!(poll_once(run.as_mut()).is_ready());
    assert_eq!(diary.read(), ["given back"], "what was not run is dropped with the refusal");
    assert!(poll_once(through_tower.as_mut()).is_ready());
    drop((run, through_tower));

    let booked = recorder.booked();
    assert_eq!((booked.rejected, booked.total()), (2, 2));
}

#[test]
fn a_call_that_waited_in_vain_and_is_polled_again_waits_for_ever() {
    let layer = GateLayer::<TurningAway>::new(TurningAway);
    let mut call = Box::pin(layer.protect(service_fn(|()| ready(Ok::<_, &str>(1)))).call(()));
    assert!(poll_once(call.as_mut()).is_pending());
    assert!(poll_once(call.as_mut()).is_ready());

    assert!(poll_once(call.as_mut()).is_pending());
}

/// Takes a guard over after a piece of its call has panicked, and drops it.
#[derive(Clone, Copy, Debug)]
struct TakesOver;

impl<Res> Settle<Res> for TakesOver {
    type Response<G: Gate, E: Environment> = Res;

    fn settle<G: Gate, E: Environment>(guard: &mut Guard<G, E>, _: Outcome, response: Res) -> Res {
        let caught = catch_unwind(AssertUnwindSafe(|| guard.around(|| unreachable!("as the test says"))));
        assert!(caught.is_err());
        let taken = guard.take();
        assert!(taken.has_panicked());
        response
    }
}

#[tokio::test]
async fn a_guard_in_another_place_still_knows_that_its_call_panicked() {
    let recorder = Recorder::default();
    let env = Env::new().with_observer(recorder.clone()).with_settle(TakesOver);
    let layer = GateLayer::<LettingIn, _>::with_env(LettingIn, env);

    layer.protect(service_fn(|()| ready(Ok::<_, &str>(1)))).oneshot(()).await.expect("it answers");

    let booked = recorder.booked();
    assert_eq!((booked.panicked, booked.total()), (1, 1));
}

/// Refuses every call at once.
#[derive(Clone, Copy, Debug)]
struct Refusing;

impl Gate for Refusing {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        Admission::Refused(Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull))
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

#[test]
fn what_is_not_run_is_told_as_refused_and_dropped_with_the_refusal() {
    let (recorder, diary) = (Recorder::default(), Diary::default());
    let layer = GateLayer::<Refusing, _>::with_env(Refusing, Env::new().with_observer(recorder.clone()));
    let mut run = Box::pin(layer.run(holding(&diary, None)));

    assert!(poll_once(run.as_mut()).is_ready());

    let booked = recorder.booked();
    assert_eq!((diary.read(), booked.rejected, booked.total()), (vec!["given back".to_owned()], 1, 1));
    assert!(poll_once(run.as_mut()).is_pending(), "polled again, it waits for ever");
}

/// Lets every call wait for a moment.
#[derive(Clone, Copy, Debug)]
struct LettingIn;

impl Gate for LettingIn {
    type Ticket = ();
    type Wait = Ready<Result<(), Rejection>>;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<(), Self::Wait> {
        Admission::Queued(ready(Ok(())))
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

/// Is never ready.
#[derive(Clone, Copy, Debug)]
struct Broken;

impl Service<()> for Broken {
    type Response = u8;
    type Error = &'static str;
    type Future = Ready<Result<u8, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Err("broken"))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("called without being ready")
    }
}

#[tokio::test]
async fn a_call_whose_turn_has_come_fails_with_a_service_that_is_not_ready() {
    let recorder = Recorder::default();
    let layer = GateLayer::<LettingIn, _>::with_env(LettingIn, Env::new().with_observer(recorder.clone()));

    let failed = layer.protect(Broken).oneshot(()).await;

    assert_eq!(failed.unwrap_err().to_string(), "broken");
    let booked = recorder.booked();
    assert_eq!((booked.failed, booked.total()), (1, 1));
}

#[test]
fn a_call_that_stops_waiting_by_itself_is_told_as_dropped() {
    let recorder = Recorder::default();
    let layer = GateLayer::<TurningAway, _>::with_env(TurningAway, Env::new().with_observer(recorder.clone()));
    let mut run = Box::pin(layer.run(ready(Ok::<_, &str>(1))));
    assert!(poll_once(run.as_mut()).is_pending());

    drop(run);

    let booked = recorder.booked();
    assert_eq!((booked.dropped, booked.total()), (1, 1));
}

#[tokio::test]
async fn a_gate_hears_how_long_the_other_side_asks_to_be_left_alone_before_the_end() {
    let diary = Diary::default();
    let asks = |answer: Result<&u8, &&'static str>| match answer {
        Ok(_) => Verdict::new(Class::Overload).with_retry_after(Duration::from_secs(7)),
        Err(_) => Verdict::new(Class::Failure).with_retry_after(Duration::from_secs(9)),
    };
    let layer = GateLayer::<Noting, _>::with_env(Noting(diary.clone()), Env::new().with_classifier(asks));
    let service = layer.protect(service_fn(|fails: bool| ready(if fails { Err("broken") } else { Ok(1_u8) })));

    assert!(service.clone().oneshot(false).await.is_ok());
    assert_eq!(diary.read(), ["pushback 7s", "Finished(Overload)"]);
    assert!(service.oneshot(true).await.is_err());
    assert_eq!(diary.read(), ["pushback 9s", "Finished(Failure)"]);
    assert!(layer.run(ready(Ok::<_, &'static str>(1_u8))).await.is_ok());
    assert_eq!(diary.read(), ["pushback 7s", "Finished(Overload)"]);
}

#[tokio::test]
async fn a_gate_that_is_shared_hears_of_waits_and_trips_too() {
    let diary = Diary::default();
    let says = |answer: Result<&bool, &&'static str>| match answer {
        Ok(true) => Verdict::new(Class::Failure).with_trip(),
        _ => Verdict::new(Class::Overload).with_retry_after(Duration::from_secs(7)),
    };
    let env = Env::new().with_classifier(says);
    let layer = GateLayer::<Arc<Noting>, _>::with_env(Arc::new(Noting(diary.clone())), env);

    assert!(layer.gate().is_idle(|| Timestamp::ZERO));
    assert!(layer.run(ready(Ok::<_, &'static str>(false))).await.is_ok());
    assert!(!layer.gate().is_idle(|| Timestamp::ZERO));
    assert_eq!(diary.read(), ["pushback 7s", "Finished(Overload)"]);
    assert!(layer.run(ready(Ok::<_, &'static str>(true))).await.is_ok());
    assert_eq!(diary.read(), ["trip None", "Finished(Failure)"]);
}

/// Answers at once, and panics when it is dropped.
struct PanicsAtDrop;

impl Future for PanicsAtDrop {
    type Output = Result<u8, &'static str>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(1))
    }
}

impl Drop for PanicsAtDrop {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "as the test says");
    }
}

#[test]
fn a_future_that_panics_when_it_is_dropped_makes_the_call_panicked() {
    let (diary, layer) = noting();
    let mut run = Box::pin(layer.run(PanicsAtDrop));

    let polled = catch_unwind(AssertUnwindSafe(|| poll_once(run.as_mut())));
    assert!(polled.is_err());
    drop(run);

    assert_eq!(diary.read(), ["Panicked"]);
}

/// Has nothing to do at the end of a call.
#[derive(Clone, Debug, Default)]
struct Careless(Diary);

impl Gate for Careless {
    type Ticket = ();
    type Wait = NoWait;
    const RECORDS: bool = false;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        Admission::Admitted(())
    }

    fn finish(&self, (): (), outcome: Outcome, _: impl FnOnce() -> Timestamp) {
        self.0.note(format!("{outcome:?}"));
    }
}

#[tokio::test]
async fn a_gate_that_records_nothing_is_told_of_no_end_and_the_observer_is() {
    let (diary, recorder) = (Diary::default(), Recorder::default());
    let env = Env::new().with_observer(recorder.clone());
    let layer = GateLayer::<Careless, _>::with_env(Careless(diary.clone()), env);

    assert!(layer.run(ready(Ok::<_, &'static str>(1_u8))).await.is_ok());

    assert_eq!(diary.read(), [""; 0]);
    assert_eq!((recorder.booked().returned, recorder.booked().total()), (1, 1));
}

/// Reads the clock twice while it is asked whether it is ready.
#[derive(Clone)]
struct ReadsWhenAsked<S> {
    inner: S,
    read: Arc<Mutex<Vec<[Timestamp; 2]>>>,
}

impl<S: Service<(), Response = (), Error = &'static str>> Service<()> for ReadsWhenAsked<S> {
    type Response = ();
    type Error = &'static str;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.read.lock().unwrap().push([MonotonicClock.now(), MonotonicClock.now()]);
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, (): ()) -> S::Future {
        self.inner.call(())
    }
}

#[tokio::test]
async fn asking_for_readiness_has_one_reading_inside_the_scope_and_fresh_ones_behind_the_boundary() {
    let (scoped, behind) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let leaf = service_fn(|()| -> Ready<Result<(), &'static str>> { ready(Ok(())) });
    let leaf = ReadsWhenAsked { inner: leaf, read: Arc::clone(&behind) };
    let inside = ReadsWhenAsked { inner: ScopeBoundaryLayer::new().layer(leaf), read: Arc::clone(&scoped) };

    ClockScopeLayer::new().layer(inside).oneshot(()).await.unwrap();

    let ([in_scope], [outside]) = (&scoped.lock().unwrap()[..], &behind.lock().unwrap()[..]) else { unreachable!() };
    assert_eq!(in_scope[0], in_scope[1]);
    assert!(outside[0] > in_scope[1] && outside[1] > outside[0]);
}

//! A permit lasts until the last byte of a body, and the handler's errors reach axum as responses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use seawall_core::{
    Admission, CallContext, Class, Env, Gate, GateLayer, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp,
    VirtualClock, WrapErrorLayer,
};
use seawall_http::{AtBodyEnd, RespondLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

/// One place, and a record of how and when calls ended.
#[derive(Clone, Default)]
struct OnePlace {
    taken: Arc<AtomicUsize>,
    ended: Arc<std::sync::RwLock<Vec<(Outcome, Timestamp)>>>,
}

impl Gate for OnePlace {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        if self.taken.compare_exchange(0, 1, SeqCst, SeqCst).is_ok() {
            Admission::Admitted(())
        } else {
            Admission::Refused(Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull))
        }
    }

    fn finish(&self, (): (), outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        self.taken.fetch_sub(1, SeqCst);
        self.ended.write().unwrap().push((outcome, now()));
    }
}

/// Two frames, then the end or an error.
struct Frames(u8, bool);

impl Body for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0 = self.0.saturating_add(1);
        Poll::Ready(match self.0 {
            1 | 2 => Some(Ok(Frame::data(Bytes::from_static(b"x")))),
            _ if self.1 => Some(Err(std::io::Error::other("cut"))),
            _ => None,
        })
    }
}

async fn answer(
    gate: &OnePlace,
    clock: &VirtualClock,
    fails: bool,
) -> Response<impl Body<Error: std::fmt::Debug> + Unpin> {
    let env = Env::new().with_clock(clock.clone()).with_settle(AtBodyEnd);
    let layer = GateLayer::<OnePlace, _>::with_env(gate.clone(), env);
    let service =
        layer.protect(service_fn(move |(): ()| async move { Ok::<_, Infallible>(Response::new(Frames(0, fails))) }));
    service.oneshot(()).await.unwrap()
}

#[tokio::test]
async fn a_permit_lasts_until_the_body_ends_and_the_latency_is_the_heads() {
    let (gate, clock) = (OnePlace::default(), VirtualClock::new());
    let mut response = answer(&gate, &clock, false).await;
    let head = seawall_core::Clock::now(&clock);
    clock.advance(Duration::from_secs(3));

    assert!(response.body_mut().frame().await.is_some());
    assert_eq!(gate.taken.load(SeqCst), 1);
    while response.body_mut().frame().await.is_some() {}

    assert_eq!(gate.taken.load(SeqCst), 0);
    assert_eq!(*gate.ended.read().unwrap(), [(Outcome::Finished(Class::Success), head)]);
}

#[tokio::test]
async fn a_body_dropped_unread_settles_with_the_heads_verdict() {
    let (gate, clock) = (OnePlace::default(), VirtualClock::new());
    let response = answer(&gate, &clock, false).await;

    drop(response);

    assert_eq!(*gate.ended.read().unwrap(), [(Outcome::Finished(Class::Success), Timestamp::ZERO)]);
}

#[tokio::test]
async fn a_body_that_fails_makes_the_call_a_failure() {
    let (gate, clock) = (OnePlace::default(), VirtualClock::new());
    let mut response = answer(&gate, &clock, true).await;

    while let Some(Ok(_)) = response.body_mut().frame().await {}

    assert_eq!(*gate.ended.read().unwrap(), [(Outcome::Finished(Class::Failure), Timestamp::ZERO)]);
}

#[tokio::test]
async fn an_empty_body_ends_the_call_at_once() {
    let gate = OnePlace::default();
    let layer = GateLayer::<OnePlace, _>::with_env(gate.clone(), Env::new().with_settle(AtBodyEnd));
    let service =
        layer.protect(service_fn(|(): ()| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }));

    let response = service.oneshot(()).await.unwrap();

    assert_eq!(gate.taken.load(SeqCst), 0);
    drop(response);
    assert_eq!(gate.ended.read().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_request_is_answered_with_a_problem_document() {
    let gate = OnePlace::default();
    gate.taken.store(1, SeqCst);
    let handler = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    let mut service =
        RespondLayer::new().layer(GateLayer::<OnePlace>::new(gate).layer(WrapErrorLayer::new().layer(handler)));

    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();

    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["retry-after"], "1");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["reason"], "bulkhead_full");
}

/// One frame, after which it ends, or panics when it is asked for it; notes how many places were taken when it is dropped.
struct Last {
    frame: Option<Bytes>,
    panics: bool,
    gate: OnePlace,
    taken_at_drop: Arc<AtomicUsize>,
}

impl Body for Last {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        assert!(!self.panics, "as the test says");
        Poll::Ready(self.frame.take().map(|frame| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.frame.is_none()
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.taken_at_drop.store(self.gate.taken.load(SeqCst), SeqCst);
    }
}

/// The body of an answer through `gate`, and where it notes the places taken when it is dropped.
async fn last(gate: OnePlace, panics: bool) -> (Response<impl Body<Error: std::fmt::Debug> + Unpin>, Arc<AtomicUsize>) {
    let (taken_at_drop, frame) = (Arc::new(AtomicUsize::new(9)), Some(Bytes::from_static(b"x")));
    let body = Last { frame, panics, gate: gate.clone(), taken_at_drop: Arc::clone(&taken_at_drop) };
    let layer = GateLayer::<OnePlace, _>::with_env(gate, Env::new().with_settle(AtBodyEnd));
    let mut body = Some(body);
    let service =
        service_fn(move |(): ()| std::future::ready(Ok::<_, Infallible>(Response::new(body.take().unwrap()))));
    let response = layer.layer(WrapErrorLayer::new().layer(service)).oneshot(()).await.unwrap();
    (response, taken_at_drop)
}

#[tokio::test]
async fn the_last_frame_ends_the_call_where_the_body_says_that_it_is_the_last() {
    let gate = OnePlace::default();
    let (mut response, _) = last(gate.clone(), false).await;
    assert_eq!(gate.taken.load(SeqCst), 1);

    assert!(response.body_mut().frame().await.is_some());

    assert_eq!(gate.taken.load(SeqCst), 0, "a caller need not ask for what does not come");
    assert_eq!(gate.ended.read().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_that_panics_makes_the_call_panicked() {
    let gate = OnePlace::default();
    let (mut response, _) = last(gate.clone(), true).await;

    let panicked = tokio::spawn(async move { response.body_mut().frame().await.is_some() }).await;

    assert!(panicked.unwrap_err().is_panic());
    assert!(matches!(gate.ended.read().unwrap()[..], [(Outcome::Panicked, _)]));
}

#[tokio::test]
async fn what_a_body_holds_is_given_back_before_its_place() {
    let gate = OnePlace::default();
    let (response, taken_at_drop) = last(gate.clone(), false).await;

    drop(response);

    assert_eq!((taken_at_drop.load(SeqCst), gate.taken.load(SeqCst)), (1, 0));
}

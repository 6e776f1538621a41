use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, routing};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use seawall::{
    HttpServer,
    bulkhead::{BulkheadConfig, BulkheadLayer},
    core::{GateLayer, NoObserver, VirtualClock, inherited_deadline},
    http::DO_NOT_RETRY_HEADER,
    load_shedder::{CgroupReader, Pressure, QueueingShedderConfig},
    timeout::StreamLimits,
};
use seawall_testkit::{Ledger, Recorder};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scripted::{Chance, Does, Handler, Incoming, MS, SECOND, Scripted, drive, env, get, poll_once};

type Preset = HttpServer<VirtualClock, NoObserver, Chance>;

fn preset(does: Does) -> (VirtualClock, Preset, Scripted) {
    let clock = VirtualClock::new();
    (clock.clone(), seawall::server_with_env(env(&clock)), Scripted::new(&clock, does))
}

fn waiting(millis: &str) -> Incoming {
    Request::get("/").header("x-request-timeout-ms", millis).body(Full::default()).unwrap()
}

/// The status that a call gets, and after how long.
fn served<S, B>(clock: &VirtualClock, service: S, request: Incoming) -> (u16, Duration)
where
    S: Service<Incoming, Response = Response<B>, Error = Infallible>,
{
    let (answer, took) = drive(clock, service.oneshot(request));
    (answer.unwrap().status().as_u16(), took)
}

#[test]
fn a_handler_that_hangs_is_ended_after_30_s_with_504_that_says_why() {
    let (clock, layers, handler) = preset(Does::Hang);

    let (answer, took) = drive(&clock, layers.layer(Handler(handler.clone())).oneshot(get()));

    let answer = answer.unwrap();
    assert_eq!((answer.status().as_u16(), took), (504, 30 * SECOND));
    assert_eq!(answer.headers()[DO_NOT_RETRY_HEADER], "1");
    let body = drive(&clock, answer.into_body().collect()).0.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&problem["pattern"], &problem["reason"]), (&"timeout".into(), &"deadline_exceeded".into()));
    assert_eq!((handler.running(), layers.shedder().gate().in_flight()), (0, 0));
}

#[test]
fn a_handler_has_as_long_as_its_caller_waits_and_30_s_at_most() {
    for (asked, granted) in [("200", 200 * MS), ("30000", 30 * SECOND), ("60000", 30 * SECOND)] {
        let (clock, layers, handler) = preset(Does::Hang);

        assert_eq!(served(&clock, layers.layer(Handler(handler)), waiting(asked)), (504, granted), "{asked} ms");
    }
}

#[test]
fn a_handler_that_is_quicker_than_its_caller_answers() {
    let (clock, layers, handler) = preset(Does::Take(200 * MS));

    assert_eq!(served(&clock, layers.layer(Handler(handler)), waiting("200")), (200, 200 * MS));
}

#[test]
fn another_limit_cuts_there_and_without_a_timeout_nobody_is_cut() {
    let (clock, layers, handler) = preset(Does::Take(2 * SECOND));
    let quick = layers.clone().with_max_deadline(SECOND).unwrap();

    assert_eq!(served(&clock, quick.layer(Handler(handler.clone())), get()), (504, SECOND));
    assert_eq!(served(&clock, layers.without_timeout().layer(Handler(handler)), waiting("1")), (200, 2 * SECOND));
}

#[test]
fn what_arrives_expired_is_answered_unseen() {
    let (clock, layers, handler) = preset(Does::Answer(200));

    assert_eq!(served(&clock, layers.layer(Handler(handler.clone())), waiting("0")), (504, Duration::ZERO));

    assert_eq!((handler.seen().len(), layers.deadline().expired(), layers.deadline().malformed()), (0, 1, 0));
}

#[test]
fn the_seventeenth_call_at_once_is_shed_with_503_and_a_hint() {
    let (clock, layers, handler) = preset(Does::Hang);
    let service = layers.layer(Handler(handler.clone()));
    let mut hanging: Vec<_> = (0..16).map(|_| Box::pin(service.clone().oneshot(get()))).collect();
    assert!(hanging.iter_mut().all(|call| poll_once(call.as_mut()).is_pending()));
    handler.now_does(Does::Answer(200));

    let (shed, took) = drive(&clock, service.clone().oneshot(get()));

    let shed = shed.unwrap();
    assert_eq!((shed.status().as_u16(), took, handler.seen().len()), (503, Duration::ZERO, 16));
    assert!(["1", "2"].contains(&shed.headers()["retry-after"].to_str().unwrap()));
    assert_eq!(shed.headers()["content-type"], "application/problem+json");
    drop(hanging.pop());
    assert_eq!(served(&clock, service, get()).0, 200);
}

/// A body that has begun and says nothing more, as an event stream does in a quiet hour.
struct Open;

impl Body for Open {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[test]
fn a_request_body_that_stands_still_is_cut_and_the_handler_sees_it() {
    let clock = VirtualClock::new();
    let limits = StreamLimits::new().with_idle(SECOND).unwrap();
    let one = BulkheadLayer::with_env(BulkheadConfig::new(1).unwrap(), env(&clock));
    let layers = seawall::server_with_env(env(&clock)).with_body_limits(limits).with_bulkhead(one);
    let reads = service_fn(|request: Request<_>| async {
        let read = BodyExt::collect(Request::into_body(request)).await;
        Ok::<_, Infallible>(
            Response::builder().status(if read.is_ok() { 200 } else { 408 }).body(Full::<Bytes>::default()).unwrap(),
        )
    });

    let (answer, took) = drive(&clock, layers.layer(reads).oneshot(Request::new(Open)));

    assert_eq!((answer.unwrap().status().as_u16(), took), (408, SECOND));
}

#[test]
fn streams_that_stay_open_keep_no_place_from_others() {
    let clock = VirtualClock::new();
    let layers = seawall::server_with_env(env(&clock));
    let app: Router = Router::new()
        .route("/events", routing::get(|| async { axum::body::Body::new(Open) }))
        .route("/", routing::get(|| async { "hello" }))
        .layer(layers.clone());
    let ask = |path: &str| {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        drive(&clock, app.clone().oneshot(request)).0.unwrap()
    };

    let streams: Vec<_> = (0..100).map(|_| ask("/events")).collect();

    assert!(streams.iter().all(|stream| stream.status() == 200 && !stream.body().is_end_stream()));
    assert_eq!(layers.shedder().gate().in_flight(), 0);
    assert!((0..200).all(|_| ask("/").status() == 200));
}

#[test]
fn with_a_queue_the_seventeenth_call_at_once_waits_for_the_first_to_end() {
    let (clock, layers, handler) = preset(Does::Take(10 * MS));
    let layers = layers.with_queue(QueueingShedderConfig::default()).leak();
    let service = layers.layer(Handler(handler.clone()));
    let mut calls: Vec<_> = (0..16).map(|_| Box::pin(service.clone().oneshot(get()))).collect();
    assert!(calls.iter_mut().all(|call| poll_once(call.as_mut()).is_pending()));

    let mut waiting = pin!(service.oneshot(get()));
    assert!(poll_once(waiting.as_mut()).is_pending());
    assert_eq!((layers.shedder().gate().queued(), handler.seen().len()), (1, 16));
    clock.advance(10 * MS);
    assert!(calls.iter_mut().all(|call| poll_once(call.as_mut()).is_ready()));

    assert_eq!(drive(&clock, waiting).0.unwrap().status(), 200);
    assert_eq!((layers.shedder().gate().queued(), layers.shedder().gate().in_flight()), (0, 0));
}

/// What requests of rising criticality get: sheddable, degraded, default, critical.
fn by_criticality<S, B>(clock: &VirtualClock, service: &S) -> [u16; 4]
where
    S: Service<Incoming, Response = Response<B>, Error = Infallible> + Clone,
{
    ["sheddable", "degraded", "default", "critical"].map(|worth| {
        let request = Request::get("/").header("x-criticality", worth).body(Full::default()).unwrap();
        served(clock, service.clone(), request).0
    })
}

#[test]
fn a_server_that_feels_that_its_event_loop_is_late_sheds_what_matters_less() {
    let (clock, layers, handler) = preset(Does::Answer(200));
    let queueing = layers.clone().with_queue(QueueingShedderConfig::default());
    let nowhere = || CgroupReader::below("/nowhere");
    let mut feel = pin!(layers.feel(Pressure::default(), nowhere()));
    let mut feel_queueing = pin!(queueing.feel(Pressure::default(), nowhere()));
    let services = (layers.layer(Handler(handler.clone())), queueing.layer(Handler(handler)));
    let mut poll = || {
        assert!(poll_once(feel.as_mut()).is_pending() && poll_once(feel_queueing.as_mut()).is_pending());
    };

    poll();
    assert_eq!(by_criticality(&clock, &services.0), [200; 4]);
    // 300 ms late.
    clock.advance(350 * MS);
    poll();

    assert_eq!(by_criticality(&clock, &services.0), [503, 503, 200, 200]);
    assert_eq!(by_criticality(&clock, &services.1), [503, 503, 200, 200]);
}

#[test]
fn overload_is_marked_as_not_to_be_retried_by_choice() {
    for (marks, expected) in [(false, None), (true, Some("1"))] {
        let (clock, layers, handler) = preset(Does::Hang);
        let one = BulkheadLayer::with_env(BulkheadConfig::new(1).unwrap(), env(&clock));
        let layers = if marks { layers.without_retries_on_overload() } else { layers }.with_bulkhead(one);
        let service = layers.layer(Handler(handler));
        let mut hanging = pin!(service.clone().oneshot(get()));
        assert!(poll_once(hanging.as_mut()).is_pending());

        let refused = drive(&clock, service.oneshot(get())).0.unwrap();

        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers().get(DO_NOT_RETRY_HEADER).map(|mark| mark.to_str().unwrap()), expected);
    }
}

#[test]
fn a_failure_of_the_handlers_own_is_its_answer() {
    let (clock, layers, handler) = preset(Does::Answer(500));

    assert_eq!(served(&clock, layers.layer(Handler(handler)), get()), (500, Duration::ZERO));
}

#[test]
fn a_bulkhead_stands_behind_the_shedder() {
    let (clock, layers, handler) = preset(Does::Hang);
    let layers = layers.with_bulkhead(BulkheadLayer::with_env(BulkheadConfig::new(1).unwrap(), env(&clock))).leak();
    let service = layers.layer(Handler(handler));
    let mut hanging = pin!(service.clone().oneshot(get()));
    assert!(poll_once(hanging.as_mut()).is_pending());

    assert_eq!(served(&clock, service.clone(), get()), (503, Duration::ZERO));

    assert_eq!((layers.bulkhead().gate().in_flight(), layers.shedder().gate().in_flight()), (1, 1));
}

#[test]
fn a_shedder_takes_a_caller_who_waits_no_longer_for_one_who_left() {
    let (clock, layers, handler) = preset(Does::Hang);
    let recorder = Recorder::default();
    let layers = layers
        .with_shedder(GateLayer::<Ledger, _>::with_env(Ledger::default(), env(&clock).with_observer(recorder.clone())));

    let _ = served(&clock, layers.layer(Handler(handler)), waiting("1"));

    assert_eq!(
        (recorder.booked().dropped, recorder.booked().total()),
        (1, 1),
        "not timed out: the caller may have asked for too much"
    );
}

#[test]
fn the_calls_that_a_handler_makes_inherit_its_deadline() {
    let (clock, layers, _) = preset(Does::Hang);
    let handler = service_fn(|_: Incoming| async {
        let left = inherited_deadline().unwrap().as_nanos();
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(left.to_string())))
    });

    let answer = drive(&clock, layers.layer(handler).oneshot(waiting("250"))).0.unwrap();

    let body = drive(&clock, answer.into_body().collect()).0.unwrap().to_bytes();
    assert_eq!(body, (250 * MS).as_nanos().to_string());
}

#[test]
fn a_handler_that_panics_gives_its_place_back() {
    let (clock, layers, _) = preset(Does::Hang);
    let service = layers.layer(service_fn(|_: Incoming| async {
        std::future::poll_fn(|_| -> Poll<()> { panic!("in the handler") }).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));

    let caught = catch_unwind(AssertUnwindSafe(|| served(&clock, service, get())));

    assert!(caught.is_err());
    assert_eq!(layers.shedder().gate().in_flight(), 0);
}

#![expect(clippy::disallowed_types, reason = "tests write down what happens")]

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use seawall::{
    Error, HttpClient, Reason, Rejection,
    circuit_breaker::State,
    core::{CallContext, Clock, InheritDeadline, NoObserver, Observer, Outcome, Pattern, Timestamp, VirtualClock},
    http::Deadline,
    load_shedder::{ThrottleConfig, ThrottleLayer},
    timeout::{StreamLimits, TimeoutConfig, TimeoutLayer},
};
use tower::{Service, ServiceExt};

use crate::scripted::{Chance, Does, Incoming, MS, SECOND, Scripted, drive, env, get, poll_once, post};

type Preset = HttpClient<VirtualClock, NoObserver, Chance>;

fn preset(does: Does) -> (VirtualClock, Preset, Scripted) {
    let clock = VirtualClock::new();
    (clock.clone(), seawall::client_with_env(env(&clock)), Scripted::new(&clock, does))
}

/// How a call ended, and after how long: a status, or why not.
fn end(
    clock: &VirtualClock,
    layers: &Preset,
    service: &Scripted,
    request: Incoming,
) -> (Result<u16, String>, Duration) {
    let (result, took) = drive(clock, layers.protect(service.clone()).oneshot(request));
    let end = match result {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(Error::Inner(error)) => Err(error.to_string()),
        Err(Error::Rejected(rejection)) => Err(rejection.reason().as_str().to_owned()),
    };
    (end, took)
}

fn refused(reason: Reason) -> Result<u16, String> {
    Err(reason.as_str().to_owned())
}

#[test]
fn a_get_that_hangs_gets_2_s_an_attempt_and_5_s_in_all() {
    let (clock, layers, service) = preset(Does::Hang);

    let (ended, took) = end(&clock, &layers, &service, get());

    assert_eq!((ended, took), (refused(Reason::TotalTimeout), 5 * SECOND));
    let arrived: Vec<_> = service.seen().iter().map(|seen| seen.at.since(Timestamp::ZERO)).collect();
    assert_eq!(arrived, [Duration::ZERO, 2_025 * MS, 4_075 * MS], "half of 50 and of 100 ms in between");
    assert_eq!((service.running(), layers.bulkhead().gate().in_flight()), (0, 0));
}

#[test]
fn a_post_that_hangs_is_sent_once_and_cut_after_2_s() {
    let (clock, layers, service) = preset(Does::Hang);

    let ended = end(&clock, &layers, &service, post());

    assert_eq!(ended, (refused(Reason::AttemptTimeout), 2 * SECOND));
    assert_eq!(service.seen().len(), 1);
}

#[test]
fn without_an_attempt_timeout_the_total_one_cuts() {
    let (clock, layers, service) = preset(Does::Hang);
    let layers = layers.without_attempt_timeout();

    let (ended, took) = drive(&clock, layers.protect(service.clone()).oneshot(get()));

    assert_eq!(ended.unwrap_err().rejection().unwrap().reason(), Reason::TotalTimeout);
    assert_eq!((took, service.seen().len()), (5 * SECOND, 1));
}

#[test]
fn a_get_that_fails_is_tried_three_times_with_growing_random_waits_and_says_so() {
    let (clock, layers, service) = preset(Does::Answer(502));

    let (ended, took) = end(&clock, &layers, &service, get());

    assert_eq!((ended, took), (Ok(502), 75 * MS));
    let tried = service.seen_header("x-previous-attempts");
    assert_eq!(tried, [None, Some("1".to_owned()), Some("2".to_owned())]);
}

#[test]
fn what_may_not_be_repeated_is_sent_once() {
    for does in [Does::Answer(502), Does::Break] {
        let (clock, layers, service) = preset(does);

        let (ended, took) = end(&clock, &layers, &service, post());

        assert_eq!(ended, if matches!(does, Does::Break) { Err("broken".to_owned()) } else { Ok(502) });
        assert_eq!((took, service.seen().len()), (Duration::ZERO, 1));
    }
}

#[test]
fn a_connection_that_breaks_is_tried_again_where_that_does_no_harm() {
    let (clock, layers, service) = preset(Does::Break);

    let (ended, _) = end(&clock, &layers, &service, get());

    assert_eq!((ended, service.seen().len()), (Err("broken".to_owned()), 3));
}

#[test]
fn retries_add_a_tenth_at_most() {
    let (clock, layers, service) = preset(Does::Answer(502));
    let client = layers.clone().without_breaker().protect(service.clone());

    for _ in 0..1_000 {
        drop(drive(&clock, client.clone().oneshot(get())));
        clock.advance(MS);
    }

    assert_eq!(service.seen().len(), 1_000 + 90);
}

#[test]
fn the_circuit_opens_when_half_of_twenty_calls_failed_within_10_s() {
    let (clock, layers, service) = preset(Does::Answer(200));
    let call = |does, times: usize| {
        service.now_does(does);
        for _ in 0..times {
            let _ = end(&clock, &layers, &service, post());
        }
        layers.breaker().gate().state()
    };

    assert_eq!(call(Does::Answer(500), 10), State::Closed, "ten are too few");
    clock.advance(11 * SECOND);
    assert_eq!(call(Does::Answer(200), 11), State::Closed);
    assert_eq!(call(Does::Answer(500), 10), State::Closed, "10 of 21, and those of before are forgotten");
    assert_eq!(call(Does::Break, 1), State::Open, "11 of 22");

    let (ended, took) = end(&clock, &layers, &service, post());
    assert_eq!((ended, took < 150 * MS), (refused(Reason::CircuitOpen), true));
    let opened = layers.breaker().gate().snapshot(clock.now());
    let open_for = opened.retry_after.unwrap() + took;
    assert!(open_for >= 2_500 * MS && open_for <= 5 * SECOND, "{open_for:?}");
}

#[test]
fn the_twentieth_call_opens_the_circuit_and_the_nineteenth_does_not() {
    let (clock, layers, service) = preset(Does::Answer(500));
    let states: Vec<State> = (0..20)
        .map(|_| {
            let _ = end(&clock, &layers, &service, post());
            layers.breaker().gate().state()
        })
        .collect();

    assert_eq!((&states[..19], states[19]), (&[State::Closed; 19][..], State::Open));
}

#[test]
fn calls_that_hang_open_the_circuit_and_calls_that_are_shed_do_not() {
    for (does, state) in [(Does::Hang, State::Open), (Does::Shed, State::Closed), (Does::Answer(404), State::Closed)] {
        let (clock, layers, service) = preset(does);
        let calls: Vec<_> = (0..40).map(|_| Box::pin(layers.protect(service.clone()).oneshot(post()))).collect();

        let ((), _) = drive(&clock, futures_all(calls));

        assert_eq!(layers.breaker().gate().state(), state, "{does:?}");
    }
}

/// Ends when all have.
async fn futures_all<F: Future + Unpin>(calls: Vec<F>) {
    let mut calls: Vec<_> = calls.into_iter().map(Some).collect();
    std::future::poll_fn(|cx| {
        for slot in &mut calls {
            if slot.as_mut().is_some_and(|call| std::pin::Pin::new(call).poll(cx).is_ready()) {
                *slot = None;
            }
        }
        if calls.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[test]
fn a_hundred_calls_hold_places_until_their_bodies_end() {
    let (clock, layers, service) = preset(Does::Answer(200));
    let client = layers.protect(service.clone());
    let mut unread: Vec<_> = (0..100).map(|_| drive(&clock, client.clone().oneshot(post())).0.unwrap()).collect();

    assert_eq!(end(&clock, &layers, &service, post()).0, refused(Reason::BulkheadFull));
    drop(unread.pop());
    assert_eq!(end(&clock, &layers, &service, post()).0, Ok(200));
    let read = drive(&clock, unread.pop().unwrap().into_body().collect()).0.unwrap();

    assert_eq!((read.to_bytes(), layers.bulkhead().gate().in_flight()), (Bytes::from("said"), 98));
}

#[test]
fn each_attempt_tells_the_other_side_how_long_it_has() {
    let (clock, layers, service) = preset(Does::Hang);

    let _ = end(&clock, &layers, &service, get());

    let told = service.seen_header("x-request-timeout-ms");
    assert_eq!(told, ["1999", "1999", "924"].map(|millis| Some(millis.to_owned())));
}

#[test]
fn the_other_side_is_told_of_what_is_left_less_the_reserve() {
    let (clock, layers, service) = preset(Does::Answer(200));

    for reserve in [MS * 250, Duration::ZERO] {
        let _ = end(&clock, &layers.clone().with_reserve(reserve).unwrap(), &service, get());
    }

    let told = service.seen_header("x-request-timeout-ms");
    assert_eq!(told, ["1750", "2000"].map(|millis| Some(millis.to_owned())));
    let refused = layers.with_reserve(2 * SECOND).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "attempt timeout is 2s; allowed is 1ms and more beside the reserve of 2s where the other side is told of it"
    );
}

#[test]
fn the_earliest_deadline_is_what_the_other_side_is_told() {
    let (clock, layers, service) = preset(Does::Answer(200));
    let at = |millis| clock.now().saturating_add(millis * MS);
    let mut own = Request::get("/").header("content-type", "application/grpc").body(Full::default()).unwrap();
    Deadline::bring_forward(&mut own, at(300));

    let _ = end(&clock, &layers, &service, own);
    let inheriting = InheritDeadline::new(at(200), async { layers.protect(service.clone()).oneshot(get()).await });
    drop(drive(&clock, inheriting).0.unwrap());
    let plain = layers.clone().without_deadline_header();
    drop(drive(&clock, plain.protect(service.clone()).oneshot(get())).0.unwrap());

    let told = service.seen_header("x-request-timeout-ms");
    assert_eq!(told, [Some("299".to_owned()), Some("199".to_owned()), None]);
    assert_eq!(service.seen_header("grpc-timeout"), [Some("299000u".to_owned()), None, None]);
}

#[test]
fn a_time_that_the_request_itself_names_is_kept_and_only_comes_closer() {
    let named = |header: &str, value: &str| Request::get("/").header(header, value).body(Full::default()).unwrap();
    for (request, reason, millis) in [
        (named("x-request-timeout-ms", "300"), Reason::DeadlineExceeded, 300),
        (named("grpc-timeout", "300m"), Reason::DeadlineExceeded, 300),
        (named("x-request-timeout-ms", "60000"), Reason::TotalTimeout, 5_000),
    ] {
        let (clock, layers, service) = preset(Does::Hang);

        assert_eq!(end(&clock, &layers, &service, request), (refused(reason), millis * MS));

        let told = service.seen_header("x-request-timeout-ms");
        assert_eq!(told[0], Some((millis.min(2_000) - 1).to_string()));
    }
    let (clock, layers, service) = preset(Does::Answer(500));
    let _ = end(&clock, &layers, &service, named("x-request-timeout-ms", "300"));

    let told = service.seen_header("x-request-timeout-ms");
    assert_eq!(told, ["299", "274", "224"].map(|millis| Some(millis.to_owned())), "less for each attempt");
}

#[test]
fn calls_that_a_total_timeout_around_the_preset_cuts_open_the_circuit() {
    let (clock, layers, service) = preset(Does::Hang);
    let outside = TimeoutLayer::with_env(TimeoutConfig::total(300 * MS).unwrap(), env(&clock));

    for _ in 0..20 {
        let call = async { layers.protect(service.clone()).oneshot(post()).await };
        let (cut, took) = drive(&clock, outside.run_carrying(CallContext::new(), call));
        assert_eq!((cut.is_err(), took), (true, 300 * MS));
    }

    assert_eq!(layers.breaker().gate().state(), State::Open);
}

#[test]
fn an_open_circuit_keeps_nobody_waiting() {
    let (clock, layers, service) = preset(Does::Answer(500));
    for _ in 0..20 {
        let _ = end(&clock, &layers, &service, post());
    }

    assert_eq!(end(&clock, &layers, &service, get()), (refused(Reason::CircuitOpen), Duration::ZERO));
}

/// Knows which layer it is told by.
#[derive(Clone)]
struct Heard(String, Arc<Mutex<Vec<String>>>);

impl Observer for Heard {
    const PER_CALL: bool = true;

    fn for_layer(self, pattern: Pattern, part: &'static str) -> Self {
        Self(format!("{} {part}", pattern.as_str()), self.1)
    }

    fn on_call(&self, outcome: Outcome) {
        self.1.lock().unwrap().push(format!("{}: {}", self.0, outcome.as_str()));
    }
}

#[test]
fn each_layer_tells_an_observer_of_its_own() {
    let clock = VirtualClock::new();
    let heard = Heard(String::new(), Arc::default());
    let layers = seawall::client_with_env(env(&clock).with_observer(heard.clone()));
    let service = Scripted::new(&clock, Does::Answer(200));

    drop(drive(&clock, layers.protect(service).oneshot(get())).0.unwrap());

    let mut told = heard.1.lock().unwrap().clone();
    told.sort_unstable();
    let layers = ["bulkhead ", "circuit_breaker ", "retry ", "timeout ", "timeout attempt"];
    assert_eq!(told, layers.map(|layer| format!("{layer}: success")));
}

#[test]
fn an_attempt_is_not_begun_with_less_time_than_95_in_100_take() {
    let (clock, layers, service) = preset(Does::Take(100 * MS));
    let with_left = |left| {
        let mut request = get();
        Deadline::bring_forward(&mut request, clock.now().saturating_add(left));
        end(&clock, &layers, &service, request)
    };
    assert_eq!(with_left(50 * MS), (refused(Reason::DeadlineExceeded), 50 * MS), "nothing is known yet");
    for _ in 0..4 {
        for (times, takes) in [(90, 20 * MS), (7, 100 * MS), (3, 400 * MS)] {
            service.now_does(Does::Take(takes));
            for _ in 0..times {
                assert_eq!(end(&clock, &layers, &service, get()), (Ok(200), takes));
            }
        }
    }
    service.now_does(Does::Take(100 * MS));
    let sent = service.seen().len();

    assert_eq!(with_left(90 * MS), (refused(Reason::DeadlineTooClose), Duration::ZERO));
    assert_eq!(service.seen().len(), sent);
    assert_eq!(with_left(110 * MS), (Ok(200), 100 * MS));
}

#[test]
fn all_clones_and_services_share_one_state_leaked_or_not() {
    let (clock, layers, service) = preset(Does::Answer(200));
    let leaked = layers.clone().leak();

    let unread = [&layers, &layers.clone(), &leaked, &leaked.clone().leak()]
        .map(|layers| drive(&clock, layers.protect(service.clone()).oneshot(get())).0.unwrap());

    assert_eq!(layers.bulkhead().gate().in_flight(), 4);
    assert_eq!(leaked.bulkhead().gate().in_flight(), 4);
    drop(unread);
    assert_eq!(leaked.bulkhead().gate().in_flight(), 0);
}

#[test]
fn a_call_that_its_caller_drops_leaves_nothing_held() {
    let (_clock, layers, service) = preset(Does::Hang);
    {
        let mut call = pin!(layers.protect(service.clone()).oneshot(get()));
        assert!(poll_once(call.as_mut()).is_pending());
        assert_eq!((service.running(), layers.bulkhead().gate().in_flight()), (1, 1));
    }

    assert_eq!((service.running(), layers.bulkhead().gate().in_flight()), (0, 0));
}

#[test]
fn a_boxed_client_has_a_name() {
    let (clock, layers, service) = preset(Does::Answer(200));
    let mut boxed: tower::util::BoxCloneSyncService<Incoming, _, _> = layers.boxed(service);

    let answer = drive(&clock, async { boxed.ready().await.unwrap().call(get()).await }).0;

    assert_eq!(answer.unwrap().status(), 200);
}

#[test]
fn a_throttle_holds_calls_back_from_a_service_that_refuses_them_and_trips_nothing() {
    const CALLS: usize = 200;
    let (clock, layers, service) = preset(Does::Shed);
    let throttle = ThrottleLayer::with_env(ThrottleConfig::default(), env(&clock));
    let layers = layers.without_retry().with_throttle(throttle).leak();
    let client = layers.protect(service.clone());

    let call = |_| {
        clock.advance(10 * MS);
        drive(&clock, client.clone().oneshot(get())).0
    };
    let ended: Vec<_> = (0..CALLS).map(call).collect();

    let held_back = ended
        .iter()
        .filter(|end| matches!(end, Err(Error::Rejected(why)) if why.reason() == Reason::Throttled))
        .count();
    assert_eq!(held_back + service.seen().len(), CALLS);
    // It asked to be left alone for a second, twice.
    assert!((2..=4).contains(&service.seen().len()), "{}", service.seen().len());
    assert_eq!(layers.breaker().gate().state(), State::Closed);
    assert_eq!(layers.bulkhead().gate().in_flight(), 0);
}

/// A body of which nothing comes after the head.
struct Stalls;

impl http_body::Body for Stalls {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Pending
    }
}

#[test]
fn a_body_that_stands_still_is_cut_and_gives_its_place_back_where_bodies_are_bounded() {
    let clock = VirtualClock::new();
    let limits = StreamLimits::new().with_idle(10 * SECOND).unwrap();
    let layers = seawall::client_with_env(env(&clock)).with_body_limits(limits);
    let head_alone = tower::service_fn(async |_: Incoming| Ok::<_, std::io::Error>(http::Response::new(Stalls)));
    let (answer, _) = drive(&clock, layers.protect(head_alone).oneshot(get()));
    let mut body = answer.unwrap().into_body();
    assert!(poll_once(pin!(body.frame())).is_pending());
    clock.advance(9_999 * MS);
    assert!(poll_once(pin!(body.frame())).is_pending());
    assert_eq!(layers.bulkhead().gate().in_flight(), 1);

    clock.advance(MS);
    let ended = poll_once(pin!(body.frame()));

    let cut = |reason: &Rejection| reason.reason() == Reason::IdleTimeout;
    assert!(matches!(ended, std::task::Poll::Ready(Some(Err(Error::Rejected(reason)))) if cut(&reason)));
    assert_eq!(layers.bulkhead().gate().in_flight(), 0);
}

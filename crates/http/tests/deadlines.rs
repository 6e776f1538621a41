//! Deadlines that come in headers, and go out in them.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::Request;
use seawall_core::{Clock, Error, Reason, Rejection, Timestamp, VirtualClock, inherited_deadline};
use seawall_http::{Deadline, ReceiveDeadlineLayer, SendDeadlineLayer, TIMEOUT_HEADER};
use tower::{Layer, Service, service_fn};

type Answer<T> = Result<T, Error<std::convert::Infallible>>;

fn echo(request: Request<()>) -> Ready<Answer<Request<()>>> {
    ready(Ok(request))
}

fn now_or_panic<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn receiver(clock: &VirtualClock) -> ReceiveDeadlineLayer<VirtualClock> {
    ReceiveDeadlineLayer::new(Duration::from_secs(5)).with_clock(clock.clone())
}

fn receive(layer: &ReceiveDeadlineLayer<VirtualClock>, request: Request<()>) -> Answer<Timestamp> {
    let received = now_or_panic(layer.layer(service_fn(echo)).call(request))?;
    Ok(received.extensions().get::<Deadline>().unwrap().at())
}

fn asking(value: &str) -> Request<()> {
    Request::get("/").header(TIMEOUT_HEADER, value).body(()).unwrap()
}

fn reason<T>(answer: &Answer<T>) -> Option<Reason> {
    answer.as_ref().err().and_then(Error::rejection).map(Rejection::reason)
}

#[test]
fn a_caller_gets_what_it_asks_for_up_to_the_limit() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(7));
    let layer = receiver(&clock);
    let granted = |value| receive(&layer, asking(value)).unwrap().since(clock.now());

    assert_eq!(granted("200"), Duration::from_millis(200));
    assert_eq!(granted("999999999999999999"), Duration::from_secs(5));
    assert_eq!(layer.malformed(), 0);
    assert_eq!(granted("-1"), Duration::from_secs(5));
    assert_eq!((layer.malformed(), layer.expired()), (1, 0));
}

#[test]
fn an_earlier_deadline_is_kept() {
    let clock = VirtualClock::new();
    let mut request = asking("200");
    Deadline::bring_forward(&mut request, Timestamp::from_nanos(50));

    assert_eq!(receive(&receiver(&clock), request), Ok(Timestamp::from_nanos(50)));
}

#[test]
fn a_deadline_that_is_known_and_has_come_leaves_nothing_whatever_the_header_says() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(50));
    let layer = receiver(&clock);
    let mut request = asking("200");
    Deadline::bring_forward(&mut request, Timestamp::from_nanos(50));

    assert_eq!(reason(&receive(&layer, request)), Some(Reason::DeadlineTooClose));
    assert_eq!(layer.expired(), 1);
}

#[test]
fn what_arrives_with_nothing_left_is_refused_without_calling_the_handler() {
    let clock = VirtualClock::new();
    let layer = receiver(&clock).with_min_remaining(Duration::from_millis(20));
    let unreachable = service_fn(|_: Request<()>| -> Ready<Answer<()>> { panic!("called") });

    for value in ["0", "19"] {
        let refused = now_or_panic(layer.layer(unreachable).call(asking(value)));
        assert_eq!(reason(&refused), Some(Reason::DeadlineTooClose));
    }

    assert!(receive(&layer, asking("20")).is_ok());
    assert_eq!(layer.clone().leak().expired(), 2);
}

#[test]
fn a_layer_that_only_observes_counts_and_lets_go_on() {
    let clock = VirtualClock::new();
    let layer = receiver(&clock).observed_only();

    assert_eq!(receive(&layer, asking("0")), Ok(Timestamp::from_nanos(5_000_000_000)));

    assert_eq!(layer.expired(), 1);
}

#[test]
fn what_remains_is_sent_less_the_reserve() {
    let clock = VirtualClock::new();
    let mut request = Request::get("/").header("content-type", "application/grpc").body(()).unwrap();
    Deadline::bring_forward(&mut request, clock.now().saturating_add(Duration::from_millis(100)));
    clock.advance(Duration::from_millis(30));

    let layer = SendDeadlineLayer::new(Duration::from_millis(10)).with_envoy().with_clock(clock);
    let sent = now_or_panic(layer.layer(service_fn(echo)).call(request)).unwrap();

    assert_eq!(sent.headers()[TIMEOUT_HEADER], "60");
    assert_eq!(sent.headers()["grpc-timeout"], "60000000n");
    assert_eq!(sent.headers()["x-envoy-upstream-rq-timeout-ms"], "60");
}

#[test]
fn a_request_of_which_the_reserve_leaves_nothing_is_not_sent() {
    let clock = VirtualClock::new();
    let layer = SendDeadlineLayer::new(Duration::from_millis(10)).with_clock(clock);
    let send = |nanos| {
        let mut request = Request::new(());
        Deadline::bring_forward(&mut request, Timestamp::from_nanos(nanos));
        now_or_panic(layer.layer(service_fn(echo)).call(request))
    };

    assert_eq!(reason(&send(10_999_999)), Some(Reason::DeadlineTooClose));
    assert_eq!(send(11_000_000).unwrap().headers()[TIMEOUT_HEADER], "1");
}

#[test]
fn a_request_without_a_deadline_is_left_alone() {
    let sent = now_or_panic(SendDeadlineLayer::new(Duration::ZERO).layer(service_fn(echo)).call(Request::new(())));

    assert!(sent.unwrap().headers().is_empty());
}

#[test]
fn the_calls_that_a_handler_makes_inherit_its_callers_deadline() {
    let clock = VirtualClock::new();
    let send = SendDeadlineLayer::new(Duration::from_millis(50)).with_clock(clock.clone());
    let handler = service_fn(move |_: Request<()>| {
        let mut client = send.clone().layer(service_fn(echo));
        async move { client.call(Request::new(())).await }
    });

    let nested = now_or_panic(receiver(&clock).layer(handler).call(asking("200"))).unwrap();

    assert_eq!(nested.headers()[TIMEOUT_HEADER], "150");
    assert_eq!(inherited_deadline(), None);
}

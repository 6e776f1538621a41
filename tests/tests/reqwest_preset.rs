//! The client preset over reqwest, against a real server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use http_body_util::Full;
use reqwest::{Client, Method, Request};
use seawall::{
    circuit_breaker,
    core::{Clock, Error, InheritDeadline, MonotonicClock, Reason, VirtualClock},
    fallback::{FallbackLayer, from_fn},
    http::env,
    reqwest_client, reqwest_client_with_env,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower::{Service, ServiceExt};

/// What a server saw of a request.
struct Seen {
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone)]
struct Script {
    seen: UnboundedSender<Seen>,
    failures: Arc<AtomicUsize>,
}

async fn answer(State(script): State<Script>, headers: HeaderMap, body: Bytes) -> Response {
    let hangs = headers.contains_key("hang");
    script.seen.send(Seen { headers, body }).unwrap();
    if hangs {
        std::future::pending::<()>().await;
    }
    let fails = script.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
    if fails { StatusCode::BAD_GATEWAY.into_response() } else { "hello".into_response() }
}

/// A server whose first answers are failures, its address, and what it arrivals.
async fn server(failures: usize) -> (String, UnboundedReceiver<Seen>) {
    let (seen, arrivals) = unbounded_channel();
    let script = Script { seen, failures: Arc::new(AtomicUsize::new(failures)) };
    let app = Router::new().fallback(any(answer)).with_state(script);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, arrivals)
}

fn request(method: Method, address: &str) -> Request {
    Request::new(method, address.parse().unwrap())
}

#[tokio::test]
async fn what_may_be_repeated_is_with_its_body_and_says_how_often_it_was_tried() {
    let (address, mut arrivals) = server(2).await;
    let mut client = reqwest_client().leak().protect(Client::new());
    let mut put = request(Method::PUT, &address);
    *put.body_mut() = Some("body".into());

    let answer = client.ready().await.unwrap().call(put).await.unwrap();

    assert_eq!((answer.status(), answer.url().as_str()), (StatusCode::OK, address.as_str()));
    assert_eq!((answer.content_length(), answer.text().await.unwrap()), (Some(5), "hello".to_owned()));
    for tried in [None, Some("1"), Some("2")] {
        let seen = arrivals.recv().await.unwrap();
        let said = seen.headers.get("x-previous-attempts").map(|said| said.to_str().unwrap());
        assert_eq!((said, &*seen.body), (tried, &b"body"[..]));
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_cloned_and_a_post_are_sent_once() {
    let (address, mut arrivals) = server(2).await;
    let client = reqwest_client().protect(Client::new());
    let mut streamed = request(Method::PUT, &address);
    *streamed.body_mut() = Some(reqwest::Body::wrap(Full::<Bytes>::from("body")));

    for once in [streamed, request(Method::POST, &address)] {
        assert_eq!(client.clone().oneshot(once).await.unwrap().status(), 502);
    }

    assert_eq!(
        (&*arrivals.recv().await.unwrap().body, &*arrivals.recv().await.unwrap().body),
        (&b"body"[..], &b""[..])
    );
    assert!(arrivals.try_recv().is_err());
}

#[tokio::test]
async fn the_server_is_told_how_long_an_attempt_has() {
    let (address, mut arrivals) = server(0).await;
    let client = reqwest_client().protect(Client::new());
    let soon = MonotonicClock.now().saturating_add(Duration::from_secs(1));

    let inheriting = InheritDeadline::new(soon, async { client.clone().oneshot(request(Method::GET, &address)).await });
    assert_eq!(inheriting.await.unwrap().status(), 200);
    assert_eq!(client.oneshot(request(Method::GET, &address)).await.unwrap().status(), 200);

    for (from, to) in [(1, 1_000), (1_001, 2_000)] {
        let told: u64 =
            arrivals.recv().await.unwrap().headers["x-request-timeout-ms"].to_str().unwrap().parse().unwrap();
        assert!((from..=to).contains(&told), "{told} ms");
    }
}

#[tokio::test]
async fn it_is_told_that_less_the_reserve() {
    let (address, mut arrivals) = server(0).await;
    let layers = reqwest_client_with_env(env().with_clock(VirtualClock::new()));
    let client = layers.with_reserve(Duration::from_millis(250)).unwrap().protect(Client::new());

    assert_eq!(client.oneshot(request(Method::GET, &address)).await.unwrap().status(), 200);

    assert_eq!(arrivals.recv().await.unwrap().headers["x-request-timeout-ms"], "1750");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_after_2_s() {
    let (address, mut arrivals) = server(0).await;
    let clock = VirtualClock::new();
    let layers = reqwest_client_with_env(env().with_clock(clock.clone()));
    let mut hang = request(Method::POST, &address);
    hang.headers_mut().insert("hang", "1".parse().unwrap());

    let call = tokio::spawn(layers.protect(Client::new()).oneshot(hang));
    assert_eq!(arrivals.recv().await.unwrap().headers["x-request-timeout-ms"], "1999");
    clock.advance(Duration::from_millis(1_999));
    assert_eq!(layers.bulkhead().gate().in_flight(), 1);
    clock.advance(Duration::from_millis(1));
    let cut = call.await.unwrap().unwrap_err();

    assert_eq!(cut.rejection().unwrap().reason(), Reason::AttemptTimeout);
    assert_eq!(layers.bulkhead().gate().in_flight(), 0);
}

#[tokio::test]
async fn the_circuit_opens_on_a_server_that_fails() {
    let (address, mut arrivals) = server(usize::MAX).await;
    let layers = reqwest_client();
    let client = layers.protect(Client::new());
    for _ in 0..20 {
        assert_eq!(client.clone().oneshot(request(Method::POST, &address)).await.unwrap().status(), 502);
        arrivals.recv().await.unwrap();
    }

    let refused = client.oneshot(request(Method::POST, &address)).await.unwrap_err();

    assert_eq!(layers.breaker().gate().state(), circuit_breaker::State::Open);
    assert_eq!(refused.rejection().unwrap().reason(), Reason::CircuitOpen);
    assert!(arrivals.try_recv().is_err());
}

#[tokio::test]
async fn a_place_lasts_until_the_body_ends() {
    let (address, _arrivals) = server(0).await;
    let layers = reqwest_client();
    let client = layers.protect(Client::new());
    let in_flight = || layers.bulkhead().gate().in_flight();

    let read = client.clone().oneshot(request(Method::GET, &address)).await.unwrap();
    let unread = client.clone().oneshot(request(Method::GET, &address)).await.unwrap();
    assert_eq!(in_flight(), 2);
    assert_eq!(read.text().await.unwrap(), "hello");
    assert_eq!(in_flight(), 1);
    drop(unread);
    assert_eq!(in_flight(), 0);
    let empty = client.oneshot(request(Method::HEAD, &address)).await.unwrap();
    assert_eq!((empty.status(), in_flight()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_fallback_answers_in_the_place_of_a_server_that_is_gone() {
    let popular = from_fn(|(): &(), _: Result<&reqwest::Response, &Error<reqwest::Error>>| async {
        Ok::<_, Infallible>(http::Response::new("popular").into())
    });
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut client =
        reqwest_client().with_fallback(FallbackLayer::with_env(popular, env())).leak().protect(Client::new());

    let answer = client.ready().await.unwrap().call(request(Method::GET, &format!("http://{gone}/"))).await.unwrap();

    assert_eq!(answer.text().await.unwrap(), "popular");
}

#[tokio::test]
async fn the_preset_over_hyper_still_knows_what_it_is_called_with() {
    let (address, _arrivals) = server(0).await;
    let hyper = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let mut client = seawall::client().protect(hyper.build_http::<Full<Bytes>>());

    let request = http::Request::get(&address).body(Full::default()).unwrap();

    assert_eq!(client.ready().await.unwrap().call(request).await.unwrap().status(), 200);
}

//! Each crate alone protects a reqwest client in two lines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use reqwest::{Client, Method, Request};
use seawall::{
    backoff_with_jitter::{Advice, IfUnknown, Rebuild, RetryConfig, RetryLayer, RetryWhen},
    bulkhead::{BulkheadConfig, BulkheadLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, State},
    core::{Class, Error, Verdict},
    http::{HttpAdvice, HttpReplay, env},
    load_shedder::{LoadShedderConfig, LoadShedderLayer},
    timeout::{TimeoutConfig, TimeoutLayer},
};
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};

/// A server with a page that works, one that fails, and one that never answers.
async fn server() -> String {
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/hangs", get(std::future::pending::<()>));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

fn request(server: &str, path: &str) -> Request {
    Request::new(Method::GET, format!("{server}{path}").parse().unwrap())
}

#[tokio::test]
async fn a_circuit_breaker_opens_on_a_server_that_fails() {
    let server = server().await;
    let layer = CircuitBreakerLayer::with_env(BreakerConfig::default(), env());
    let mut client = layer.protect(Client::new());

    for _ in 0..20 {
        assert_eq!(client.ready().await.unwrap().call(request(&server, "/broken")).await.unwrap().status(), 502);
    }

    assert_eq!(layer.gate().state(), State::Open);
    assert!(matches!(client.ready().await.unwrap().call(request(&server, "/")).await, Err(Error::Rejected(_))));
}

#[tokio::test]
async fn a_bulkhead_refuses_the_call_too_many() {
    let server = server().await;
    let layer = BulkheadLayer::new(BulkheadConfig::new(1).unwrap());
    let client = layer.protect(Client::new());

    let hanging = tokio::spawn(client.clone().oneshot(request(&server, "/hangs")));
    while layer.gate().in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = client.clone().oneshot(request(&server, "/")).await;
    hanging.abort();
    let _ = hanging.await;

    assert!(matches!(refused, Err(Error::Rejected(_))));
    assert_eq!(client.oneshot(request(&server, "/")).await.unwrap().text().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_timeout_cuts_a_call_that_hangs() {
    let server = server().await;
    let layer = TimeoutLayer::new(TimeoutConfig::attempt(Duration::from_millis(50)).unwrap());
    let client = layer.protect(Client::new());

    let cut = client.oneshot(request(&server, "/hangs")).await;

    assert!(matches!(cut, Err(Error::Rejected(rejection)) if rejection.reason().is_timeout()));
}

#[tokio::test]
async fn a_retry_knows_that_a_get_may_be_repeated() {
    let server = server().await;
    let layer = RetryLayer::with_env(RetryConfig::new(IfUnknown::OnlyUnsent), env()).with_replay(HttpReplay::default());
    let client = layer.protect(Client::new());

    let answer = client.oneshot(request(&server, "/broken")).await.unwrap();

    assert_eq!(answer.status(), 502);
    assert_eq!(layer.figures().retries, 2);
}

#[tokio::test]
async fn a_retry_knows_which_requests_never_had_a_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for url in [format!("http://{closed}/"), "http://no-such-host.invalid/".to_owned()] {
        let error = Client::new().post(url).send().await.unwrap_err();

        let advice = HttpAdvice.advise(Verdict::new(Class::Failure), Err::<&reqwest::Response, _>(&error));

        assert_eq!(advice, Advice::Again, "{error}");
    }
}

#[tokio::test]
async fn a_retry_without_http_is_told_how_to_keep_a_request() {
    let hangs_up = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", hangs_up.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        for _ in 0..2 {
            drop(hangs_up.accept().await.unwrap());
        }
        axum::serve(hangs_up, Router::new().route("/", get(|| async { "hello" }))).await
    });
    let replay = Rebuild::new(Request::try_clone, |kept: &Request, _| kept.try_clone());
    let layer = RetryLayer::new(RetryConfig::new(IfUnknown::Repeat)).with_replay(replay);
    let client = layer.protect(Client::new());

    let answer = client.oneshot(request(&server, "/")).await.unwrap();
    asked.abort();

    assert_eq!(answer.text().await.unwrap(), "hello");
    assert_eq!(layer.figures().retries, 2);
}

#[tokio::test]
async fn a_load_shedder_lets_a_healthy_call_through_and_plain_code_runs_behind_it_too() {
    let server = server().await;
    let layer = LoadShedderLayer::new(LoadShedderConfig::default());
    let client = layer.protect(Client::new());

    let through_tower = client.oneshot(request(&server, "/")).await.unwrap();
    let plain = layer.run(Client::new().get(&server).send()).await.unwrap();

    assert_eq!((through_tower.status(), plain.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(layer.gate().in_flight(), 0);
}

//! An instance that has too much to do is asked less.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::routing::{any, post};
use four_plane::link::Role;
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use seawall::backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer};
use support::{Stack, get, send};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const DO_NOT_RETRY: &str = "x-seawall-do-not-retry";

#[tokio::test]
async fn a_service_that_refuses_everything_is_soon_hardly_asked_and_its_neighbour_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(folder.path());
    stack.start(Role::Gateway, 1).await;
    let gateway = stack.at(Role::Gateway, 1).service;
    let asked = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    for (number, (count, status)) in (1..).zip(asked.iter().zip([StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK])) {
        let count = Arc::clone(count);
        let answering = move || {
            count.fetch_add(1, SeqCst);
            async move { (status, [(RETRY_AFTER, "1")], "{}") }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        stack.announce(Role::Catalog, number, listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, Router::new().fallback(any(answering))).into_future());
    }

    let mut refused = 0_usize;
    for number in 0..300 {
        refused += usize::from(get(gateway, &format!("/catalog/items/{number}")).await.status != 200);
    }

    let [refusing, serving] = asked.map(|count| count.load(SeqCst));
    // Until it is known: the throttle's padding, and what the retries have no budget for.
    assert!(refusing <= 10 && refused <= 30, "{refusing} asked the one that refuses, {refused} refused");
    assert_eq!(serving, 300 - refused);
}

#[tokio::test]
async fn an_instance_that_was_late_is_asked_as_ever_when_it_answers_again() {
    // More than a throttle takes for chance; with those that follow fewer than open a breaker.
    const LATE: usize = 12;
    const FOLLOW: usize = 7;
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(folder.path());
    stack.start(Role::Gateway, 1).await;
    let gateway = stack.at(Role::Gateway, 1).service;
    let hanging = || async {
        std::future::pending::<()>().await;
    };
    let routes = Router::new().route("/catalog/slow", post(hanging)).fallback(any(async || "{}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    stack.announce(Role::Catalog, 1, listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, routes).into_future());
    let mut late = JoinSet::new();
    for _ in 0..LATE {
        late.spawn(send(gateway, Request::post("/catalog/slow").body("").unwrap()));
    }
    let cut = late.join_all().await.into_iter().filter(|answer| answer.as_ref().unwrap().status == 504).count();
    assert_eq!(cut, LATE);

    let figures = get(stack.at(Role::Gateway, 1).admin, "/metrics").await;
    let throttled = |outcome| format!("seawall_throttle_calls_total{{name=\"catalog\",outcome=\"{outcome}\"}} ");
    assert!(figures.text().contains(&format!("{}{cut}\n", throttled("timed_out"))), "{}", figures.text());
    assert!(figures.text().contains(&format!("{}0\n", throttled("failure"))), "{}", figures.text());
    for number in 0..FOLLOW {
        let answer = get(gateway, &format!("/catalog/items/{number}")).await;
        assert_eq!(answer.status, 200, "{number}: {answer:?}");
    }
}

#[tokio::test]
async fn a_service_that_asks_not_to_be_asked_again_is_asked_once_and_the_caller_at_the_edge_reads_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(folder.path());
    stack.start(Role::Gateway, 1).await;
    stack.start(Role::Edge, 1).await;
    let asked = Arc::new(AtomicUsize::new(0));
    for number in 1..=2 {
        let count = Arc::clone(&asked);
        let refusing = move || {
            count.fetch_add(1, SeqCst);
            async { (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER.as_str(), "1"), (DO_NOT_RETRY, "1")], "{}") }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        stack.announce(Role::Catalog, number, listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, Router::new().fallback(any(refusing))).into_future());
    }

    let answer = get(stack.at(Role::Edge, 1).service, "/catalog/items/1").await;

    assert_eq!((answer.status, answer.header(DO_NOT_RETRY)), (503, "1"), "{answer:?}");
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test]
async fn what_an_overloaded_edge_refuses_is_not_tried_again_by_callers_that_retry() {
    const CALLS: usize = 64;
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(folder.path());
    stack.set_capacity(20.0);
    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
    stack.announce(Role::Gateway, 1, gateway.local_addr().unwrap());
    tokio::spawn(axum::serve(gateway, Router::new().fallback(any(async || "{}"))).into_future());
    stack.start(Role::Edge, 1).await;
    let edge = stack.at(Role::Edge, 1).service;
    let retry = RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat).without_budget(), seawall::http::env());
    let attempts = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (retry, attempts) = (retry.clone(), Arc::clone(&attempts));
        calls.spawn(async move {
            let attempt = || {
                attempts.fetch_add(1, SeqCst);
                async move {
                    let answer = send(edge, Request::get("/catalog/popular").body("").expect("a request")).await?;
                    let mut response = Response::new(());
                    *response.status_mut() = StatusCode::from_u16(answer.status)?;
                    if !answer.header(DO_NOT_RETRY).is_empty() {
                        response.headers_mut().insert(DO_NOT_RETRY, answer.header(DO_NOT_RETRY).parse()?);
                    }
                    anyhow::Ok(response)
                }
            };
            retry.run(attempt).await.expect("an answer").status()
        });
    }

    let refused = calls.join_all().await.into_iter().filter(|status| *status == 503).count();

    assert!((10..CALLS).contains(&refused), "{refused}");
    assert_eq!(attempts.load(SeqCst), CALLS);
}

//! How long a caller waits is known to all who work for it.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use four_plane::link::Role;
use http::{HeaderMap, Request, StatusCode};
use support::{Stack, get, send, until};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const TIMEOUT: &str = "x-request-timeout-ms";
/// How long the catalog works at a request: time that is gone from what the caller has left.
const WORK: Duration = Duration::from_millis(20);

/// Serves these routes at a free port.
async fn serving(routes: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(axum::serve(listener, routes).into_future());
    address
}

/// An edge and a gateway before two catalogs of which each is `routes`.
async fn before(folder: &std::path::Path, routes: Router) -> (Stack, SocketAddr) {
    let mut stack = Stack::new(folder);
    stack.start(Role::Gateway, 1).await;
    stack.start(Role::Edge, 1).await;
    for number in 1..=2 {
        stack.announce(Role::Catalog, number, serving(routes.clone()).await);
    }
    let edge = stack.at(Role::Edge, 1).service;
    (stack, edge)
}

fn within(millis: &str) -> Request<&'static str> {
    Request::get("/catalog/items/1").header(TIMEOUT, millis).body("").expect("a request")
}

#[tokio::test]
async fn the_catalog_is_told_what_is_left_of_the_callers_time_and_less_of_it_at_a_retry() {
    let folder = tempfile::tempdir().unwrap();
    let (told, mut heard) = mpsc::unbounded_channel();
    let failing = move |headers: HeaderMap| {
        let told = told.clone();
        async move {
            let left = headers.get(TIMEOUT).and_then(|left| left.to_str().ok()?.parse::<u64>().ok());
            told.send(left).expect("somebody hears it");
            tokio::time::sleep(WORK).await;
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let (_stack, edge) = before(folder.path(), Router::new().fallback(any(failing))).await;

    send(edge, within("1000")).await.unwrap();

    let (first, second) = (heard.recv().await.unwrap(), heard.recv().await.unwrap());
    let (first, second) = (first.expect("a deadline"), second.expect("a deadline"));
    assert!(first < 1_000 && second <= first.saturating_sub(20), "{first} {second}");
}

#[tokio::test]
async fn a_caller_that_says_nothing_still_has_a_deadline_which_is_that_of_one_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let (told, mut heard) = mpsc::unbounded_channel();
    let answering = move |headers: HeaderMap| {
        let told = told.clone();
        async move {
            told.send(headers.get(TIMEOUT).and_then(|left| left.to_str().ok()?.parse::<u64>().ok())).expect("heard");
            "{}"
        }
    };
    let (_stack, edge) = before(folder.path(), Router::new().fallback(any(answering))).await;

    assert_eq!(get(edge, "/catalog/items/1").await.status, 200);

    let left = heard.recv().await.unwrap().expect("a deadline");
    assert!((1_900..2_000).contains(&left), "{left}");
}

/// Counts those who are at work.
struct AtWork(Arc<AtomicUsize>);

impl AtWork {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[tokio::test]
async fn work_ends_everywhere_when_the_caller_has_stopped_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let at_work = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&at_work);
    let hanging = move || {
        let count = Arc::clone(&count);
        async move {
            let _at_work = AtWork::new(&count);
            std::future::pending::<()>().await;
        }
    };
    let (_stack, edge) = before(folder.path(), Router::new().fallback(any(hanging))).await;

    let answer = send(edge, within("300")).await.unwrap();

    assert_eq!((answer.status, answer.header("content-type")), (504, "application/problem+json"), "{answer:?}");
    until("nobody works for it any more", async || at_work.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn what_arrives_too_late_is_answered_without_work() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (_stack, edge) = before(
        folder.path(),
        Router::new().fallback(any(move || {
            count.fetch_add(1, SeqCst);
            async { "{}" }
        })),
    )
    .await;

    let answer = send(edge, within("0")).await.unwrap();

    assert_eq!((answer.status, asked.load(SeqCst)), (504, 0), "{answer:?}");
}

//! An instance that has too much to do is asked less.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::routing::any;
use four_plane::link::Role;
use http::{StatusCode, header::RETRY_AFTER};
use support::{Stack, get};
use tokio::net::TcpListener;

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

//! A layer under `axum::serve` keeps one state for all connections, and answers what it refuses.

use std::sync::Arc;

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use seawall::{
    bulkhead::{BulkheadConfig, BulkheadLayer},
    core::WrapErrorLayer,
    http::RespondLayer,
};
use tokio::sync::Notify;

#[tokio::test]
async fn one_place_is_one_place_for_all_connections() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
        get(move || async move {
            entered.notify_one();
            leave.notified().await;
            "done"
        })
    };
    let protection = tower::ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(BulkheadLayer::new(BulkheadConfig::new(1).unwrap()))
        .layer(WrapErrorLayer::new());
    let app = Router::new().route("/", handler).layer(protection);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    // Two clients share no connection.
    let call = |uri: &str| {
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let request = Request::get(uri).body(Body::empty()).unwrap();
        async move { client.request(request).await.unwrap() }
    };

    let first = tokio::spawn(call(&uri));
    entered.notified().await;
    let second = call(&uri).await;
    leave.notify_one();
    let first = first.await.unwrap();

    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers()["retry-after"], "1");
    assert_eq!(second.headers()["content-type"], "application/problem+json");
    server.abort();
}

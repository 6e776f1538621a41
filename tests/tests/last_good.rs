//! The last good answer in the place of a server that has gone, through the client presets and real connections.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::{Router, http::HeaderName, response::IntoResponse, routing::get};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use seawall::{
    fallback::{LastGood, LastGoodConfig},
    http::{GoodAnswers, WholeBodyLayer, WholeReqwestLayer, shared_page, shared_reqwest_page},
};
use tokio::task::JoinHandle;
use tower::{Layer, Service, ServiceExt};

const LIMIT: u64 = 64 << 10;

/// A page that is good, one that is itself a fallback's answer, and their server.
async fn server() -> (String, JoinHandle<()>) {
    let degraded = [(HeaderName::from_static("x-seawall-degraded"), "value")];
    let app = Router::new()
        .route("/good", get(|| async { "good" }))
        .route("/degraded", get(move || async move { (degraded, "popular").into_response() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (address, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

fn config() -> LastGoodConfig {
    LastGoodConfig::new(100, Duration::from_secs(300)).unwrap().with_max_weight(1 << 20).unwrap()
}

/// Once its server has gone, so have its connections.
async fn gone(server: JoinHandle<()>) {
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn over_hyper_the_last_good_answer_comes_back_and_what_was_degraded_does_not() {
    let (address, server) = server().await;
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let whole = WholeBodyLayer::new(LIMIT, std::io::Error::other).layer(client.map_err(std::io::Error::other));
    let last = LastGood::remembering(config(), GoodAnswers::new(LIMIT), Option::<String>::clone);
    let last = seawall::http::fallback(last).with_extract(shared_page::<Empty<Bytes>>);
    let mut client = seawall::client().with_fallback(last).protect(whole);
    let mut ask = async |page: &str| {
        let request = Request::get(format!("{address}{page}")).body(Empty::new()).unwrap();
        let answer = client.ready().await.ok()?.call(request).await.ok()?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some((head.headers.get("x-seawall-degraded").map(|it| it.to_str().unwrap().to_owned()), body))
    };

    assert_eq!(ask("/good").await, Some((None, "good".into())));
    assert_eq!(ask("/degraded").await, Some((Some("value".to_owned()), "popular".into())));
    gone(server).await;

    assert_eq!(ask("/good").await, Some((Some("last-good".to_owned()), "good".into())));
    assert_eq!(ask("/degraded").await, None);
}

#[tokio::test]
async fn over_reqwest_it_has_its_address_and_its_age_too() {
    let (address, server) = server().await;
    let whole =
        WholeReqwestLayer::new(LIMIT).layer(reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap());
    let last = LastGood::remembering(config(), GoodAnswers::new(LIMIT), Option::<String>::clone);
    let last = seawall::http::fallback(last).with_extract(shared_reqwest_page);
    let mut client = seawall::reqwest_client().with_fallback(last).protect(whole);
    let mut ask = async |page: &str| {
        let page = format!("{address}{page}").parse().unwrap();
        client.ready().await.ok()?.call(reqwest::Request::new(reqwest::Method::GET, page)).await.ok()
    };

    assert_eq!(ask("/good").await.unwrap().text().await.unwrap(), "good");
    assert_eq!(ask("/degraded").await.unwrap().text().await.unwrap(), "popular");
    gone(server).await;
    let again = ask("/good").await.unwrap();

    assert_eq!(again.url().as_str(), format!("{address}/good"));
    assert_eq!(
        (&again.headers()["x-seawall-degraded"], again.headers().contains_key("age")),
        (&"last-good".parse().unwrap(), true)
    );
    assert_eq!(again.text().await.unwrap(), "good");
    assert!(ask("/degraded").await.is_none());
}

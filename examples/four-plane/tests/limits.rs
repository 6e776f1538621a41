//! The quota of each known API key, and of each address without one, which all gateways share.

mod support;

use std::net::SocketAddr;

use axum::Router;
use axum::routing::any;
use four_plane::config::ApiKeys;
use four_plane::link::{InstanceOptions, Role, StateMode};
use http::{HeaderMap, Request};
#[cfg(feature = "servers")]
use seawall_core::{Clock as _, MonotonicClock};
use support::{Answer, Stack, get, send};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Requests per second and key, and at once.
const RATE: u32 = 20;

/// Two gateways, and the catalog behind them.
async fn two_gateways(data: &std::path::Path, state: StateMode) -> (Stack, [SocketAddr; 2]) {
    let options = InstanceOptions {
        data: data.to_owned(),
        state,
        api_rate: RATE,
        api_keys: ApiKeys::of([("ann", "key of ann"), ("bob", "key of bob")]),
        ..InstanceOptions::default()
    };
    let mut stack = Stack::with_options(options);
    stack.start(Role::State, 1).await;
    stack.start(Role::Catalog, 1).await;
    stack.start(Role::Gateway, 2).await;
    let gateways = [1, 2].map(|number| stack.at(Role::Gateway, number).service);
    (stack, gateways)
}

async fn ask(gateway: SocketAddr, key: &str) -> Answer {
    let request = Request::get("/catalog/popular").header("x-api-key", key).body("").expect("a request");
    send(gateway, request).await.expect("an answer")
}

/// As the edge asks for somebody at this address.
async fn ask_from(gateway: SocketAddr, address: &str, key: Option<&str>) -> Answer {
    let mut request = Request::get("/catalog/popular").header("x-forwarded-for", address);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    send(gateway, request.body("").expect("a request")).await.expect("an answer")
}

#[tokio::test]
async fn a_key_that_has_used_up_its_quota_is_told_when_to_come_back_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_stack, [gateway, _]) = two_gateways(folder.path(), StateMode::Embedded).await;

    // Without Redis each of two gateways admits half of the quota.
    let mut answers = Vec::new();
    for _ in 0..=RATE {
        answers.push(ask(gateway, "key of ann").await);
    }

    let first = answers.first().unwrap();
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, "\"api-key\";q=20;w=1"));
    assert!(first.header("ratelimit").starts_with("\"api-key\";r="), "{first:?}");
    let refused = answers.iter().find(|answer| answer.status != 200).expect("more than half of the quota at once");
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert!(refused.header("ratelimit").starts_with("\"api-key\";r=0;t="), "{refused:?}");
    assert_eq!((ask(gateway, "key of bob").await.status, get(gateway, "/catalog/popular").await.status), (200, 200));
}

#[tokio::test]
async fn keys_that_are_made_up_have_the_quota_of_the_address_that_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, [gateway, _]) = two_gateways(folder.path(), StateMode::Embedded).await;

    let mut answers = Vec::new();
    for number in 0..=RATE {
        answers.push(ask_from(gateway, "192.0.2.1", Some(&format!("made up {number}"))).await);
    }

    let refused = answers.iter().find(|answer| answer.status == 429).expect("more than half of the quota at once");
    assert_eq!(refused.header("ratelimit-policy"), "\"address\";q=20;w=1");
    // Neither a neighbour nor who has a key of its own notices.
    assert_eq!(ask_from(gateway, "192.0.2.2", None).await.status, 200);
    assert_eq!(ask_from(gateway, "192.0.2.1", Some("key of ann")).await.status, 200);
    let answer = get(stack.at(Role::Gateway, 1).admin, "/metrics").await;
    let figures = answer.text();
    assert!(figures.contains("four_plane_api_addresses{instance=\"gateway/1\"} 2\n"), "{figures}");
    assert!(figures.contains("four_plane_api_keys{instance=\"gateway/1\"} 1\n"), "{figures}");
}

#[tokio::test]
async fn the_edge_says_where_a_request_came_from_and_the_gateway_keeps_keys_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (told, mut heard) = mpsc::unbounded_channel();
    let catalog = move |headers: HeaderMap| {
        told.send(headers).expect("somebody hears it");
        async { "{}" }
    };
    let mut stack = Stack::new(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    stack.announce(Role::Catalog, 1, listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().fallback(any(catalog))).into_future());
    stack.start(Role::Gateway, 1).await;
    stack.start(Role::Edge, 1).await;

    let answer = ask_from(stack.at(Role::Edge, 1).service, "192.0.2.1", Some("a secret")).await;

    assert_eq!((answer.status, answer.header("ratelimit-policy")), (200, "\"address\";q=10000;w=1"));
    let headers = heard.recv().await.unwrap();
    let from: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    assert_eq!(from, ["127.0.0.1"]);
    assert_eq!(headers.get("x-api-key"), None);
}

#[tokio::test]
async fn a_key_beyond_its_quota_does_not_make_the_edge_hold_back_others() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stack, _) = two_gateways(folder.path(), StateMode::Embedded).await;
    stack.start(Role::Edge, 1).await;
    let edge = stack.at(Role::Edge, 1).service;
    let mut refused = 0_u32;
    for _ in 0..200 {
        refused = refused.saturating_add(u32::from(ask(edge, "key of ann").await.status == 429));
    }
    assert!(refused > 100, "{refused} of 200");
    // Who passes the refusal on counts it as one, too.
    for (role, number) in [(Role::Edge, 1), (Role::Gateway, 1), (Role::Gateway, 2)] {
        let answer = get(stack.at(role, number).admin, "/metrics").await;
        let figures = answer.text();
        let shed = format!("instance=\"{}/{number}\",outcome=\"shed\"}} ", role.name());
        let counted = figures.lines().find_map(|line| line.split_once(&shed)?.1.parse::<f64>().ok());
        assert!(counted.is_some_and(|count| count > 40.0), "{figures}");
    }

    for _ in 0..RATE {
        assert_eq!(ask(edge, "key of bob").await.status, 200);
    }
}

#[tokio::test]
async fn the_figures_of_the_quotas_are_published_and_say_that_they_are_local() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, [gateway, _]) = two_gateways(folder.path(), StateMode::Embedded).await;
    assert_eq!(ask(gateway, "key of ann").await.status, 200);

    support::until("the store is found to be gone", async || {
        let answer = get(stack.at(Role::Gateway, 1).admin, "/metrics").await;
        let figures = answer.text();
        figures.contains("four_plane_api_quota_local{instance=\"gateway/1\"} 1\n")
    })
    .await;
}

/// With Redis a gateway that has all the demand gets all of the quota; by itself it would get half.
#[cfg(feature = "servers")]
#[tokio::test]
async fn the_quota_is_that_of_all_gateways_together_where_the_cache_is_a_redis() {
    let folder = tempfile::tempdir().unwrap();
    let (_stack, [gateway, _]) = two_gateways(folder.path(), StateMode::Auto).await;
    let start = MonotonicClock.now();

    let mut admitted = 0_u32;
    while MonotonicClock.now().since(start) < std::time::Duration::from_secs(4) {
        admitted = admitted.saturating_add(u32::from(ask(gateway, "key of ann").await.status == 200));
    }

    let took = MonotonicClock.now().since(start);
    let whole = f64::from(RATE) * (1.0 + took.as_secs_f64());
    let ratio = f64::from(admitted) / whole;
    assert!((0.8..=1.15).contains(&ratio), "{admitted} of {whole}");
}

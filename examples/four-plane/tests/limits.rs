//! The quota of each API key, which all gateways share.

mod support;

use std::net::SocketAddr;

use four_plane::link::{InstanceOptions, Role, StateMode};
use http::Request;
#[cfg(feature = "servers")]
use seawall_core::{Clock as _, MonotonicClock};
use support::{Answer, Stack, get, send};

/// Requests per second and key, and at once.
const RATE: u32 = 20;

/// Two gateways, and the catalog behind them.
async fn two_gateways(data: &std::path::Path, state: StateMode) -> (Stack, [SocketAddr; 2]) {
    let options = InstanceOptions { data: data.to_owned(), state, api_rate: RATE, ..InstanceOptions::default() };
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

#[tokio::test]
async fn a_key_that_has_used_up_its_quota_is_told_when_to_come_back_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_stack, [gateway, _]) = two_gateways(folder.path(), StateMode::Embedded).await;

    // Without Redis each of two gateways admits half of the quota.
    let mut answers = Vec::new();
    for _ in 0..=RATE {
        answers.push(ask(gateway, "ann").await);
    }

    let first = answers.first().unwrap();
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, "\"api-key\";q=20;w=1"));
    assert!(first.header("ratelimit").starts_with("\"api-key\";r="), "{first:?}");
    let refused = answers.iter().find(|answer| answer.status != 200).expect("more than half of the quota at once");
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert!(refused.header("ratelimit").starts_with("\"api-key\";r=0;t="), "{refused:?}");
    assert_eq!((ask(gateway, "bob").await.status, get(gateway, "/catalog/popular").await.status), (200, 200));
}

#[tokio::test]
async fn a_key_beyond_its_quota_does_not_make_the_edge_hold_back_others() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stack, _) = two_gateways(folder.path(), StateMode::Embedded).await;
    stack.start(Role::Edge, 1).await;
    let edge = stack.at(Role::Edge, 1).service;
    let mut refused = 0_u32;
    for _ in 0..200 {
        refused = refused.saturating_add(u32::from(ask(edge, "ann").await.status == 429));
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
        assert_eq!(ask(edge, "bob").await.status, 200);
    }
}

#[tokio::test]
async fn the_figures_of_the_quotas_are_published_and_say_that_they_are_local() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, [gateway, _]) = two_gateways(folder.path(), StateMode::Embedded).await;
    assert_eq!(ask(gateway, "ann").await.status, 200);

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
        admitted = admitted.saturating_add(u32::from(ask(gateway, "ann").await.status == 200));
    }

    let took = MonotonicClock.now().since(start);
    let whole = f64::from(RATE) * (1.0 + took.as_secs_f64());
    let ratio = f64::from(admitted) / whole;
    assert!((0.8..=1.15).contains(&ratio), "{admitted} of {whole}");
}

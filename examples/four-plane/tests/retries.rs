//! What a gateway's retries add to a service that fails, and what they save where only one instance does.

mod support;

use four_plane::data;
use four_plane::link::{FaultKind, Role};
use support::{Stack, get, get_as};
use tokio::sync::Mutex;

/// All instances of a test share this process's counters with those of every other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

async fn services(folder: &std::path::Path) -> Stack {
    let mut stack = Stack::new(folder);
    stack.start(Role::State, 1).await;
    stack.start(Role::Catalog, 3).await;
    stack.start(Role::Recommendation, 3).await;
    stack.start(Role::Gateway, 1).await;
    stack
}

/// Attempts that the gateway has sent to a role: the first of a call, and further ones.
async fn sent(stack: &Stack, role: &str) -> (u32, u32) {
    let metrics = get(stack.at(Role::Gateway, 1).admin, "/metrics").await;
    let count = |attempt: &str| {
        let labels = format!("service=\"gateway\",instance=\"gateway/1\",upstream=\"{role}\",attempt=\"{attempt}\"");
        let figure = format!("four_plane_upstream_attempts_total{{{labels}}} ");
        let count = metrics.text().lines().find_map(|line| line.strip_prefix(&figure)).expect("it is counted");
        count.parse().expect("a number")
    };
    (count("first"), count("further"))
}

#[tokio::test]
async fn a_service_that_fails_as_a_whole_gets_a_tenth_more_at_most_before_its_breaker_opens() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let stack = services(folder.path()).await;
    let gateway = stack.at(Role::Gateway, 1).service;
    for user in 0..60 {
        assert_eq!(get(gateway, &format!("/recommendations/u{user}")).await.status, 200);
    }
    let before = sent(&stack, "recommendation").await;
    stack.inject(&[(FaultKind::Error, "recommendation", 1.0)]);

    for user in 0..100 {
        get(gateway, &format!("/recommendations/u{user}")).await;
    }

    let after = sent(&stack, "recommendation").await;
    let (first, further) = (after.0 - before.0, after.1 - before.1);
    assert!((20..100).contains(&first), "{first} calls reached it until its breaker was open");
    assert_eq!(further, 4, "beside {first} calls");
}

#[tokio::test]
async fn an_instance_that_goes_on_failing_costs_no_request() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let stack = services(folder.path()).await;
    let gateway = stack.at(Role::Gateway, 1).service;
    stack.inject(&[(FaultKind::Error, "catalog/2", 1.0)]);

    for city in &data::cities()[..150] {
        let answer = get_as(gateway, &format!("/catalog/items/{}", city.id), Some("ann")).await;
        assert_eq!((answer.status, answer.header("x-seawall-degraded")), (200, ""), "{answer:?}");
    }
}

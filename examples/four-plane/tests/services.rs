//! Every path of every role, over HTTP.

mod support;

use four_plane::data;
use four_plane::link::Role;
use serde_json::json;
use support::{Stack, get, get_as, until};

async fn whole_stack(data: &std::path::Path) -> Stack {
    let mut stack = Stack::new(data);
    stack.start(Role::State, 1).await;
    stack.start(Role::Catalog, 2).await;
    stack.start(Role::Recommendation, 2).await;
    stack.start(Role::Gateway, 2).await;
    stack.start(Role::Edge, 1).await;
    stack
}

#[tokio::test]
async fn an_item_is_answered_through_all_planes_and_then_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let stack = whole_stack(folder.path()).await;
    let edge = stack.at(Role::Edge, 1).service;

    let first = get(edge, "/catalog/items/1796236").await;
    let second = get(edge, "/catalog/items/1796236").await;

    assert_eq!((first.status, first.header("x-cache")), (200, "miss"));
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.json(), serde_json::to_value(&data::cities()[0]).unwrap());
    assert_eq!(first.header("x-seawall-degraded"), "");
    assert!(first.header("x-served-by").starts_with("catalog/"), "{first:?}");
    assert_eq!((second.status, second.header("x-cache"), second.header("age")), (200, "hit", "0"));
    assert_eq!(second.json(), first.json());
}

#[tokio::test]
async fn what_is_seen_is_popular_and_what_is_seen_together_is_recommended() {
    let folder = tempfile::tempdir().unwrap();
    let stack = whole_stack(folder.path()).await;
    let edge = stack.at(Role::Edge, 1).service;
    let cities = data::cities();
    let (here, there) = (&cities[50], &cities[60]);

    for (user, city) in [("ann", here), ("ann", there), ("bob", here)] {
        assert_eq!(get_as(edge, &format!("/catalog/items/{}", city.id), Some(user)).await.status, 200);
    }

    until("bob is shown what ann saw", async || {
        let answer = get(edge, "/recommendations/bob").await;
        answer.json()["items"] == json!([{ "item": there, "count": 1 }])
    })
    .await;
    until("the item that was seen most comes first", async || {
        let popular = get(edge, "/catalog/popular?limit=3").await.json();
        popular["items"][0] == json!({ "item": here, "count": 2 }) && popular["items"].as_array().unwrap().len() == 3
    })
    .await;
    let stranger = get(edge, "/recommendations/zoe?limit=2").await;
    assert_eq!((stranger.status, stranger.header("x-seawall-degraded")), (200, ""));
    assert_eq!(stranger.json()["basis"], "popular");
    assert_eq!(stranger.json()["items"].as_array().unwrap().len(), 2);
}

//! The limiter as a user stacks it.
use std::{convert::Infallible, time::Duration};

use seawall_core::{CallContext, Env, KeyedLayer, Pattern, Reason, VirtualClock};
use seawall_rate_limiter::{Error, Gcra, Quota, RateLimiterLayer};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn per_second(calls: u32, burst: u32) -> Quota {
    Quota::per_second(calls).and_then(|quota| quota.with_burst(burst)).expect("tests ask for a quota")
}

fn layer(quota: Quota) -> (RateLimiterLayer<Env<VirtualClock>>, VirtualClock) {
    let clock = VirtualClock::new();
    (RateLimiterLayer::with_env(quota, Env::new().with_clock(clock.clone())), clock)
}

async fn echo(request: u32) -> Result<u32, Infallible> {
    Ok(request)
}

#[tokio::test]
async fn a_call_beyond_the_quota_is_refused_with_the_time_at_which_it_would_be_admitted() {
    let (layer, clock) = layer(per_second(4, 2));
    let mut service = layer.protect(service_fn(echo));
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(1));
    assert_eq!(service.ready().await.unwrap().call(2).await, Ok(2));

    let refused = service.ready().await.unwrap().call(3).await.unwrap_err();

    let rejection = *refused.rejection().unwrap();
    assert_eq!((rejection.pattern(), rejection.reason()), (Pattern::RateLimiter, Reason::RateLimited));
    assert_eq!(rejection.retry_after(), Some(Duration::from_millis(250)));
    clock.advance(Duration::from_millis(250));
    assert_eq!(service.ready().await.unwrap().call(3).await, Ok(3));
}

#[tokio::test]
async fn all_clones_and_services_of_a_layer_share_the_quota() {
    let (layer, _) = layer(per_second(1, 2));
    let (one, other) = (layer.protect(service_fn(echo)), layer.clone().leak().protect(service_fn(echo)));

    assert_eq!(one.clone().oneshot(1).await, Ok(1));
    assert_eq!(other.oneshot(2).await, Ok(2));
    assert!(one.oneshot(3).await.is_err());
}

#[tokio::test]
async fn a_handle_that_is_made_ready_and_dropped_burns_nothing() {
    let (layer, _) = layer(per_second(1, 1));
    let mut idle = layer.protect(service_fn(echo));
    idle.ready().await.unwrap();

    drop(idle);

    assert_eq!(layer.protect(service_fn(echo)).oneshot(1).await, Ok(1));
}

#[tokio::test]
async fn the_cost_of_a_call_is_read_from_its_request() {
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock).with_attributes(|request: &u32| CallContext::new().with_cost(*request));
    let layer = RateLimiterLayer::with_env(per_second(1, 10), env);
    let service = layer.protect(service_fn(echo));

    assert_eq!(service.clone().oneshot(7).await, Ok(7));
    assert!(matches!(service.clone().oneshot(4).await, Err(Error::Rejected(refused))
        if refused.retry_after() == Some(SECOND)));
    assert!(matches!(service.oneshot(11).await, Err(Error::Rejected(refused)) if refused.reason() == Reason::TooHeavy));
    assert_eq!(layer.gate().standing(seawall_core::Timestamp::ZERO).remaining(), 3);
}

#[tokio::test]
async fn a_future_without_tower_is_limited_too() {
    let (layer, _) = layer(per_second(1, 1));

    assert_eq!(layer.run(echo(1)).await, Ok(1));
    assert!(matches!(layer.run(echo(2)).await, Err(Error::Rejected(_))));
}

#[tokio::test]
async fn a_quota_of_the_longest_time_poisons_nothing() {
    let (layer, clock) = layer(Quota::every(Duration::from_nanos(u64::MAX / 2)).unwrap());
    assert_eq!(layer.run(echo(1)).await, Ok(1));

    clock.advance(Duration::MAX);

    assert!(layer.run(echo(2)).await.is_err());
}

#[tokio::test]
async fn each_key_of_a_keyed_layer_has_the_quota_to_itself() {
    let clock = VirtualClock::new();
    let layer =
        KeyedLayer::<str, _, Gcra, _>::with_env(2, per_second(1, 1), String::as_str, Env::new().with_clock(clock))
            .unwrap();
    let service = layer.protect(service_fn(|request: String| async move { Ok::<_, Infallible>(request.len()) }));

    assert_eq!(service.clone().oneshot("one".to_owned()).await, Ok(3));
    assert!(service.clone().oneshot("one".to_owned()).await.is_err());
    assert_eq!(service.oneshot("other".to_owned()).await, Ok(5));
}

#[tokio::test]
async fn a_refused_call_leaves_the_readiness_of_the_service_behind_with_its_handle() {
    let (layer, clock) = layer(per_second(1, 1));
    let mut service = layer.protect(ConcurrencyLimitLayer::new(1).layer(service_fn(echo)));
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(1));
    assert!(service.ready().await.unwrap().call(2).await.is_err());

    clock.advance(SECOND);

    assert_eq!(service.ready().await.unwrap().call(3).await, Ok(3));
}

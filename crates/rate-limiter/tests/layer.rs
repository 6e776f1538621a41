//! The limiter as a user stacks it.
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Duration,
};

use seawall_core::{CallContext, Class, Env, KeyedLayer, Observer, Outcome, Pattern, Reason, Rejection, VirtualClock};
use seawall_rate_limiter::{Error, Gcra, KeyedGcra, KeyedRateLimiterLayer, Quota, Quotas, RateLimiterLayer};
use tower::{
    Layer, Service, ServiceExt,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    service_fn,
};

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

#[tokio::test]
async fn a_keyed_limiter_takes_key_and_cost_from_the_request_and_tells_its_observer() {
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicU32>);
    impl Observer for Count {
        const PER_CALL: bool = true;
        fn on_reject(&self, rejection: &Rejection) {
            assert_eq!(rejection.reason(), Reason::RateLimited);
            self.0.fetch_add(1, Relaxed);
        }
        fn on_call(&self, outcome: Outcome) {
            assert_eq!(outcome, Outcome::Finished(Class::Success));
            self.0.fetch_add(100, Relaxed);
        }
    }
    fn tenant(request: &(String, u32)) -> &str {
        &request.0
    }
    let (clock, count) = (VirtualClock::new(), Count::default());
    let env = Env::new()
        .with_clock(clock.clone())
        .with_observer(count.clone())
        .with_attributes(|request: &(String, u32)| CallContext::new().with_cost(request.1));
    let layer = KeyedRateLimiterLayer::<str, _, _>::with_env(per_second(1, 3), tenant, env).leak();
    let service = layer.protect(service_fn(|request: (String, u32)| async move { Ok::<_, Infallible>(request.1) }));

    assert_eq!(service.clone().oneshot(("ann".to_owned(), 3)).await, Ok(3));
    assert!(service.clone().oneshot(("ann".to_owned(), 1)).await.is_err());
    assert_eq!(service.clone().oneshot(("bob".to_owned(), 2)).await, Ok(2));
    clock.advance(SECOND);
    assert_eq!(service.oneshot(("ann".to_owned(), 1)).await, Ok(1));

    assert_eq!(count.0.load(Relaxed), 301);
    assert_eq!(layer.gate().active_keys(seawall_core::Clock::now(&clock)), 2);
    assert_eq!(layer.gate().standing("bob", seawall_core::Clock::now(&clock)).remaining(), 2);
}

#[tokio::test]
async fn futures_without_tower_share_the_quotas_of_their_keys_with_the_services() {
    let clock = VirtualClock::new();
    let layer = KeyedRateLimiterLayer::<str, _, _>::with_env(
        per_second(1, 2),
        String::as_str,
        Env::new().with_clock(clock.clone()),
    );
    let service = layer.protect(service_fn(|request: String| async move { Ok::<_, Infallible>(request) }));
    let never_polled = layer.run("ann", echo(0));

    assert!(service.clone().oneshot("ann".to_owned()).await.is_ok());
    assert_eq!(layer.run("ann".to_owned(), echo(1)).await, Ok(1));
    let refused = layer.run("ann", echo(2)).await.unwrap_err();
    let heavy = layer.run_with("bob", CallContext::new().with_cost(3), echo(3)).await.unwrap_err();

    assert_eq!(refused.rejection().and_then(Rejection::retry_after), Some(SECOND));
    assert_eq!(heavy.rejection().map(Rejection::reason), Some(Reason::TooHeavy));
    clock.advance(SECOND);
    assert_eq!(never_polled.await, Ok(0), "it was decided on when it was polled");
}

#[tokio::test]
async fn a_new_quota_of_a_keyed_limiter_keeps_what_each_key_used() {
    let clock = VirtualClock::new();
    let limiter = KeyedGcra::new(per_second(1, 4));
    let now = seawall_core::Clock::now(&clock);
    assert_eq!((limiter.take("ann", 3, now), limiter.take("bob", 1, now)), (Ok(()), Ok(())));

    limiter.set_quota(per_second(100, 4), now);

    assert_eq!((limiter.standing("ann", now).remaining(), limiter.standing("bob", now).remaining()), (1, 3));
    assert_eq!(limiter.standing("ann", now).full_in(), Duration::from_millis(30));
}

#[tokio::test]
async fn a_tenants_quota_and_everybodys_hold_at_once_and_a_refusal_uses_up_neither() {
    let clock = VirtualClock::new();
    let quotas = Quotas::new().with_keyed(per_second(1, 1)).with_shared(per_second(1, 2));
    let layer = KeyedRateLimiterLayer::<str, _, _, Quotas>::with_env(
        quotas,
        String::as_str,
        Env::new().with_clock(clock.clone()),
    );
    let service = layer.protect(service_fn(|request: String| async move { Ok::<_, Infallible>(request) }));

    assert!(service.clone().oneshot("ann".to_owned()).await.is_ok());
    assert!(service.clone().oneshot("ann".to_owned()).await.is_err());
    assert!(service.clone().oneshot("bob".to_owned()).await.is_ok());
    assert!(service.clone().oneshot("cid".to_owned()).await.is_err());
    clock.advance(SECOND);
    assert!(service.oneshot("cid".to_owned()).await.is_ok());
}

#[tokio::test]
async fn a_used_up_quota_refuses_at_once_over_a_service_that_is_not_ready_and_tells_the_wait() {
    let (layer, clock) = layer(per_second(4, 1));
    let narrow = GlobalConcurrencyLimitLayer::new(1);
    let mut holder = narrow.layer(service_fn(echo));
    let service = layer.protect(narrow.layer(service_fn(echo)));
    assert_eq!(service.clone().oneshot(1).await, Ok(1));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(holder.poll_ready(&mut cx).is_ready());

    let refused = service.clone().oneshot(2).await.unwrap_err();

    assert_eq!(refused.rejection().and_then(Rejection::retry_after), Some(Duration::from_millis(250)));
    clock.advance(Duration::from_millis(250));
    assert!(service.clone().poll_ready(&mut cx).is_pending());
}

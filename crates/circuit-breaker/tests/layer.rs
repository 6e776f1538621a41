//! The breaker as a user stacks it.

use std::{convert::Infallible, time::Duration};

use seawall_circuit_breaker::{
    BreakerConfig, BreakerConfigBuilder, CircuitBreakerLayer, Env, Error, KeyedCircuitBreakerLayer, Rejection, State,
    Window,
};
use seawall_core::VirtualClock;
use tower::{Layer, Service, ServiceExt, service_fn};

type TestEnv = Env<VirtualClock>;

fn config(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> BreakerConfig {
    let base = BreakerConfig::builder().window(Window::Calls(10)).min_calls(4).jitter(0.0);
    change(base).build().expect("valid settings")
}

fn layer(config: BreakerConfig) -> (CircuitBreakerLayer<TestEnv>, VirtualClock) {
    let clock = VirtualClock::new();
    (CircuitBreakerLayer::with_env(config, Env::new().with_clock(clock.clone())), clock)
}

/// A dependency that does as the request says.
async fn dependency(works: bool) -> Result<&'static str, &'static str> {
    if works { Ok("answer") } else { Err("down") }
}

#[tokio::test]
async fn opens_on_failures_refuses_without_calling_and_closes_after_the_probes() {
    let (layer, clock) = layer(config(|config| config));
    let mut service = layer.protect(service_fn(dependency));

    for _ in 0..4 {
        assert_eq!(service.ready().await.unwrap().call(false).await, Err(Error::Inner("down")));
    }
    assert_eq!(layer.gate().state(), State::Open);

    let refused = service.ready().await.unwrap().call(true).await.unwrap_err();
    let wait = refused.rejection().and_then(Rejection::retry_after).unwrap();
    assert_eq!(wait, Duration::from_nanos(5_000_000_001));

    clock.advance(wait);
    for _ in 0..3 {
        assert_eq!(service.ready().await.unwrap().call(true).await, Ok("answer"));
    }
    assert_eq!(layer.gate().state(), State::Closed);
}

#[tokio::test]
async fn runs_without_tower_on_the_same_state() {
    let (layer, _) = layer(config(|config| config));
    for _ in 0..4 {
        assert_eq!(layer.run(dependency(false)).await, Err(Error::Inner("down")));
    }

    let refused = layer.protect(service_fn(dependency)).oneshot(true).await;

    assert!(refused.unwrap_err().rejection().is_some());
}

#[tokio::test]
async fn every_key_has_a_breaker_of_its_own() {
    let layer = KeyedCircuitBreakerLayer::<str, _>::new(100, config(|config| config), String::as_str)
        .expect("100 keys are allowed");
    let mut service =
        layer.protect(service_fn(async |host: String| if host == "sick" { Err("down") } else { Ok(host) }));
    for _ in 0..4 {
        let _ = service.ready().await.unwrap().call("sick".to_owned()).await;
    }

    let sick = service.ready().await.unwrap().call("sick".to_owned()).await;
    let well = service.ready().await.unwrap().call("well".to_owned()).await;

    assert!(matches!(sick, Err(Error::Rejected(_))));
    assert_eq!(well, Ok("well".to_owned()));
}

#[tokio::test]
async fn state_is_shared_by_clones_and_by_every_use_of_the_layer() {
    let (layer, _) = layer(config(|config| config));
    let wrapped =
        || layer.clone().layer(service_fn(async |(): ()| Err::<Infallible, Error<&str>>(Error::Inner("down"))));
    for _ in 0..4 {
        let _ = wrapped().oneshot(()).await;
    }

    let refused = wrapped().clone().oneshot(()).await;

    assert!(matches!(refused, Err(Error::Rejected(_))));
}

//! A fallback sticks through the circuit breaker inside it, and hands back when the service is well again.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use seawall::{
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer},
    core::{Env, VirtualClock, WrapErrorLayer},
    fallback::{FallbackLayer, Value},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[tokio::test]
async fn after_some_failures_the_fallback_answers_first_and_the_service_is_only_probed_until_it_is_well() {
    let (asked, well) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let primary = service_fn({
        let (asked, well) = (Arc::clone(&asked), Arc::clone(&well));
        move |(): ()| {
            asked.fetch_add(1, Relaxed);
            ready(if well.load(Relaxed) { Ok("primary") } else { Err("down") })
        }
    });
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock.clone());
    let sticks_after_three = BreakerConfig::builder().consecutive_failures(3).jitter(0.0).probes(1).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::with_env(Value::new("fallback"), env.clone()))
        .layer(CircuitBreakerLayer::with_env(sticks_after_three, env))
        .layer(WrapErrorLayer::new())
        .service(primary);
    let ten_calls = async || {
        let before = asked.load(Relaxed);
        let mut by_primary = 0;
        for _ in 0..10 {
            by_primary += u32::from(service.clone().oneshot(()).await.unwrap() == "primary");
        }
        (asked.load(Relaxed) - before, by_primary)
    };

    assert_eq!(ten_calls().await, (3, 0), "three ask it in vain, seven do not ask");
    clock.advance(Duration::from_millis(5_001));
    assert_eq!(ten_calls().await, (1, 0), "one probes it in vain");
    well.store(true, Relaxed);
    assert_eq!(ten_calls().await, (0, 0), "nobody asks it before the open time is over");
    clock.advance(Duration::from_millis(10_001));
    assert_eq!(ten_calls().await, (10, 10), "the probe hands back");
}

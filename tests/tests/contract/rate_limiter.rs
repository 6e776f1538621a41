//! The rate limiter.

use std::time::Duration;

use seawall::core::{Gate, NoWait};
use seawall::rate_limiter::{
    AdaptiveQuota, AdaptiveRate, Enforced, FixedWindow, Gcra, LimitLayer, Plan, Plans, Quota, RateLimiterLayer,
    SlidingWindow, WarmUp, WarmUpQuota, WindowQuota,
};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd},
};
use tower::ServiceExt;

const BURST: u32 = 20;

fn limited(env: TestEnv) -> RateLimiterLayer<TestEnv> {
    RateLimiterLayer::with_env(Quota::per_second(1).unwrap().with_burst(BURST).unwrap(), env)
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(limited).await;
    contract::every_call_through_it_ends_once(limited).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    contract::dropping_at_any_point_leaves_nothing_held(limited, |_| 0).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(limited).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(limited).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    contract::state_is_shared_by_clones_and_by_layer_calls(limited, async |service| {
        for _ in 0..BURST {
            assert_eq!(service.clone().oneshot(Script::Answer).await, Ok("answered"));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(limited, Crowd::IsRefused).await;
}

/// The whole contract, for a limit that admits [`BURST`] calls at once and no more.
async fn keeps_the_contract<G: Gate<Wait = NoWait>>(limited: impl Fn(TestEnv) -> LimitLayer<G, TestEnv> + Copy) {
    contract::every_call_ends_in_exactly_one_outcome(limited).await;
    contract::every_call_through_it_ends_once(limited).await;
    contract::dropping_at_any_point_leaves_nothing_held(limited, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(limited).await;
    contract::works_under_a_buffer(limited).await;
    contract::state_is_shared_by_clones_and_by_layer_calls(limited, async |service| {
        for _ in 0..BURST {
            assert_eq!(service.clone().oneshot(Script::Answer).await, Ok("answered"));
        }
    })
    .await;
    contract::every_waiter_is_woken_and_none_spins(limited, Crowd::IsRefused).await;
}

fn window() -> WindowQuota {
    WindowQuota::new(BURST, Duration::from_secs(3_600)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_sliding_window_keeps_the_contract() {
    keeps_the_contract::<SlidingWindow>(|env| LimitLayer::with_env(window(), env)).await;
}

#[tokio::test(start_paused = true)]
async fn a_fixed_window_keeps_the_contract() {
    keeps_the_contract::<FixedWindow>(|env| LimitLayer::with_env(window(), env)).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_warms_up_keeps_the_contract() {
    keeps_the_contract::<WarmUp>(|env| {
        let quota = Quota::per_second(1).unwrap().with_burst(BURST).unwrap();
        LimitLayer::with_env(WarmUpQuota::new(quota, Duration::from_secs(10)).unwrap(), env)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_enforced_keeps_the_contract() {
    keeps_the_contract::<Enforced<Gcra>>(|env| {
        let quota = Quota::per_second(1).unwrap().with_burst(BURST).unwrap();
        LimitLayer::with_env(Enforced::new(Gcra::new(quota), 100).unwrap(), env)
    })
    .await;
}

/// As much again is kept for other tenants of the plan.
#[tokio::test(start_paused = true)]
async fn plans_keep_the_contract() {
    keeps_the_contract::<Plans>(|env| {
        let quota = |burst| Quota::per_second(1).unwrap().with_burst(burst).unwrap();
        LimitLayer::with_env(Plans::new(quota(1), Plan::new(quota(2 * BURST), quota(1))).unwrap(), env)
    })
    .await;
}

/// Nothing has been refused: nothing is limited.
#[tokio::test(start_paused = true)]
async fn an_adaptive_rate_keeps_the_contract() {
    let limited = |env| LimitLayer::<AdaptiveRate, _>::with_env(AdaptiveQuota::default(), env);
    contract::every_call_ends_in_exactly_one_outcome(limited).await;
    contract::every_call_through_it_ends_once(limited).await;
    contract::dropping_at_any_point_leaves_nothing_held(limited, |layer| layer.gate().in_flight() as usize).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(limited).await;
    contract::works_under_a_buffer(limited).await;
}

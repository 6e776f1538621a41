//! The rate limiter.

use seawall::rate_limiter::{Quota, RateLimiterLayer};
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

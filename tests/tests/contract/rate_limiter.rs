//! The rate limiters.

use std::{convert::Infallible, future::pending, time::Duration};

use seawall::{
    core::{GateLayer, KeyedLayer, TokioClock},
    rate_limiter::{
        AdaptiveQuota, AdaptiveRate, Answer, DistributedKeyedGcra, DistributedQuota, DistributedRateLimiterLayer,
        Enforced, Enforcement, Exchange, FixedWindow, Gcra, KeyedGcra, KeyedRateLimiterLayer, Limit, LimitLayer, Plan,
        Plans, QueueingKeys, QueueingLimit, QueueingQuota, QueueingRateLimiterLayer, Quota, Quotas, RateLimiterLayer,
        SlidingWindow, Store, WarmUp, WarmUpQuota, WindowQuota,
    },
};
use seawall_testkit::{
    Script, TestEnv,
    contract::{self, Crowd, Leaf, Subject},
    hold,
};
use tower::{Layer, ServiceExt};

use crate::keyed::{ONE_KEY, OneKey};

pub(crate) const BURST: u32 = 20;

fn quota() -> Quota {
    Quota::per_second(1).unwrap().with_burst(BURST).unwrap()
}

pub(crate) fn limited(env: TestEnv) -> RateLimiterLayer<TestEnv> {
    RateLimiterLayer::with_env(quota(), env)
}

/// The whole contract, for a limit that admits [`BURST`] calls at once and no more.
async fn keeps_the_contract<L>(limited: impl Fn(TestEnv) -> L + Copy)
where
    L: Layer<Leaf, Service: Subject> + Clone,
{
    contract::every_call_ends_in_exactly_one_outcome(limited).await;
    contract::every_call_through_it_ends_once(limited).await;
    contract::dropping_at_any_point_leaves_nothing_held(limited, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(limited).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(limited).await;
    contract::works_under_a_buffer(limited, Crowd::IsRefused).await;
    contract::state_is_shared_by_clones_and_by_layer_calls(limited, async |service: L::Service| {
        for _ in 0..BURST {
            assert_eq!(service.clone().oneshot(Script::Answer).await, Ok("answered"));
        }
    })
    .await;
    contract::every_waiter_is_woken_and_none_spins(limited, Crowd::IsRefused).await;
}

#[tokio::test(start_paused = true)]
async fn the_rate_limiter_keeps_the_contract() {
    keeps_the_contract(limited).await;
}

fn window() -> WindowQuota {
    WindowQuota::new(BURST, Duration::from_secs(3_600)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_sliding_window_keeps_the_contract() {
    keeps_the_contract(|env| LimitLayer::<SlidingWindow, _>::with_env(window(), env)).await;
}

#[tokio::test(start_paused = true)]
async fn a_fixed_window_keeps_the_contract() {
    keeps_the_contract(|env| LimitLayer::<FixedWindow, _>::with_env(window(), env)).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_warms_up_keeps_the_contract() {
    keeps_the_contract(|env| {
        LimitLayer::<WarmUp, _>::with_env(WarmUpQuota::new(quota(), Duration::from_secs(10)).unwrap(), env)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_enforced_keeps_the_contract() {
    keeps_the_contract(|env| {
        LimitLayer::<Enforced<Gcra>, _>::with_env(Enforced::new(Gcra::new(quota()), Enforcement::Enforce), env)
    })
    .await;
}

/// As much again is kept for other tenants of the plan.
#[tokio::test(start_paused = true)]
async fn plans_keep_the_contract() {
    keeps_the_contract(|env| {
        let quota = |burst| Quota::per_second(1).unwrap().with_burst(burst).unwrap();
        LimitLayer::<Plans, _>::with_env(Plans::new(quota(1), Plan::new(quota(2 * BURST), quota(1))).unwrap(), env)
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
    contract::handles_that_are_ready_and_idle_keep_nobody_out(limited).await;
    contract::works_under_a_buffer(limited, Crowd::Passes).await;
}

pub(crate) fn keyed(env: TestEnv) -> KeyedRateLimiterLayer<str, OneKey, TestEnv> {
    KeyedRateLimiterLayer::with_env(quota(), ONE_KEY, env)
}

#[tokio::test(start_paused = true)]
async fn a_quota_per_key_keeps_the_contract() {
    keeps_the_contract(keyed).await;
}

#[tokio::test(start_paused = true)]
async fn several_quotas_at_once_keep_the_contract() {
    keeps_the_contract(|env| {
        let more = Quota::per_second(1).unwrap().with_burst(2 * BURST).unwrap();
        let quotas = Quotas::new().with_keyed(quota()).with_shared(more);
        KeyedRateLimiterLayer::<str, OneKey, TestEnv, Quotas>::with_env(quotas, ONE_KEY, env)
    })
    .await;
}

/// A store that never answers: each process has its own share.
struct NeverThere;

impl Store for NeverThere {
    type Error = Infallible;

    async fn exchange(&mut self, _: &[Exchange<'_>]) -> Result<Vec<Option<Answer>>, Infallible> {
        pending().await
    }
}

/// One process of two, with nobody to ask.
pub(crate) fn distributed(env: TestEnv) -> DistributedRateLimiterLayer<OneKey, TestEnv> {
    let quota = Quota::per_second(2).unwrap().with_burst(2 * BURST).unwrap();
    let limiter = DistributedKeyedGcra::new(DistributedQuota::new(quota, 2).unwrap());
    DistributedRateLimiterLayer::with_env(limiter, ONE_KEY, env)
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_several_processes_keeps_the_contract_without_a_store() {
    keeps_the_contract(distributed).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_several_processes_keeps_the_contract_over_a_store_that_is_never_there() {
    keeps_the_contract(|env| {
        let layer = distributed(env);
        tokio::spawn(layer.gate().supply(NeverThere, TokioClock));
        layer
    })
    .await;
}

const QUEUED: usize = 100;

pub(crate) fn queueing(env: TestEnv) -> QueueingRateLimiterLayer<TestEnv> {
    let quota = Quota::per_second(1_000).unwrap().with_burst(BURST).unwrap();
    QueueingQuota::new(quota).with_max_queued(QUEUED).unwrap().layer(env)
}

/// The fifty callers of a crowd less those of the burst, each a millisecond after the one before.
pub(crate) const LAST_OF_A_CROWD: Crowd = Crowd::WaitsFor(Duration::from_millis(50 - BURST as u64));

/// The whole contract, for a limit that admits [`BURST`] calls at once, lets [`QUEUED`] more wait and the last of a crowd
/// for `waits`. A call that would wait in vain is refused when it comes, so none does.
async fn lets_calls_wait_and_keeps_the_contract<L>(
    queueing: impl Fn(TestEnv) -> L + Copy,
    queued: impl Fn(&L) -> usize + Copy,
    waits: Crowd,
) where
    L: Layer<Leaf, Service: Subject> + Clone,
{
    contract::every_call_ends_in_exactly_one_outcome(queueing).await;
    contract::every_call_through_it_ends_once(queueing).await;
    contract::every_call_that_waited_ends_in_exactly_one_outcome(queueing, BURST as usize).await;
    contract::dropping_at_any_point_leaves_nothing_held(queueing, queued).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(queueing).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(queueing).await;
    contract::works_under_a_buffer(queueing, waits).await;
    contract::state_is_shared_by_clones_and_by_layer_calls(queueing, async |service| {
        hold(&service, Script::Hang, QUEUED.saturating_add(BURST as usize))
    })
    .await;
    contract::every_waiter_is_woken_and_none_spins(queueing, waits).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_whose_calls_wait_keeps_the_contract() {
    lets_calls_wait_and_keeps_the_contract(queueing, |layer| layer.gate().queued(), LAST_OF_A_CROWD).await;
}

/// A limit whose calls wait on tokio's clock.
#[derive(Clone)]
struct OnTokio<Q>(Q);

impl<Q, L: Limit + From<Q>> From<OnTokio<Q>> for QueueingLimit<L, TokioClock> {
    fn from(OnTokio(quota): OnTokio<Q>) -> Self {
        Self::new(line(quota), TokioClock)
    }
}

fn line<Q>(quota: Q) -> QueueingQuota<Q> {
    QueueingQuota::new(quota).with_max_queued(QUEUED).unwrap()
}

/// A thousand a second, and that burst.
fn fast() -> Quota {
    Quota::per_second(1_000).unwrap().with_burst(BURST).unwrap()
}

/// When the last of a crowd comes is for the clock to say: windows begin where they will.
#[tokio::test(start_paused = true)]
async fn a_window_whose_calls_wait_keeps_the_contract() {
    type Layer = GateLayer<QueueingLimit<FixedWindow, TokioClock>, TestEnv>;
    let window = WindowQuota::new(BURST, Duration::from_millis(10)).unwrap();
    let queueing = |env| Layer::with_env(OnTokio(window), env);
    contract::every_call_ends_in_exactly_one_outcome(queueing).await;
    contract::every_call_through_it_ends_once(queueing).await;
    contract::dropping_at_any_point_leaves_nothing_held(queueing, |layer| layer.gate().queued()).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(queueing).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(queueing).await;
    contract::works_under_a_buffer(queueing, Crowd::Waits).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_per_key_whose_calls_wait_keeps_the_contract() {
    type Layer = KeyedLayer<str, OneKey, QueueingLimit<Gcra, TokioClock>, TestEnv>;
    let queueing = |env| Layer::with_env(2, OnTokio(fast()), ONE_KEY, env).unwrap();
    let queued = |layer: &Layer| layer.gate("one").gate().queued();
    lets_calls_wait_and_keeps_the_contract(queueing, queued, LAST_OF_A_CROWD).await;
}

type Lines<G> = KeyedRateLimiterLayer<str, OneKey, TestEnv, QueueingKeys<G, str, TokioClock>>;

pub(crate) fn lines(env: TestEnv) -> Lines<KeyedGcra> {
    Lines::with_env(QueueingKeys::new(line(KeyedGcra::new(fast())), TokioClock), ONE_KEY, env)
}

pub(crate) fn queued(lines: &Lines<KeyedGcra>) -> usize {
    lines.gate().queued()
}

#[tokio::test(start_paused = true)]
async fn a_line_per_key_keeps_the_contract() {
    lets_calls_wait_and_keeps_the_contract(lines, queued, LAST_OF_A_CROWD).await;
}

/// The quota that is shared is used up first, or that of the key.
#[tokio::test(start_paused = true)]
async fn a_line_before_several_quotas_keeps_the_contract() {
    for (keyed, shared) in [(2 * BURST, BURST), (BURST, 2 * BURST)] {
        let queueing = move |env| {
            let quota = |burst| Quota::per_second(1_000).unwrap().with_burst(burst).unwrap();
            let quotas = Quotas::new().with_keyed(quota(keyed)).with_shared(quota(shared));
            Lines::with_env(QueueingKeys::new(line(quotas), TokioClock), ONE_KEY, env)
        };
        lets_calls_wait_and_keeps_the_contract(queueing, |layer| layer.gate().queued(), LAST_OF_A_CROWD).await;
    }
}

type Tenant = (&'static str, u32);

/// One tenant borrows the upper half of its plan's burst.
#[tokio::test(start_paused = true)]
async fn a_line_before_plans_keeps_the_contract() {
    type Lines =
        KeyedRateLimiterLayer<Tenant, fn(&Script) -> &Tenant, TestEnv, QueueingKeys<Plans, Tenant, TokioClock>>;
    let queueing = |env| {
        let quota = |calls, burst| Quota::per_second(calls).unwrap().with_burst(burst).unwrap();
        let plans = Plans::new(quota(1_000, 1), Plan::new(quota(1_000, 2 * BURST), quota(1, 1))).unwrap();
        Lines::with_env(QueueingKeys::new(line(plans), TokioClock), |_| &("free", 1), env)
    };
    lets_calls_wait_and_keeps_the_contract(queueing, |layer| layer.gate().queued(), LAST_OF_A_CROWD).await;
}

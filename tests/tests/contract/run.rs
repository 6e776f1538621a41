//! Every gate as `run(async …)` without Tower: the same contract as of its layer, by [`ByRun`], and the same state.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use seawall::{
    backoff_with_jitter::RetryLayer,
    bulkhead::{BulkheadConfig, BulkheadLayer, QueueingBulkhead},
    core::{CallContext, Env, Error, Gate, GateLayer, Run, TokioClock, WrapError},
    fallback::{FallbackError, FallbackLayer, Value},
    rate_limiter::KeyedRateLimiterLayer,
    timeout::TimeoutLayer,
};
use seawall_testkit::{
    Probe, ProbeError, Recorder, Script, TestEnv,
    contract::{self, ByRun, Crowd, Leaf, Subject},
    hold,
};
use tower::{Layer, ServiceExt, util::Oneshot};

use crate::{bulkhead, circuit_breaker, fallback, keyed, load_shedder, rate_limiter, retry, timeout};

type Answer = Result<&'static str, Error<ProbeError>>;

/// The contract of a `run` that begins with its first poll.
async fn keeps_the_contract<L>(make: impl Fn(TestEnv) -> L, held: impl Fn(&L) -> usize, crowd: Crowd)
where
    L: Layer<Leaf, Service: Subject>,
{
    contract::every_run_ends_in_exactly_one_outcome(&make).await;
    contract::every_call_through_it_ends_once(&make).await;
    contract::dropping_at_any_point_leaves_nothing_held(&make, held).await;
    contract::works_under_a_buffer(&make, crowd).await;
    contract::every_waiter_is_woken_and_none_spins(&make, crowd).await;
}

type Call<G> = Run<Oneshot<Leaf, Script>, G, TestEnv>;
type ByGate<G> = ByRun<GateLayer<G, TestEnv>, fn(&GateLayer<G, TestEnv>, Leaf, Script) -> Call<G>>;

fn by_run<G: Gate>(layer: GateLayer<G, TestEnv>) -> ByGate<G> {
    ByRun::new(layer, |layer, leaf, script| layer.run_carrying(CallContext::default(), leaf.oneshot(script)))
}

/// A gate whose figures tell what it holds.
async fn gate<G: Gate<Wait: Send>>(
    make: impl Fn(TestEnv) -> GateLayer<G, TestEnv>,
    held: impl Fn(&GateLayer<G, TestEnv>) -> usize,
    crowd: Crowd,
) {
    keeps_the_contract(|env| by_run(make(env)), |by_run| held(by_run.get_ref()), crowd).await;
}

#[tokio::test(start_paused = true)]
async fn bulkheads_keep_the_contract() {
    gate(bulkhead::refusing, |layer| layer.gate().in_flight() as usize, Crowd::IsRefused).await;
    gate(bulkhead::keeping, |layer| layer.gate().in_flight() as usize, Crowd::IsRefused).await;
    for queueing in bulkhead::QUEUEING {
        gate(queueing, |layer| layer.gate().queued() + layer.gate().in_flight() as usize, Crowd::Waits).await;
        let by_run = |env| by_run(queueing(env));
        contract::every_call_that_waited_ends_in_exactly_one_outcome(by_run, bulkhead::PLACES).await;
        contract::a_call_that_waits_in_vain_is_booked_as_refused(by_run, bulkhead::PLACES).await;
    }
}

#[tokio::test(start_paused = true)]
async fn circuit_breakers_keep_the_contract() {
    gate(circuit_breaker::closed, circuit_breaker::wedged, Crowd::Passes).await;
    gate(circuit_breaker::half_open, circuit_breaker::wedged, Crowd::IsRefused).await;
}

#[tokio::test(start_paused = true)]
async fn load_shedders_and_throttles_keep_the_contract() {
    gate(load_shedder::adaptive, |layer| layer.gate().in_flight() as usize, Crowd::IsRefused).await;
    gate(load_shedder::queueing, |layer| layer.gate().queued() + layer.gate().in_flight() as usize, Crowd::Waits).await;
    gate(load_shedder::throttle, |_| 0, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn rate_limiters_keep_the_contract() {
    gate(rate_limiter::limited, |_| 0, Crowd::IsRefused).await;
    gate(rate_limiter::queueing, |layer| layer.gate().queued(), rate_limiter::LAST_OF_A_CROWD).await;
    gate(fallback::lit, |_| 0, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn a_gate_per_key_keeps_the_contract() {
    let refusing = |env| {
        ByRun::new(keyed::refusing(env), |layer, leaf: Leaf, script| {
            layer.run_carrying("one", CallContext::default(), leaf.oneshot(script))
        })
    };
    keeps_the_contract(refusing, |by_run| by_run.get_ref().gate("one").gate().in_flight() as usize, Crowd::IsRefused)
        .await;
    let queueing = |env| {
        ByRun::new(keyed::queueing(env), |layer, leaf: Leaf, script| {
            layer.run_carrying("one", CallContext::default(), leaf.oneshot(script))
        })
    };
    let held = |by_run: &ByRun<keyed::ByKey<QueueingBulkhead<TokioClock>>, _>| {
        let one = by_run.get_ref().gate("one");
        one.gate().queued() + one.gate().in_flight() as usize
    };
    keeps_the_contract(queueing, held, Crowd::Waits).await;
}

macro_rules! quota_of_a_key {
    ($make:expr) => {
        |env| {
            ByRun::new($make(env), |layer: &KeyedRateLimiterLayer<_, _, _, _>, leaf: Leaf, script| {
                layer.run_carrying("one", CallContext::default(), leaf.oneshot(script))
            })
        }
    };
}

#[tokio::test(start_paused = true)]
async fn quotas_per_key_keep_the_contract() {
    keeps_the_contract(quota_of_a_key!(rate_limiter::keyed), |_| 0, Crowd::IsRefused).await;
    keeps_the_contract(quota_of_a_key!(rate_limiter::distributed), |_| 0, Crowd::IsRefused).await;
    let queued = |by_run: &ByRun<_, _>| rate_limiter::queued(by_run.get_ref());
    keeps_the_contract(quota_of_a_key!(rate_limiter::lines), queued, rate_limiter::LAST_OF_A_CROWD).await;
}

/// The contract of a `run` that is a call from the start, which its observer hears of although it is dropped before its
/// first poll.
async fn keeps_the_contract_from_the_start<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    contract::every_call_ends_in_exactly_one_outcome(&make).await;
    contract::every_call_through_it_ends_once(&make).await;
    contract::dropping_at_any_point_leaves_nothing_held(&make, |_| 0).await;
    contract::works_under_a_buffer(&make, Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(&make, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn timeouts_keep_the_contract() {
    for make in [timeout::attempt, timeout::adaptive] {
        keeps_the_contract_from_the_start(|env| {
            ByRun::new(make(env), |layer: &TimeoutLayer<TestEnv>, leaf: Leaf, script| {
                layer.run_carrying(CallContext::default(), leaf.oneshot(script))
            })
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn retries_keep_the_contract() {
    let runs = |layer| {
        ByRun::new(layer, |layer: &RetryLayer<TestEnv>, leaf: Leaf, script| {
            layer.run_carrying(CallContext::default(), move |_| leaf.clone().oneshot(script))
        })
    };
    keeps_the_contract_from_the_start(|env| runs(retry::once(env))).await;
    contract::every_call_through_it_ends_once(|env| runs(retry::thrice(env))).await;
}

/// A call whose error is the service's own, as the suite speaks of it.
struct Plain<F>(Pin<Box<F>>);

impl<F, X> Future for Plain<F>
where
    F: Future<Output = Result<&'static str, FallbackError<Error<ProbeError>, X>>>,
{
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.0.as_mut().poll(cx).map_err(fallback::plain)
    }
}

#[tokio::test(start_paused = true)]
async fn fallbacks_keep_the_contract() {
    keeps_the_contract_from_the_start(|env| {
        let layer = FallbackLayer::with_env(Value::new("answered"), env);
        ByRun::new(layer, |layer: &FallbackLayer<Value<&'static str>, _, TestEnv>, leaf: Leaf, script| {
            Plain(Box::pin(layer.run_carrying((), leaf.oneshot(script))))
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn futures_and_services_of_one_layer_have_one_state() {
    let env = || Env::new().with_clock(TokioClock).with_observer(Recorder::default());
    let probe = || WrapError::new(Probe::new());
    let layer = BulkheadLayer::with_env(BulkheadConfig::new(1).unwrap(), env());
    let held = hold(&layer.layer(probe()), Script::Hang, 1);
    let refused: Answer = layer.run_carrying(CallContext::default(), probe().oneshot(Script::Answer)).await;
    drop(held);
    let by_run: Answer = layer.run_carrying(CallContext::default(), probe().oneshot(Script::Answer)).await;

    let per_key = keyed::refusing(env());
    let held: Vec<_> = (0..4).map(|_| hold(&per_key.layer(probe()), Script::Hang, 1)).collect();
    let refused_key: Answer =
        per_key.run_carrying("one", CallContext::default(), probe().oneshot(Script::Answer)).await;
    let other_key: Answer =
        per_key.run_carrying("other", CallContext::default(), probe().oneshot(Script::Answer)).await;
    drop(held);

    assert!(matches!((refused, refused_key), (Err(Error::Rejected(_)), Err(Error::Rejected(_)))));
    assert_eq!((by_run, other_key), (Ok("answered"), Ok("answered")));
}

//! Layers that let calls wait, over a retry, over tower's limit of one: fifty handles that were all polled ready first do
//! not wait for each other.

use std::time::Duration;

use seawall::{
    backoff_with_jitter::{IfUnknown, Retry, RetryConfig, RetryLayer},
    bulkhead::{BulkheadConfig, QueueingBulkhead, QueueingBulkheadConfig},
    core::{Env, Error, GateLayer, KeyedLayer, TokioClock, WrapError},
    load_shedder::{Knee, QueueingLoadShedder, QueueingShedderConfig},
    rate_limiter::{QueueingQuota, Quota},
};
use seawall_testkit::{Probe, ProbeError, Recorder, Script, TestEnv};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit};

use crate::pool;

const CALLS: usize = 50;

type Inner = Retry<WrapError<ConcurrencyLimit<Probe>>, TestEnv>;

fn env() -> TestEnv {
    Env::new().with_clock(TokioClock).with_observer(Recorder::default())
}

async fn does_not_deadlock<L>(waiting: L)
where
    L: Layer<
            Inner,
            Service: Service<Script, Response = &'static str, Error = Error<ProbeError>, Future: Send + 'static>,
        >,
{
    let retry = RetryLayer::with_env(RetryConfig::new(IfUnknown::Repeat), env());
    let inner = retry.protect(ConcurrencyLimit::new(Probe::new(), 1));
    let mut handles: Vec<_> = (0..CALLS).map(|_| waiting.layer(inner.clone())).collect();
    let all = async {
        for handle in &mut handles {
            handle.ready().await.unwrap();
        }
        let calls: Vec<_> = handles.iter_mut().map(|handle| tokio::spawn(handle.call(Script::AnswerLater))).collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok("answered"));
        }
    };

    // Paused time runs on only when nothing else can: a deadlock ends here at once.
    tokio::time::timeout(Duration::from_secs(3600), all).await.unwrap();
}

fn bulkhead() -> QueueingBulkheadConfig {
    QueueingBulkheadConfig::new(BulkheadConfig::new(4).unwrap()).with_max_queued(CALLS).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_queueing_bulkhead_does_not_deadlock() {
    let bulkhead = QueueingBulkhead::new(bulkhead(), TokioClock);
    does_not_deadlock(GateLayer::<QueueingBulkhead<TokioClock>, _>::with_env(bulkhead, env())).await;
}

#[tokio::test(start_paused = true)]
async fn the_queueing_load_shedder_does_not_deadlock() {
    let shedder = QueueingLoadShedder::new(QueueingShedderConfig::default(), TokioClock);
    does_not_deadlock(GateLayer::<QueueingLoadShedder<Knee, TokioClock>, _>::with_env(shedder, env())).await;
}

#[tokio::test(start_paused = true)]
async fn the_queueing_rate_limiter_does_not_deadlock() {
    let quota = QueueingQuota::new(Quota::per_second(1_000).unwrap().with_burst(4).unwrap());
    does_not_deadlock(quota.layer(env())).await;
}

#[tokio::test(start_paused = true)]
async fn the_pool_does_not_deadlock() {
    does_not_deadlock(pool::over(&pool::pool(4))).await;
}

#[tokio::test(start_paused = true)]
async fn a_queueing_gate_per_key_does_not_deadlock() {
    #[derive(Clone)]
    struct OnTokio;
    impl From<OnTokio> for QueueingBulkhead<TokioClock> {
        fn from(OnTokio: OnTokio) -> Self {
            Self::new(bulkhead(), TokioClock)
        }
    }
    let one_key: fn(&Script) -> &str = |_| "one";

    does_not_deadlock(
        KeyedLayer::<str, _, QueueingBulkhead<TokioClock>, _>::with_env(2, OnTokio, one_key, env()).unwrap(),
    )
    .await;
}

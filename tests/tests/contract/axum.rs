//! Under `axum::serve` every layer keeps one state for all connections, and what it refuses is answered.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    routing::get,
};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, Rebuild, RetryConfig, RetryLayer},
    bulkhead::{Bulkhead, BulkheadConfig, BulkheadLayer, IsolateLayer, QueueingBulkheadConfig, QueueingBulkheadLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, State},
    core::{Clock, Criticality, Entropy, Error, GateLayer, KeyedLayer, MonotonicClock, WrapErrorLayer},
    fallback::{Dimmer, FallbackLayer, FeatureLayer, from_fn},
    http::{AtBodyEnd, DEGRADED_HEADER, MarkDegraded, RespondLayer, env},
    load_shedder::{
        LimitRange, LoadShedderConfig, LoadShedderLayer, QueueingLoadShedderLayer, QueueingShedderConfig, Throttle,
        ThrottleConfig,
    },
    rate_limiter::{
        DistributedKeyedGcra, DistributedQuota, KeyedRateLimiterLayer, QueueingQuota, QueueingRateLimiterLayer, Quota,
        RateLimiterLayer,
    },
    timeout::{TimeoutConfig, TimeoutLayer},
};
use tokio::sync::Notify;

use crate::pool;

/// A server whose handlers are behind a layer.
struct Site {
    address: String,
    entered: Arc<Notify>,
    leave: Arc<Notify>,
}

/// A body that comes when it is let go.
struct HeldBody(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(let_go) = &mut self.0 else { return Poll::Ready(None) };
        ready!(let_go.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"held")))))
    }
}

/// `/hold` tells that it was entered and waits to be let go, `/body` waits behind the head of its answer, `/hangs` never answers, `/broken` fails, `/busy` says that it
/// has too much to do; everything else says hello.
fn handlers(entered: &Arc<Notify>, leave: &Arc<Notify>) -> Router {
    let left = Arc::clone(leave);
    let body = get(move || async move { Body::new(HeldBody(Some(Box::pin(async move { left.notified().await })))) });
    let (entered, leave) = (Arc::clone(entered), Arc::clone(leave));
    let hold = get(move || async move {
        entered.notify_one();
        leave.notified().await;
        "held"
    });
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/hold", hold)
        .route("/body", body)
        .route("/hangs", get(std::future::pending::<()>))
        .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/busy", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]) }))
}

/// Over real connections and so in real time: what does not come within ten seconds never does.
async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let came = tokio::time::timeout(Duration::from_secs(10), future).await;
    came.unwrap_or_else(|_| unreachable!("{what} never came"))
}

async fn comes_true(condition: impl Fn() -> bool) {
    let comes_true = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    soon("what was waited for", comes_true).await;
}

async fn serve(app: Router, entered: Arc<Notify>, leave: Arc<Notify>) -> Site {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    Site { address, entered, leave }
}

/// Serves behind `layer`, whose type no function can name the bounds of in fewer words.
macro_rules! serve {
    ($layer:expr) => {{
        let (entered, leave) = (Arc::default(), Arc::default());
        let protection =
            tower::ServiceBuilder::new().layer(RespondLayer::new()).layer($layer).layer(WrapErrorLayer::new());
        serve(handlers(&entered, &leave).layer(protection), entered, leave).await
    }};
}

impl Site {
    /// Asks over a connection of its own.
    fn get(&self, path: &str) -> impl Future<Output = Response<()>> + Send + use<> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let request = Request::get(format!("{}{path}", self.address)).body(Body::empty()).unwrap();
        async move { soon("an answer", client.request(request)).await.unwrap().map(drop) }
    }

    async fn status(&self, path: &str) -> StatusCode {
        self.get(path).await.status()
    }

    /// What a second connection hears while the first one's call is inside; afterwards the first one is answered.
    async fn while_one_is_inside(&self) -> Response<()> {
        let first = tokio::spawn(self.get("/hold"));
        soon("a first call", self.entered.notified()).await;
        let second = self.get("/").await;
        self.leave.notify_one();
        assert_eq!(first.await.unwrap().status(), StatusCode::OK);
        assert_eq!(self.status("/").await, StatusCode::OK, "afterwards there is room again");
        second
    }
}

#[tokio::test]
async fn one_place_of_a_bulkhead_is_one_place_for_all_connections() {
    let site = serve!(BulkheadLayer::new(BulkheadConfig::new(1).unwrap()));

    let refused = site.while_one_is_inside().await;

    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn calls_of_different_connections_wait_in_one_line() {
    let config = QueueingBulkheadConfig::new(BulkheadConfig::new(1).unwrap()).with_max_queued(1).unwrap();
    let layer = QueueingBulkheadLayer::new(config.with_max_wait(Duration::from_secs(60)).unwrap());
    let site = serve!(layer.clone());
    let first = tokio::spawn(site.get("/hold"));
    soon("a first call", site.entered.notified()).await;
    let second = tokio::spawn(site.get("/"));
    comes_true(|| layer.gate().queued() > 0).await;

    assert_eq!(site.status("/").await, StatusCode::SERVICE_UNAVAILABLE, "the line is full");
    site.leave.notify_one();

    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    assert_eq!(second.await.unwrap().status(), StatusCode::OK);
}

fn limit_of_one() -> LoadShedderConfig {
    LoadShedderConfig::default().with_range(LimitRange::new(1, 1, 1).unwrap())
}

#[tokio::test]
async fn one_limit_of_a_load_shedder_is_for_all_connections() {
    let site = serve!(LoadShedderLayer::new(limit_of_one()));

    assert_eq!(site.while_one_is_inside().await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn one_limit_of_a_queueing_load_shedder_is_for_all_connections() {
    let site = serve!(QueueingLoadShedderLayer::new(QueueingShedderConfig::new(limit_of_one())));

    assert_eq!(site.while_one_is_inside().await.status(), StatusCode::SERVICE_UNAVAILABLE, "after 20 ms in line");
}

/// The lowest word: every call that may be held back is.
#[derive(Debug)]
struct Lowest;

impl Entropy for Lowest {
    fn next_u64(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn a_throttle_holds_all_connections_back_from_a_service_that_is_busy() {
    let throttle = Throttle::with_entropy(ThrottleConfig::default(), Lowest);
    let site = serve!(GateLayer::<Throttle<Lowest>, _>::with_env(throttle, env()));
    assert_eq!(site.status("/").await, StatusCode::OK);

    for _ in 0..10 {
        assert_eq!(site.status("/busy").await, StatusCode::SERVICE_UNAVAILABLE);
    }

    let refused = site.get("/").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn one_quota_of_a_rate_limiter_is_for_all_connections() {
    let site = serve!(RateLimiterLayer::new(Quota::per_minute(1).unwrap().with_burst(2).unwrap()));

    let statuses = [site.status("/").await, site.status("/").await, site.status("/").await];

    assert_eq!(statuses, [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
}

#[tokio::test]
async fn each_key_has_one_quota_for_all_connections() {
    let by_path: fn(&Request<Body>) -> &str = |request| request.uri().path();
    let quota = Quota::per_minute(1).unwrap();
    let site = serve!(KeyedRateLimiterLayer::<str, _, _>::with_env(quota, by_path, env()));

    let statuses = [site.status("/").await, site.status("/").await, site.status("/broken").await];

    assert_eq!(statuses, [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY]);
}

#[tokio::test]
async fn the_share_of_one_process_is_for_all_its_connections() {
    let by_path: fn(&Request<Body>) -> &str = |request| request.uri().path();
    let quota = Quota::per_minute(2).unwrap().with_burst(4).unwrap();
    let site = serve!(DistributedKeyedGcra::new(DistributedQuota::new(quota, 2).unwrap()).layer(by_path));

    let statuses = [site.status("/").await, site.status("/").await, site.status("/").await];

    assert_eq!(statuses, [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
}

#[tokio::test]
async fn calls_of_different_connections_wait_for_their_times_in_one_line() {
    let quota = QueueingQuota::new(Quota::per_minute(1).unwrap()).with_max_queued(1).unwrap();
    let layer = QueueingRateLimiterLayer::new(quota.with_max_wait(Duration::from_secs(600)).unwrap());
    let site = serve!(layer.clone());
    assert_eq!(site.status("/").await, StatusCode::OK);
    let waiting = tokio::spawn(site.get("/"));
    comes_true(|| layer.gate().queued() > 0).await;

    assert_eq!(site.status("/").await, StatusCode::SERVICE_UNAVAILABLE, "the line is full");

    layer.gate().refund(1, MonotonicClock.now());
    assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_feature_that_is_switched_off_is_refused_on_all_connections() {
    let dimmer = Dimmer::default();
    let site = serve!(FeatureLayer::new(dimmer.feature(Criticality::Degraded)));
    assert_eq!(site.status("/").await, StatusCode::OK);

    dimmer.dim_below(Criticality::Default);

    assert_eq!([site.status("/").await, site.status("/").await], [StatusCode::SERVICE_UNAVAILABLE; 2]);
}

#[tokio::test]
async fn handlers_run_on_a_runtime_of_their_own() {
    let dangerous = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let site = serve!(IsolateLayer::new(dangerous.handle().clone()));
    assert_eq!([site.status("/").await, site.status("/broken").await], [StatusCode::OK, StatusCode::BAD_GATEWAY]);

    dangerous.shutdown_background();

    assert_eq!(site.status("/").await, StatusCode::SERVICE_UNAVAILABLE, "it is closed");
}

#[tokio::test]
async fn the_place_of_a_call_is_held_until_its_body_was_read() {
    let layer = BulkheadLayer::with_env(BulkheadConfig::new(1).unwrap(), env().with_settle(AtBodyEnd));
    let site = serve!(layer.clone());
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let request = Request::get(format!("{}/body", site.address)).body(Body::empty()).unwrap();

    let head = soon("the head", client.request(request)).await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(site.status("/").await, StatusCode::SERVICE_UNAVAILABLE);
    site.leave.notify_one();

    assert_eq!(soon("the body", head.collect()).await.unwrap().to_bytes(), "held");
    comes_true(|| layer.gate().in_flight() == 0).await;
    assert_eq!(site.status("/").await, StatusCode::OK);
}

#[tokio::test]
async fn failures_on_different_connections_open_one_circuit() {
    let layer = CircuitBreakerLayer::with_env(BreakerConfig::default(), env());
    let site = serve!(layer.clone());

    for _ in 0..20 {
        assert_eq!(site.status("/broken").await, StatusCode::BAD_GATEWAY);
    }

    assert_eq!(layer.gate().state(), State::Open);
    assert_eq!(site.status("/").await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_call_that_hangs_is_answered_by_the_timeout() {
    let site = serve!(TimeoutLayer::new(TimeoutConfig::attempt(Duration::from_millis(20)).unwrap()));

    assert_eq!(site.status("/hangs").await, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(site.status("/").await, StatusCode::OK);
}

#[tokio::test]
async fn retries_on_different_connections_are_counted_together() {
    let config =
        RetryConfig::new(IfUnknown::OnlyUnsent).with_backoff(Backoff::constant(Duration::ZERO)).without_budget();
    let again = |uri: &Uri, _| Request::get(uri.clone()).body(Body::empty()).ok();
    let replay = Rebuild::new(|request: &Request<Body>| Some(request.uri().clone()), again);
    let layer = RetryLayer::with_env(config, env()).with_replay(replay);
    let site = serve!(layer.clone());

    assert_eq!(site.status("/broken").await, StatusCode::BAD_GATEWAY);
    assert_eq!(site.status("/broken").await, StatusCode::BAD_GATEWAY);

    assert_eq!(layer.figures().retries, 4);
}

#[tokio::test]
async fn a_fallback_answers_on_all_connections() {
    let popular = from_fn(|(): &(), _: Result<&Response<Body>, &Error<Infallible>>| async {
        Ok::<_, Infallible>(Response::new(Body::from("popular")))
    });
    let layer = FallbackLayer::with_env(popular, env()).with_extract(|_: &Request<Body>| ()).with_mark(MarkDegraded);
    let site = serve!(layer);

    for _ in 0..2 {
        let answer = site.get("/broken").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[DEGRADED_HEADER], "function");
    }
}

#[tokio::test]
async fn one_connection_of_a_pool_is_one_for_all_connections_of_the_server() {
    let pool = pool::pool(1);
    let site = serve!(pool::over::<Infallible>(&pool));
    let first = tokio::spawn(site.get("/hold"));
    soon("a first call", site.entered.notified()).await;
    let second = tokio::spawn(site.get("/"));
    comes_true(|| pool.status().waiters > 0).await;

    site.leave.notify_one();

    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    assert_eq!(second.await.unwrap().status(), StatusCode::OK);
    assert_eq!((pool.status().totals.created, pool.status().totals.handed_out), (1, 2));
}

#[tokio::test]
async fn each_key_has_one_gate_for_all_connections() {
    let by_path: fn(&Request<Body>) -> &str = |request| request.uri().path();
    let one_place = BulkheadConfig::new(1).unwrap();
    let site = serve!(KeyedLayer::<str, _, Bulkhead>::new(10, one_place, by_path).unwrap());
    let first = tokio::spawn(site.get("/hold"));
    soon("a first call", site.entered.notified()).await;

    let (same, other) = (site.status("/hold").await, site.status("/").await);
    site.leave.notify_one();

    assert_eq!((same, other), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
}

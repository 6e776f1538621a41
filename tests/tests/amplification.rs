//! What retries cost a dependency that is down, counted at the dependency: over real HTTP, and in virtual time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::StatusCode, response::IntoResponse, routing::any};
use http::{HeaderMap, Request};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use seawall::{
    backoff_with_jitter::{Backoff, Budget, IfUnknown, RetryConfig, RetryLayer},
    core::{Clock, Env, TokioClock, WindowBudget},
    http::{DO_NOT_RETRY_HEADER, ReplayBodies, ReplayBody, env, previous_attempts},
};
use tower::{Layer, Service, ServiceExt, service_fn};

type Http = Client<hyper_util::client::legacy::connect::HttpConnector, ReplayBody<Body>>;

/// What a server was asked.
#[derive(Clone, Debug, Default)]
struct Asked {
    requests: Arc<AtomicUsize>,
    retries: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Asked {
    fn note(&self, headers: &HeaderMap, body: &[u8]) {
        self.requests.fetch_add(1, SeqCst);
        self.retries.fetch_add(usize::from(previous_attempts(headers) > 0), SeqCst);
        self.bytes.fetch_add(body.len(), SeqCst);
    }
}

async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/")
}

/// A server that reads each request and answers 503, with these headers.
async fn down(asked: Asked, headers: HeaderMap) -> String {
    let answer = move |State(asked): State<Asked>, head: HeaderMap, body: axum::body::Bytes| {
        asked.note(&head, &body);
        let answer = (StatusCode::SERVICE_UNAVAILABLE, headers.clone()).into_response();
        std::future::ready(answer)
    };
    serve(Router::new().fallback(any(answer)).with_state(asked)).await
}

fn client() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

fn config() -> RetryConfig {
    RetryConfig::new(IfUnknown::OnlyUnsent).with_backoff(Backoff::constant(Duration::ZERO))
}

fn put(server: &str) -> Request<Body> {
    Request::put(server).body(Body::from("body")).unwrap()
}

#[tokio::test]
async fn at_total_failure_over_real_http_the_extra_load_is_at_most_a_tenth() {
    const CALLS: usize = 1_000;
    let asked = Asked::default();
    let server = down(asked.clone(), HeaderMap::new()).await;
    let layer = RetryLayer::with_env(config(), env()).with_replay(ReplayBodies::default());
    let service = layer.protect(client());

    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (mut service, server) = (service.clone(), server.clone());
            tokio::spawn(async move {
                for _ in 0..CALLS / 10 {
                    let answer = service.ready().await.unwrap().call(put(&server)).await.unwrap();
                    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }

    let (requests, retries) = (asked.requests.load(SeqCst), asked.retries.load(SeqCst));
    assert_eq!(requests, CALLS + retries);
    assert!((CALLS / 20..=CALLS / 10).contains(&retries), "{retries} retries for {CALLS} calls");
    assert_eq!(asked.bytes.load(SeqCst), requests * "body".len(), "every attempt sends the whole body");
}

#[tokio::test]
async fn an_answer_marked_do_not_retry_stops_retries_at_every_tier_above() {
    let asked = Asked::default();
    let marked = HeaderMap::from_iter([(DO_NOT_RETRY_HEADER, http::HeaderValue::from_static("1"))]);
    for (headers, expected) in [(HeaderMap::new(), 9), (marked, 1)] {
        let dependency = down(asked.clone(), headers).await;
        let retry = || RetryLayer::with_env(config().without_budget(), env()).with_replay(ReplayBodies::default());
        // A gateway that retries, and gives on what it gets.
        let upstream = retry().protect(client());
        let gateway = service_fn(move |request: Request<Body>| {
            let (upstream, dependency) = (upstream.clone(), dependency.clone());
            async move {
                let (mut head, body) = request.into_parts();
                head.uri = dependency.parse().unwrap();
                head.headers.remove(http::header::HOST);
                let answer = upstream.oneshot(Request::from_parts(head, body)).await.unwrap();
                Ok::<_, std::convert::Infallible>(answer.map(Body::new))
            }
        });
        let gateway = serve(Router::new().fallback_service(gateway)).await;
        asked.requests.store(0, SeqCst);

        let answer = retry().protect(client()).oneshot(put(&gateway)).await.unwrap();

        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked.requests.load(SeqCst), expected);
    }
}

/// A minute at so many requests a second, all of which fail: attempts per request.
async fn simulated(per_second: u32, budget: Option<Budget>) -> f64 {
    const SECONDS: u32 = 60;
    let attempts = Arc::new(AtomicUsize::new(0));
    let service = service_fn({
        let attempts = Arc::clone(&attempts);
        move |(): ()| {
            attempts.fetch_add(1, SeqCst);
            std::future::ready(Err::<(), _>(std::io::ErrorKind::ConnectionReset))
        }
    });
    let config = RetryConfig::new(IfUnknown::Repeat);
    let config = match budget {
        Some(budget) => config.with_budget(budget),
        None => config.without_budget(),
    };
    let layer = RetryLayer::with_env(config, Env::new().with_clock(TokioClock));
    let service = layer.layer(seawall::core::WrapError::new(service));
    let begin = TokioClock.now();
    let at_once = per_second.div_ceil(100);
    for call in 0..SECONDS * per_second {
        tokio::spawn(service.clone().oneshot(()));
        if (call + 1) % at_once == 0 {
            tokio::time::sleep(Duration::from_secs(1) * at_once / per_second).await;
        }
    }
    assert!(TokioClock.now().since(begin) >= Duration::from_secs(SECONDS.into()));
    f64::from(u32::try_from(attempts.load(SeqCst)).unwrap()) / f64::from(SECONDS * per_second)
}

#[tokio::test(start_paused = true)]
async fn at_total_failure_the_default_budget_adds_at_most_a_tenth_at_any_rate_from_ten_a_second_on() {
    for per_second in [10, 100, 1_000] {
        let load = simulated(per_second, Some(Budget::default())).await;
        let on_top = WindowBudget::new(0.1, 3, Duration::from_secs(10)).unwrap();
        let on_top = simulated(per_second, Some(on_top.into())).await;

        println!("{per_second} requests a second: {load:.3} attempts per request, {on_top:.3} with 3 a second on top");
        assert!((1.05..=1.10).contains(&load), "{load} at {per_second}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_total_failure_multiplies_the_load_and_a_share_of_successes_adds_next_to_nothing() {
    let of_successes = WindowBudget::new(0.1, 3, Duration::from_secs(10)).unwrap();

    let without = simulated(1_000, None).await;
    let of_successes = simulated(1_000, Some(Budget::of_successes(of_successes))).await;

    assert!(without > 2.9, "{without}");
    assert!(of_successes <= 1.005, "{of_successes}");
}

//! What retries cost a dependency that is down, counted at the dependency: over real HTTP, and in virtual time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_types, reason = "tests write down what happens")]
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::StatusCode, response::IntoResponse, routing::any};
use http::{HeaderMap, Request};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use seawall::{
    backoff_with_jitter::{Backoff, Budget, IfUnknown, RetryConfig, RetryLayer},
    core::{Clock, Env, Pace, TokioClock, VirtualClock, WindowBudget},
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

/// The most in any second, of what is counted by tenths.
fn any_second(tenths: &[usize]) -> usize {
    tenths.windows(10).map(|second| second.iter().sum()).max().unwrap()
}

#[tokio::test]
async fn a_failure_after_healthy_times_adds_at_most_a_tenth_in_any_second_over_real_http() {
    const PER_TENTH: usize = 10;
    let (asked, healthy) = (Asked::default(), Arc::new(AtomicBool::new(true)));
    let answer = {
        let (asked, healthy) = (asked.clone(), Arc::clone(&healthy));
        move |head: HeaderMap| {
            asked.note(&head, &[]);
            let down = !healthy.load(SeqCst);
            std::future::ready(if down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK })
        }
    };
    let server = serve(Router::new().fallback(any(answer))).await;
    let clock = VirtualClock::new();
    clock.advance(Duration::from_secs(60));
    let layer = RetryLayer::with_env(config(), env().with_clock(clock.clone())).with_replay(ReplayBodies::default());
    let mut service = layer.protect(client());

    let mut retries = Vec::new();
    for tenth in 0..200 {
        healthy.store(tenth < 120, SeqCst);
        let before = asked.retries.load(SeqCst);
        for _ in 0..PER_TENTH {
            service.ready().await.unwrap().call(put(&server)).await.unwrap();
            clock.advance(Duration::from_millis(100) / 10);
        }
        retries.push(asked.retries.load(SeqCst) - before);
    }

    let (peak, total) = (any_second(&retries), retries.iter().sum::<usize>());
    println!("an outage after 12 s over HTTP: at most {peak} retries per 100 requests in any second, {total} in 8 s");
    assert!(peak <= PER_TENTH && (60..=80).contains(&total), "{peak} {total}");
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

/// Which attempts fail: by the time since the beginning, and by their number.
type Fails = fn(Duration, usize) -> bool;

/// So many seconds at so many requests a second: attempts by tenth of a second.
async fn simulated(per_second: u32, seconds: u32, fails: Fails, budget: Option<Budget>) -> Vec<usize> {
    let attempts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let begin = TokioClock.now();
    let service = service_fn({
        let attempts = Arc::clone(&attempts);
        move |(): ()| {
            let since = TokioClock.now().since(begin);
            let mut attempts = attempts.lock().unwrap();
            let tenth = usize::try_from(since.as_millis() / 100).unwrap();
            let tenths = attempts.len().max(tenth + 1);
            attempts.resize(tenths, 0);
            attempts[tenth] += 1;
            let number = attempts.iter().sum();
            std::future::ready(if fails(since, number) { Err(std::io::ErrorKind::ConnectionReset) } else { Ok(()) })
        }
    });
    let config = RetryConfig::new(IfUnknown::Repeat);
    let config = match budget {
        Some(budget) => config.with_budget(budget),
        None => config.without_budget(),
    };
    let layer = RetryLayer::with_env(config, Env::new().with_clock(TokioClock));
    let service = layer.layer(seawall::core::WrapError::new(service));
    let at_once = per_second.div_ceil(100);
    for call in 0..seconds * per_second {
        tokio::spawn(service.clone().oneshot(()));
        if (call + 1) % at_once == 0 {
            tokio::time::sleep(Duration::from_secs(1) * at_once / per_second).await;
        }
    }
    assert!(TokioClock.now().since(begin) >= Duration::from_secs(seconds.into()));
    let tenths = attempts.lock().unwrap();
    tenths.clone()
}

/// A minute, which is six windows of the budget: attempts per request.
async fn amplified(per_second: u32, fails: Fails, budget: Option<Budget>) -> f64 {
    let into_a_window = Duration::from_nanos(TokioClock.now().as_nanos() % 10_000_000_000);
    tokio::time::sleep(Duration::from_secs(10).saturating_sub(into_a_window)).await;
    let attempts = simulated(per_second, 60, fails, budget).await.iter().take(600).sum::<usize>();
    f64::from(u32::try_from(attempts).unwrap()) / f64::from(60 * per_second)
}

fn all(_: Duration, _: usize) -> bool {
    true
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_healthy_times_adds_at_most_a_tenth_in_any_second_from_a_hundred_a_second_on() {
    let outage: Fails = |since, _| since >= Duration::from_secs(15);
    for per_second in [100, 1_000] {
        let steady = any_second(&simulated(per_second, 30, outage, Some(Budget::default())).await);
        let at_once = Budget::from(WindowBudget::default().with_pace(Pace::AtOnce));
        let at_once = any_second(&simulated(per_second, 30, outage, Some(at_once)).await);

        println!(
            "{per_second} requests a second, an outage after 15 s: at most {steady} attempts a second, {at_once} at once"
        );
        let per_second = usize::try_from(per_second).unwrap();
        assert!(steady > per_second && steady <= per_second + per_second / 10, "{steady} at {per_second}");
        assert!(at_once > per_second * 3 / 2, "{at_once} at {per_second}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_total_failure_the_default_budget_adds_at_most_a_tenth_at_any_rate_from_ten_a_second_on() {
    for per_second in [10, 100, 1_000] {
        let load = amplified(per_second, all, Some(Budget::default())).await;
        let on_top = WindowBudget::new(0.1, 3, Duration::from_secs(10)).unwrap();
        let on_top = amplified(per_second, all, Some(on_top.into())).await;

        println!("{per_second} requests a second: {load:.3} attempts per request, {on_top:.3} with 3 a second on top");
        assert!((1.05..=1.10).contains(&load), "{load} at {per_second}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_total_failure_multiplies_the_load_and_a_share_of_successes_adds_next_to_nothing() {
    let of_successes = WindowBudget::new(0.1, 3, Duration::from_secs(10)).unwrap();

    let without = amplified(1_000, all, None).await;
    let of_successes = amplified(1_000, all, Some(Budget::of_successes(of_successes))).await;

    assert!(without > 2.9, "{without}");
    assert!(of_successes <= 1.005, "{of_successes}");
}

#[tokio::test(start_paused = true)]
async fn a_share_of_successes_pays_for_half_as_many_retries_where_half_of_the_attempts_fail() {
    let half: Fails = |_, number| number.is_multiple_of(2);
    let of_successes = WindowBudget::new(0.1, 1, Duration::from_secs(10)).unwrap().with_pace(Pace::Steady);

    let of_requests = amplified(1_000, half, Some(Budget::default())).await;
    let of_successes = amplified(1_000, half, Some(Budget::of_successes(of_successes))).await;

    println!(
        "half of the attempts fail: {of_requests:.3} attempts per request, {of_successes:.3} by a share of successes"
    );
    assert!(
        (1.08..=1.10).contains(&of_requests) && (1.04..=1.06).contains(&of_successes),
        "{of_requests} {of_successes}"
    );
}

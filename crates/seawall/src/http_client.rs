use std::{fmt::Display, time::Duration};

use seawall_backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer};
use seawall_bulkhead::{Bulkhead, BulkheadConfig, BulkheadLayer};
use seawall_circuit_breaker::{BreakerConfig, CircuitBreakerLayer};
use seawall_core::{
    AtHead, Entropy, Env, Environment, MonotonicClock, NoObserver, Observer, Pattern, ThreadEntropy, Timer,
};
use seawall_http::{
    AskedTime, AtBodyEnd, CarryInRequest, GuardedBody, Http, HttpAdvice, HttpAttributes, HttpReplay, ReplayBodies,
    SendDeadlineLayer,
};
use seawall_timeout::{TimeoutConfig, TimeoutLayer};
use tower_layer::Identity;

use crate::{
    Client,
    client::{self, Limits},
};

/// How long a call may take in all, unless told otherwise: the gateway's figure in the reference stack.
const TOTAL: Duration = Duration::from_secs(5);
/// How long one attempt may take, unless told otherwise: leaves room for two more.
const ATTEMPT: Duration = Duration::from_secs(2);
/// What is kept back of what the other side is told, unless told otherwise: a way there and back within one data center.
pub(crate) const RESERVE: Duration = Duration::from_millis(1);
/// How long a retry waits for a layer inside that refuses: less than a circuit's first open time.
const REFUSAL_WAIT: Duration = Duration::from_secs(1);
/// How many calls may be under way, unless told otherwise.
const PLACES: usize = 100;

/// The environment of the presets' layers, with a clock, an observer and an entropy of one's own.
pub type PresetEnv<K = MonotonicClock, O = NoObserver, R = ThreadEntropy> = Env<K, Http, HttpAttributes, O, AtHead, R>;

/// The environment of the layer that holds a place until the last byte of the body.
pub type BodyEnv<K = MonotonicClock, O = NoObserver, R = ThreadEntropy> = Env<K, Http, HttpAttributes, O, AtBodyEnd, R>;

/// The client preset over HTTP.
pub type HttpClient<K = MonotonicClock, O = NoObserver, R = ThreadEntropy> =
    HttpLayers<K, O, R, CarryInRequest, SendDeadlineLayer<K>>;

/// The layers of a client preset, which carries deadlines in requests by `C` and tells them to the other side by `D`.
pub type HttpLayers<K, O, R, C, D, F = Identity> = Client<
    TimeoutLayer<PresetEnv<K, O, R>, C, AskedTime>,
    RetryLayer<PresetEnv<K, O, R>, HttpReplay, HttpAdvice>,
    CircuitBreakerLayer<PresetEnv<K, O, R>>,
    BulkheadLayer<BodyEnv<K, O, R>>,
    TimeoutLayer<PresetEnv<K, O, R>, C>,
    D,
    F,
>;

/// The body of a response through the client preset: it holds the call's place in the bulkhead until its end.
pub type HttpClientBody<B, K = MonotonicClock, O = NoObserver, R = ThreadEntropy> =
    GuardedBody<B, Bulkhead, BodyEnv<K, O, R>>;

/// The preset for calling an HTTP service: 5 s in all, 2 s per attempt, three attempts with full jitter on a 10% budget
/// and only what may be repeated, a circuit breaker over 10 s, 100 calls at once until their bodies end.
///
/// The other side is told in `x-request-timeout-ms` (and `grpc-timeout`) how much time an attempt has. No attempt is begun
/// with less left until the call's deadline than 95 in 100 recent successes took.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Service, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let connection = service_fn(|request: Request<Full<Bytes>>| async move {
/// #     assert!(request.headers().contains_key("x-request-timeout-ms"));
/// #     Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::default()))
/// # });
/// let mut client = seawall::client().protect(connection);
/// let answer = client.ready().await?.call(Request::new(Full::default())).await?;
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
pub fn client() -> HttpClient {
    client_with_env(seawall_http::env())
}

/// The same preset, whose layers tell an observer of one's own what happens, or read another clock.
///
/// ```
/// use seawall::core::VirtualClock;
///
/// let clock = VirtualClock::new();
/// let layers = seawall::client_with_env(seawall::http::env().with_clock(clock));
/// assert_eq!(layers.bulkhead().gate().in_flight(), 0);
/// ```
pub fn client_with_env<K, O, R>(env: PresetEnv<K, O, R>) -> HttpClient<K, O, R>
where
    K: Timer + Clone,
    O: Observer + Clone,
    R: Entropy + Clone,
{
    let deadline = SendDeadlineLayer::new(RESERVE).with_clock(env.clock().clone());
    layers(env, CarryInRequest, deadline, Identity::new())
}

/// The client preset over gRPC.
pub type GrpcClient<K = MonotonicClock, O = NoObserver, R = ThreadEntropy> = Client<
    TimeoutLayer<PresetEnv<K, O, R>, CarryInRequest, AskedTime>,
    RetryLayer<PresetEnv<K, O, R>, ReplayBodies, HttpAdvice>,
    CircuitBreakerLayer<PresetEnv<K, O, R>>,
    BulkheadLayer<BodyEnv<K, O, R>>,
    TimeoutLayer<PresetEnv<K, O, R>, CarryInRequest>,
    SendDeadlineLayer<K>,
>;

/// The [`client()`] preset for a gRPC channel, or any other client whose request bodies are streams: a request is repeated
/// while no more than 64 KiB of its body have been sent, and the service inside sees the body as a
/// [`ReplayBody`](seawall_http::ReplayBody).
///
/// Answers are classified by their `grpc-status`; `grpc-retry-pushback-ms` is kept to; `grpc-timeout` says what is left.
/// Every gRPC method is a `POST`, so a call that was sent is repeated only where its request says that it may be, by the
/// extension [`Idempotent`](seawall_http::Idempotent), or where the error proves that it was not looked at, as a refused
/// stream does: that is made good at once. A status that follows after messages, in the trailers, is not seen.
///
/// ```
/// use seawall::http::{ReplayBody, grpc_status};
/// use tonic::{body::Body, transport::Endpoint};
/// use tonic_health::pb::health_client::HealthClient;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let channel = Endpoint::from_static("http://127.0.0.1:50051").connect_lazy();
/// let channel = channel.map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new));
/// let protected = seawall::grpc_client().leak().protect(channel).map_err(|error| match error {
///     seawall::Error::Rejected(why) => tonic::Status::new(i32::from(grpc_status(&why)).into(), why.to_string()),
///     seawall::Error::Inner(failed) => tonic::Status::from_error(failed.into()),
/// });
/// let client = HealthClient::new(protected);
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
pub fn grpc_client() -> GrpcClient {
    grpc_client_with_env(seawall_http::env())
}

/// The same preset, whose layers tell an observer of one's own what happens, or read another clock.
pub fn grpc_client_with_env<K, O, R>(env: PresetEnv<K, O, R>) -> GrpcClient<K, O, R>
where
    K: Timer + Clone,
    O: Observer + Clone,
    R: Entropy + Clone,
{
    let retry = RetryLayer::with_env(retry_config(), env.clone().for_layer(Pattern::Retry, ""))
        .with_replay(ReplayBodies::default().with_unrepeatable())
        .with_when(HttpAdvice);
    client_with_env(env).with_retry(retry)
}

/// Three attempts, of what may be repeated. What is refused for longer than a moment is refused at once: an open circuit is there to
/// keep nobody waiting.
fn retry_config() -> RetryConfig {
    RetryConfig::new(IfUnknown::OnlyUnsent).with_max_refusal_wait(REFUSAL_WAIT)
}

/// The layers that all HTTP presets have.
pub(crate) fn layers<K, O, R, C, D, F>(
    env: PresetEnv<K, O, R>,
    carry: C,
    deadline: D,
    fallback: F,
) -> HttpLayers<K, O, R, C, D, F>
where
    K: Timer + Clone,
    O: Observer + Clone,
    R: Entropy + Clone,
    C: Clone,
{
    let env = move |pattern, part| env.clone().for_layer(pattern, part);
    let bodies = env(Pattern::Bulkhead, "").with_settle(AtBodyEnd);
    Client {
        total: TimeoutLayer::with_env(valid(TimeoutConfig::total(TOTAL)), env(Pattern::Timeout, ""))
            .with_carry(carry.clone())
            .with_limit_of(AskedTime),
        retry: RetryLayer::with_env(retry_config(), env(Pattern::Retry, ""))
            .with_replay(HttpReplay::default())
            .with_when(HttpAdvice),
        breaker: CircuitBreakerLayer::with_env(BreakerConfig::default(), env(Pattern::CircuitBreaker, "")),
        bulkhead: BulkheadLayer::with_env(valid(BulkheadConfig::new(PLACES)), bodies),
        attempt: TimeoutLayer::with_env(valid(client::attempt(ATTEMPT)), env(Pattern::Timeout, "attempt"))
            .with_carry(carry),
        deadline,
        fallback,
        throttle: Identity::new(),
        limits: Limits { total: Some(TOTAL), attempt: Some(ATTEMPT), reserve: Some(RESERVE) },
    }
}

/// What a constant of this file builds.
pub(crate) fn valid<T, E: Display>(config: Result<T, E>) -> T {
    config.unwrap_or_else(|error| unreachable!("a default that is not valid: {error}"))
}

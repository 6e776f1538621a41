//! The presets over gRPC, with tonic at both ends of a real connection.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use seawall::{
    Error,
    core::{Clock, MonotonicClock},
    grpc_client,
    http::{AtBodyEnd, Deadline, Idempotent, ReplayBody, env, grpc_status, parse_grpc_timeout},
    load_shedder::{LimitRange, LoadShedderConfig, LoadShedderLayer},
};
use tokio::{
    net::TcpListener,
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    metadata::MetadataMap,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};
use tower::ServiceExt;

/// Answers with what was planned, and `SERVING` after that; tells of every call that arrives.
struct Scripted {
    arrivals: UnboundedSender<MetadataMap>,
    planned: Vec<Status>,
    answered: AtomicUsize,
    open: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Health for Scripted {
    type WatchStream =
        Pin<Box<dyn tonic::codegen::tokio_stream::Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.arrivals.send(request.metadata().clone()).unwrap();
        drop(self.open.acquire().await.unwrap());
        match self.planned.get(self.answered.fetch_add(1, Relaxed)) {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(HealthCheckResponse { status: 1 })),
        }
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("nobody watches here"))
    }
}

/// A server behind the preset with room for `limit` calls, which it answers once `open` has permits.
struct Served {
    endpoint: Endpoint,
    arrivals: UnboundedReceiver<MetadataMap>,
    open: Arc<Semaphore>,
}

async fn serve(limit: u32, planned: impl IntoIterator<Item = Status>) -> Served {
    let (sender, arrivals) = unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    let (planned, answered) = (planned.into_iter().collect(), AtomicUsize::new(0));
    let health = HealthServer::new(Scripted { arrivals: sender, planned, answered, open: Arc::clone(&open) });
    let shedder = LoadShedderConfig::default().with_range(LimitRange::new(limit, limit, limit).unwrap());
    let layers = seawall::server().with_shedder(LoadShedderLayer::with_env(shedder, env().with_settle(AtBodyEnd)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let server = Server::builder().layer(layers).add_service(health);
    tokio::spawn(async move { server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap() });
    Served { endpoint, arrivals, open }
}

fn status(error: Error<tonic::transport::Error>) -> Status {
    match error {
        Error::Rejected(why) => Status::new(i32::from(grpc_status(&why)).into(), why.to_string()),
        Error::Inner(failed) => Status::from_error(failed.into()),
    }
}

/// A client of `endpoint` behind the preset, and what becomes of the layers' refusals. Nobody waits for 2 s: less than an
/// open circuit asks for.
fn protected(endpoint: &Endpoint) -> impl Fn(bool) -> Pin<Box<dyn Future<Output = Result<(), Status>> + Send>> {
    let channel =
        endpoint.connect_lazy().map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new));
    let client = HealthClient::new(grpc_client().protect(channel).map_err(status));
    move |idempotent| {
        let mut client = client.clone();
        Box::pin(async move {
            let mut request = Request::new(HealthCheckRequest::default());
            request.extensions_mut().insert(Idempotent(idempotent));
            request.extensions_mut().insert(Deadline::new(MonotonicClock.now().saturating_add(Duration::from_secs(2))));
            client.check(request).await.map(drop)
        })
    }
}

#[tokio::test]
async fn a_server_without_room_says_that_its_resources_are_exhausted_and_when_to_come_back() {
    let mut served = serve(1, []).await;
    let client = HealthClient::new(served.endpoint.connect().await.unwrap());
    let call = async || client.clone().check(HealthCheckRequest::default()).await;

    let refused = async {
        served.arrivals.recv().await.unwrap();
        let refused = call().await.unwrap_err();
        served.open.add_permits(Semaphore::MAX_PERMITS);
        refused
    };
    let (first, refused) = tokio::join!(call(), refused);

    first.unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().starts_with("refused by the load shedder: the server is overloaded"), "{refused}");
    let pushback: u32 = refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert!((500..=1_500).contains(&pushback), "{pushback} ms");
    call().await.unwrap();
}

#[tokio::test]
async fn an_unavailable_service_is_tried_again_where_the_request_says_that_it_may() {
    let mut served = serve(10, [Status::unavailable("warming up"), Status::unavailable("still")]).await;
    served.open.add_permits(Semaphore::MAX_PERMITS);
    let call = protected(&served.endpoint);

    assert_eq!(call(false).await.unwrap_err().code(), Code::Unavailable);
    let only = served.arrivals.recv().await.unwrap();
    assert!(only.contains_key("grpc-timeout") && !only.contains_key("grpc-previous-rpc-attempts"));

    call(true).await.unwrap();
    assert!(!served.arrivals.recv().await.unwrap().contains_key("grpc-previous-rpc-attempts"));
    assert_eq!(served.arrivals.recv().await.unwrap().get("grpc-previous-rpc-attempts").unwrap(), "1");
}

#[tokio::test]
async fn a_call_takes_no_longer_than_its_own_timeout_and_the_server_is_told_so() {
    let mut served = serve(10, []).await;
    let channel =
        served.endpoint.connect_lazy().map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new));
    let mut client = HealthClient::new(grpc_client().protect(channel).map_err(status));
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(300));

    let late = client.check(request).await.unwrap_err();

    // tonic keeps to the header itself, and is told a millisecond less: it calls that cancelled.
    assert!(matches!(late.code(), Code::Cancelled | Code::DeadlineExceeded), "{late}");
    let told = served.arrivals.recv().await.unwrap();
    let told = parse_grpc_timeout(told.get("grpc-timeout").unwrap().as_bytes()).unwrap();
    assert!(told <= Duration::from_millis(300), "{told:?}");
}

#[tokio::test]
async fn the_breaker_opens_on_failures_and_not_on_exhausted_resources() {
    let exhausted = (0..20).map(|_| Status::resource_exhausted("too much"));
    let failures = (0..40).map(|_| Status::internal("broken"));
    let mut served = serve(10, exhausted.chain(failures)).await;
    served.open.add_permits(Semaphore::MAX_PERMITS);
    let call = protected(&served.endpoint);

    for _ in 0..20 {
        assert_eq!(call(false).await.unwrap_err().code(), Code::ResourceExhausted);
    }
    let mut failed = 0;
    let refused = loop {
        match call(false).await.unwrap_err() {
            status if status.code() == Code::Internal => failed += 1,
            status => break status,
        }
    };

    assert_eq!(failed, 20, "the least number of calls that a ratio is taken over, none of them exhausted");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().starts_with("refused by the circuit breaker: the circuit is open"), "{refused}");
    let arrivals = std::iter::from_fn(|| served.arrivals.try_recv().ok()).count();
    assert_eq!(arrivals, 40, "an open breaker sends nothing");
}

/// HTTP/2 without tonic: refuses the first stream, and answers the others with `NOT_FOUND`.
async fn serve_refusing() -> (Endpoint, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let streams = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&streams);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        while let Some(Ok((_, mut stream))) = connection.accept().await {
            if seen.fetch_add(1, Relaxed) == 0 {
                stream.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                let answer =
                    http::Response::builder().header("content-type", "application/grpc").header("grpc-status", "5");
                drop(stream.send_response(answer.body(()).unwrap(), true).unwrap());
            }
        }
    });
    (endpoint, streams)
}

#[tokio::test]
async fn a_stream_that_was_refused_unseen_is_made_good_although_the_request_must_not_be_repeated() {
    let (endpoint, streams) = serve_refusing().await;

    let answer = protected(&endpoint)(false).await.unwrap_err();

    assert_eq!((answer.code(), streams.load(Relaxed)), (Code::NotFound, 2));
}

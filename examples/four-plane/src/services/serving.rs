//! What every role has: listeners, health, metrics, the headers that every answer carries, and an end without loss.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, StatusCode, header};
use seawall::health::{Answer, Health, HealthReport, Registry};
use seawall::http::{ReceiveDeadlineLayer, RespondLayer};
use seawall::timeout::{TimeoutConfig, TimeoutLayer};
use seawall_core::{Clock as _, MonotonicClock, Timestamp, WrapErrorLayer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceBuilder;

use super::faults::Faults;
use super::figures;
use super::listening::{FaultyListener, FaultyStream, Port, listen};
use super::metrics::{self, RequestMetrics};
use super::peer::Peer;
use super::problem::{self, Problem};
use crate::link::{Ending, Instance, Role};

/// Names the instance that made an answer; those that pass it on leave it as it is.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// Names the fallback that made an answer.
pub const DEGRADED: HeaderName = HeaderName::from_static("x-seawall-degraded");

/// How long a request may take at most, whatever its caller says: more than the edge allows a gateway.
const LIMIT: Duration = Duration::from_secs(10);

/// Marks an answer that says that a request was shed, in a response's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Shed;

/// One instance as it answers HTTP.
#[derive(Debug, Clone)]
pub struct Serving {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: HeaderValue,
    metrics: RequestMetrics,
    faults: Faults,
    health: Health,
}

impl Serving {
    /// For this instance, with these checks, which run from here on. From the announcement of its end on it is not ready.
    pub fn new(instance: &Instance, checks: Registry) -> Self {
        let name = instance.name();
        let metrics = RequestMetrics::of(instance.role, &name);
        let faults = Faults::new(instance.faults.clone(), instance.role, instance.number);
        // Role and number are letters, digits and a slash.
        let name = HeaderValue::try_from(name).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let health = checks.spawn(|check| {
            tokio::spawn(check);
        });
        let (leaving, ending) = (health.clone(), instance.ending.clone());
        tokio::spawn(async move {
            comes_to(Ending::Announced, ending).await;
            leaving.drain();
        });
        Self { shared: Arc::new(Shared { name, metrics, faults, health }) }
    }

    /// The instance's request metrics.
    pub fn metrics(&self) -> &RequestMetrics {
        &self.shared.metrics
    }

    /// The instance's faults.
    pub(crate) fn faults(&self) -> Faults {
        self.shared.faults.clone()
    }

    /// Routes as they are served: every answer signed, no request worked for longer than its caller waits, counted,
    /// subject to the instance's faults, unknown paths answered.
    ///
    /// # Errors
    /// Never: the limit is a constant that is allowed.
    pub fn observed(&self, routes: Router) -> anyhow::Result<Router> {
        let received = ReceiveDeadlineLayer::new(LIMIT);
        // The limit is what the callers' deadlines are cut to, so that they alone end a request.
        let until = TimeoutLayer::with_env(TimeoutConfig::total(Duration::MAX)?, seawall::http::env());
        figures::of_deadlines(&received);
        let deadlines =
            ServiceBuilder::new().layer(RespondLayer::new()).layer(received).layer(until).layer(WrapErrorLayer::new());
        let routes = routes
            .fallback(problem::not_found)
            .method_not_allowed_fallback(problem::method_not_allowed)
            .layer(middleware::from_fn_with_state(self.clone(), observe))
            .layer(deadlines)
            .layer(middleware::map_response_with_state(self.clone(), sign));
        Ok(routes)
    }

    /// `/health`, `/health/live`, `/health/ready` and `/metrics`.
    pub fn admin(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .route("/metrics", get(prometheus))
            .with_state(self.clone())
    }
}

/// Counts a request also when its caller goes away in the middle.
struct Counted<'a> {
    metrics: &'a RequestMetrics,
    since: Timestamp,
    outcome: &'static str,
}

impl<'a> Counted<'a> {
    fn start(metrics: &'a RequestMetrics) -> Self {
        metrics.entered();
        Self { metrics, since: MonotonicClock.now(), outcome: "error" }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.left();
        self.metrics.finished(self.outcome, MonotonicClock.now().since(self.since));
    }
}

async fn observe(State(serving): State<Serving>, request: Request, next: Next) -> Response {
    let shared = &serving.shared;
    let mut counted = Counted::start(&shared.metrics);
    let response = if shared.faults.strike().await {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a fault was injected here").into_response()
    } else {
        next.run(request).await
    };
    counted.outcome = outcome(&response);
    response
}

async fn sign(State(serving): State<Serving>, mut response: Response) -> Response {
    response.headers_mut().entry(SERVED_BY).or_insert_with(|| serving.shared.name.clone());
    response
}

/// A quota that is used up is a refusal, wherever it was found out; any other client error is an answer.
fn outcome(response: &Response) -> &'static str {
    if response.extensions().get::<Shed>().is_some() || response.status() == StatusCode::TOO_MANY_REQUESTS {
        "shed"
    } else if response.status().is_server_error() {
        "error"
    } else if response.headers().contains_key(DEGRADED) {
        "degraded"
    } else {
        "ok"
    }
}

/// The registry of an instance's health checks, empty.
pub fn checks(instance: &Instance) -> Registry {
    Registry::new().with_service(instance.name(), env!("CARGO_PKG_VERSION"))
}

async fn health(State(serving): State<Serving>) -> Response {
    probed(&serving, HealthReport::answer).await
}

async fn live(State(serving): State<Serving>) -> Response {
    probed(&serving, HealthReport::live_answer).await
}

async fn ready(State(serving): State<Serving>) -> Response {
    probed(&serving, HealthReport::ready_answer).await
}

/// A process that is to hang does not answer its probes either.
async fn probed(serving: &Serving, render: fn(&HealthReport) -> Answer) -> Response {
    serving.shared.faults.hang().await;
    let answer = render(&serving.shared.health.report());
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let headers = [(header::CONTENT_TYPE, Answer::CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    (status, headers, answer.body).into_response()
}

async fn prometheus() -> Response {
    figures::read();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::render()).into_response()
}

/// A free loopback port.
///
/// # Errors
/// When there is none.
pub async fn loopback_listener() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// Completes when the instance is to be drained.
pub async fn drained(ending: watch::Receiver<Ending>) {
    comes_to(Ending::Draining, ending).await;
}

async fn comes_to(step: Ending, mut ending: watch::Receiver<Ending>) {
    // An error means that nobody is left who could say so: the parent is gone.
    let _told = ending.wait_for(|ending| *ending >= step).await;
}

/// Serves a role's routes beside health and metrics, from one listener (the edge: two), until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: &Instance, serving: &Serving, routes: Router) -> anyhow::Result<()> {
    let observed = serving.observed(routes)?;
    if instance.role == Role::Edge {
        let (public, admin) = (listen(instance.listen, Port::Shared)?, loopback_listener().await?);
        instance.report.listening(public.local_addr()?, admin.local_addr()?, None);
        let public = FaultyListener::new(public, Port::Shared, serving.faults())?;
        let admin = FaultyListener::new(admin, Port::Own, serving.faults())?;
        // Tells what is under way for as long as anything is.
        tokio::select! {
            served = answer(public, observed, instance.ending.clone()) => served?,
            failed = axum::serve(admin, serving.admin()) => failed?,
        }
    } else {
        let listener = FaultyListener::new(listen(instance.listen, Port::Own)?, Port::Own, serving.faults())?;
        instance.report.listening(listener.address(), listener.address(), None);
        answer(listener, serving.admin().fallback_service(observed), instance.ending.clone()).await?;
    }
    Ok(())
}

/// Answers until drained, then finishes what is under way.
///
/// # Errors
/// Does not fail, as far as the listener does not.
pub(crate) async fn answer(
    listener: FaultyListener,
    routes: Router,
    ending: watch::Receiver<Ending>,
) -> std::io::Result<()> {
    axum::serve(listener, routes.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(drained(ending))
        .await
}

impl axum::serve::Listener for FaultyListener {
    type Io = FaultyStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (FaultyStream, SocketAddr) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address())
    }
}

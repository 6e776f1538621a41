//! The edge role: the public port, in front of the gateways.
//!
//! Requests pass the load shedder, where they may wait for a moment, occupy a worker for its service time, and go on to a gateway. The shedder looks at this
//! process alone: that a service or the database is slow is the gateway's matter, whose breakers and bulkheads are nearer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use seawall::http::HttpAttributes;
use seawall::load_shedder::{LimitRange, LoadShedderConfig, QueueingLoadShedderLayer, QueueingShedderConfig};
use seawall_core::{Attributes as _, ByResult, Env, Error, MetricsObserver, MonotonicClock, NoAttributes, Pattern};

use super::client::Client;
use super::figures;
use super::gateway::collected;
use super::problem;
use super::serving::{self, Serving, Shed};
use super::upstream::{Protection, RetryOn, Upstream};
use super::workers::{WORKERS, Workers};
use crate::link::{Instance, Role};

/// Longer than a gateway takes with all its attempts.
const TO_GATEWAY: Protection =
    Protection { total: Duration::from_secs(6), attempt: None, retry: RetryOn::None, places: 1024 };

/// The lowest, first and highest limit of requests at the workers.
const LIMIT: (u32, u32, u32) = (WORKERS, 2 * WORKERS, 1_000);
/// How long requests wait for the workers while the queue has not been empty for long, and otherwise: about one service
/// time under overload, three to get over a burst. With those at the workers an answer then takes at most four times as
/// long as from an idle process.
const DELAY: (Duration, Duration) = (Duration::from_millis(15), Duration::from_millis(45));

/// What the edge serves with.
#[derive(Debug, Clone)]
pub struct Edge {
    shedder: Shedder,
    workers: Arc<Workers>,
    gateways: Upstream,
}

type Shedder = QueueingLoadShedderLayer<Env<MonotonicClock, ByResult, NoAttributes, MetricsObserver>>;

impl Edge {
    /// From these parts.
    ///
    /// # Errors
    /// When the limits of the shedder make no range.
    pub fn new(workers: Workers, gateways: Upstream) -> anyhow::Result<Self> {
        super::metrics::install();
        let env = Env::new().with_observer(MetricsObserver::new(Pattern::LoadShedder, "edge"));
        let range = LimitRange::new(LIMIT.0, LIMIT.1, LIMIT.2)?;
        let config = LoadShedderConfig::default().with_range(range);
        let shedder = Shedder::with_env(QueueingShedderConfig::new(config).with_delay(DELAY.0, DELAY.1)?, env);
        Ok(Self { shedder, workers: Arc::new(workers), gateways })
    }
}

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let serving = Serving::new(&instance, serving::checks(&instance));
    let gateways = Upstream::new(Client::default(), &instance, Role::Gateway, &TO_GATEWAY)?;
    let edge = Edge::new(Workers::new(instance.capacity), gateways)?;
    let (shedder, metrics) = (edge.shedder.clone(), serving.metrics().clone());
    figures::before_scrape(move || metrics.limited_to(shedder.gate().limit().into()));
    serving::serve(&instance, &serving, routes(edge)).await
}

/// Every path, passed on to a gateway.
pub fn routes(edge: Edge) -> Router {
    Router::new().route("/", any(pass)).route("/{*rest}", any(pass)).with_state(edge)
}

async fn pass(State(edge): State<Edge>, request: Request) -> Response {
    let context = HttpAttributes.context(&request);
    let work = async {
        edge.workers.work().await;
        Ok::<_, Infallible>(())
    };
    if let Err(Error::Rejected(rejection)) = edge.shedder.run_with(context, work).await {
        let mut response = problem::of_rejection(rejection);
        response.extensions_mut().insert(Shed);
        return response;
    }
    let request = match collected(request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    match edge.gateways.call(request).await {
        Ok(answer) => answer.map(Body::from),
        Err(error) => problem::of_call(&error),
    }
}

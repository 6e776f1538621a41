//! The edge role: the public port, in front of the gateways.
//!
//! Requests pass the load shedder, where they may wait for a moment, occupy a worker for its service time, and go on to a
//! gateway. The shedder looks at this process alone: that a service or the database is slow is the gateway's matter, whose
//! breakers and bulkheads are nearer. Who goes first is decided here, by route and header, and told to
//! everybody behind, as is where a request came from.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use metrics::gauge;
use seawall::http::HttpAttributes;
use seawall::load_shedder::{
    CgroupReader, LimitRange, LoadShedderConfig, Pressure, QueueingLoadShedderLayer, QueueingShedderConfig,
};
use seawall_core::{
    Attributes as _, ByResult, Criticality, Env, Error, MetricsObserver, MonotonicClock, NoAttributes, Pattern,
};

use super::client::Client;
use super::criticality::{self, Criticalities, name};
use super::figures;
use super::gateway::collected;
use super::peer;
use super::problem;
use super::serving::{self, Serving, Shed};
use super::upstream::{Protection, RetryOn, Upstream};
use super::workers::{WORKERS, Workers};
use crate::link::{Instance, PressureMode, ProtectionMode, Role};

/// Longer than a gateway takes with all its attempts.
const TO_GATEWAY: Protection =
    Protection { total: Duration::from_secs(6), attempt: None, retry: RetryOn::None, places: 1024, retries: 20 };

/// The lowest, first and highest limit of requests at the workers.
const LIMIT: (u32, u32, u32) = (WORKERS, 2 * WORKERS, 1_000);
/// What the edge serves with.
#[derive(Debug, Clone)]
pub struct Edge {
    shedder: Option<Shedder>,
    criticalities: Criticalities,
    workers: Arc<Workers>,
    gateways: Upstream,
}

type Shedder = QueueingLoadShedderLayer<Env<MonotonicClock, ByResult, NoAttributes, MetricsObserver>>;

impl Edge {
    /// From these parts, for this instance.
    ///
    /// # Errors
    /// When the limits of the shedder make no range.
    pub fn new(instance: &Instance, workers: Workers, gateways: Upstream) -> anyhow::Result<Self> {
        super::metrics::install();
        let env = Env::new().with_observer(MetricsObserver::new(Pattern::LoadShedder, "edge"));
        let range = LimitRange::new(LIMIT.0, LIMIT.1, LIMIT.2)?;
        let config = LoadShedderConfig::default().with_range(range);
        let on = instance.options.protection == ProtectionMode::On;
        let shedder = on.then(|| Shedder::with_env(QueueingShedderConfig::new(config), env));
        let criticalities = Criticalities::new(instance.options.trust_criticality);
        Ok(Self { shedder, criticalities, workers: Arc::new(workers), gateways })
    }
}

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let serving = Serving::new(&instance, serving::checks(&instance));
    let gateways = Upstream::new(Client::default(), &instance, Role::Gateway, &TO_GATEWAY)?;
    let edge = Edge::new(&instance, Workers::new(instance.capacity), gateways)?;
    if let Some(shedder) = edge.shedder.clone().filter(|_| instance.options.pressure == PressureMode::On) {
        let report = instance.report.clone();
        tokio::spawn(Pressure::default().watch(MonotonicClock, CgroupReader::new(), move |floor| {
            shedder.gate().shed_below(floor);
            let text = match floor {
                Criticality::Sheddable => "the process is well again".to_owned(),
                floor => format!("the process is under pressure: what is worth less than {} is refused", name(floor)),
            };
            report.event("warn", text);
        }));
    }
    if let Some(shedder) = edge.shedder.clone() {
        let metrics = serving.metrics().clone();
        figures::of("edge", &shedder);
        let waiting = gauge!("four_plane_waiting", "service" => Role::Edge.name(), "instance" => instance.name());
        figures::before_scrape(move || {
            metrics.limited_to(shedder.gate().limit().into());
            waiting.set(u32::try_from(shedder.gate().queued()).map_or(f64::from(u32::MAX), f64::from));
        });
    }
    serving::serve(&instance, &serving, routes(edge)).await
}

/// Every path, passed on to a gateway.
pub fn routes(edge: Edge) -> Router {
    Router::new().route("/", any(pass)).route("/{*rest}", any(pass)).with_state(edge)
}

async fn pass(State(edge): State<Edge>, mut request: Request) -> Response {
    peer::write(&mut request);
    let criticality = edge.criticalities.of(&request);
    criticality::write(criticality, request.headers_mut());
    let context = HttpAttributes.context(&request);
    let work = async {
        edge.workers.work().await;
        Ok::<_, Infallible>(())
    };
    let worked = match &edge.shedder {
        Some(shedder) => shedder.run_with(context, work).await,
        None => work.await.map_err(Error::Inner),
    };
    if let Err(Error::Rejected(rejection)) = worked {
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

//! The edge role: the public port, in front of the gateways.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::StatusCode;

use super::client::Client;
use super::gateway::collected;
use super::instances::Instances;
use super::problem::Problem;
use super::serving::{self, Serving};
use super::upstream::Upstream;
use super::workers::Workers;
use crate::link::{Instance, Role};

/// What the edge serves with.
#[derive(Debug, Clone)]
pub struct Edge {
    workers: Arc<Workers>,
    gateways: Upstream,
}

impl Edge {
    /// From these parts.
    pub fn new(workers: Workers, gateways: Upstream) -> Self {
        Self { workers: Arc::new(workers), gateways }
    }
}

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let serving = Serving::new(&instance);
    let gateways = Upstream::new(Client::default(), Instances::new(instance.topology.clone(), Role::Gateway));
    serving::serve(&instance, &serving, routes(Edge::new(Workers::new(instance.capacity), gateways))).await
}

/// Every path, passed on to a gateway.
pub fn routes(edge: Edge) -> Router {
    Router::new().route("/", any(pass)).route("/{*rest}", any(pass)).with_state(edge)
}

async fn pass(State(edge): State<Edge>, request: Request) -> Response {
    let request = match collected(request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    edge.workers.work().await;
    match edge.gateways.call(request).await {
        Ok(answer) => answer.map(Body::from),
        Err(error) => Problem::new(StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

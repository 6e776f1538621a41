//! The gateway role: passes requests on to the services, and stands in for them when they cannot answer.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

use super::client::Client;
use super::instances::Instances;
use super::last_good::LastGood;
use super::problem::Problem;
use super::serving::{self, Serving};
use super::upstream::Upstream;
use crate::link::{Instance, Role};

/// The largest request body that is passed on: 1 MiB.
const MAX_BODY: usize = 1 << 20;

/// One service as the gateway calls it.
#[derive(Debug, Clone)]
pub struct Route {
    upstream: Upstream,
    last_good: LastGood,
}

impl Route {
    /// To this service, with its last good answers as fallback.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, last_good: LastGood::default() }
    }
}

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let serving = Serving::new(&instance);
    let client = Client::default();
    let route = |role| Route::new(Upstream::new(client.clone(), Instances::new(instance.topology.clone(), role)));
    serving::serve(&instance, &serving, routes(route(Role::Catalog), route(Role::Recommendation))).await
}

/// The gateway's paths.
pub fn routes(catalog: Route, recommendation: Route) -> Router {
    Router::new()
        .route("/catalog/{*rest}", any(pass).with_state(catalog))
        .route("/recommendations/{user}", any(pass).with_state(recommendation))
}

async fn pass(State(route): State<Route>, request: Request) -> Response {
    let request = match collected(request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let key = LastGood::key(&request);
    let answer = route.upstream.call(request).await;
    let problem = match answer {
        Ok(answer) if !answer.status().is_server_error() => {
            if let Some(key) = key {
                route.last_good.keep(key, &answer);
            }
            return answer.map(Body::from);
        }
        Ok(answer) => answer.map(Body::from),
        Err(error) => Problem::new(StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    key.and_then(|key| route.last_good.answer(&key)).unwrap_or(problem)
}

/// A request with its whole body, so that it can be sent more than once.
pub(super) async fn collected(request: Request) -> Result<http::Request<Bytes>, Problem> {
    let (parts, body) = request.into_parts();
    let long = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_long = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 1 MiB");
    if long.is_some_and(|long| long > MAX_BODY) {
        return Err(too_long());
    }
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| too_long())?;
    Ok(http::Request::from_parts(parts, body.to_bytes()))
}

//! The gateway role: passes requests on to the services, and stands in for them when they cannot answer.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

use super::catalog::Popular;
use super::client::Client;
use super::last_good::{self, LastGoodLayer};
use super::problem::{self, Problem};
use super::recommendation::{Basis, Recommended};
use super::serving::{self, DEGRADED, Serving};
use super::upstream::{Protection, RetryOn, Upstream};
use crate::link::{Instance, ProtectionMode, Role};

/// The largest request body that is passed on: 1 MiB.
const MAX_BODY: usize = 1 << 20;

/// Calls under way to one service at most.
const PLACES: u8 = 64;

/// Per service: 5 s in all. An attempt may take three times the 99th percentile, but no less than a service needs to find
/// out that its database does not answer, and no more than leaves time for another.
pub(crate) const TO_SERVICE: Protection = Protection {
    total: Duration::from_secs(5),
    attempt: Some((Duration::from_millis(400), Duration::from_secs(2))),
    retry: RetryOn::NoneOrFailure,
    places: PLACES as usize,
};

/// One service as the gateway calls it.
#[derive(Debug, Clone)]
pub struct Route {
    upstream: Upstream,
    last_good: LastGoodLayer,
}

impl Route {
    /// To this service, with its last good answers as fallback.
    pub fn new(upstream: Upstream, name: &'static str) -> Self {
        Self { upstream, last_good: last_good::layer(name) }
    }

    /// The service's answer, or else the last good one to the same request, or else the failure.
    async fn call(&self, request: http::Request<Bytes>) -> Result<Response, Response> {
        let key = last_good::key(&request);
        match last_good::answer(&self.last_good, key, self.upstream.call(request)).await {
            Ok(answer) if answer.status().is_server_error() => Err(answer.map(Body::from)),
            Ok(answer) => Ok(answer.map(Body::from)),
            Err(error) => Err(problem::of_call(&error)),
        }
    }
}

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let serving = Serving::new(&instance, serving::checks(&instance));
    let client = Client::default();
    let route = |role| -> anyhow::Result<Route> {
        Ok(Route::new(Upstream::new(client.clone(), &instance, role, &TO_SERVICE)?, role.name()))
    };
    let routes = routes(route(Role::Catalog)?, route(Role::Recommendation)?);
    if instance.options.protection == ProtectionMode::On {
        serving.metrics().limited_to(2.0 * f64::from(PLACES));
    }
    serving::serve(&instance, &serving, routes).await
}

/// The gateway's paths.
pub fn routes(catalog: Route, recommendation: Route) -> Router {
    Router::new()
        .route("/catalog/{*rest}", any(to_catalog).with_state(catalog.clone()))
        .route("/recommendations/{user}", any(to_recommendation).with_state((recommendation, catalog)))
}

async fn to_catalog(State(catalog): State<Route>, request: Request) -> Response {
    match collected(request).await {
        Ok(request) => catalog.call(request).await.unwrap_or_else(|failure| failure),
        Err(problem) => problem.into_response(),
    }
}

/// What is popular in the catalog stands in for recommendations that cannot be had.
async fn to_recommendation(
    State((recommendation, catalog)): State<(Route, Route)>,
    Path(user): Path<String>,
    request: Request,
) -> Response {
    let request = match collected(request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let popular = (request.method() == Method::GET).then(|| popular_instead_of(&request)).flatten();
    let failure = match recommendation.call(request).await {
        Ok(answer) => return answer,
        Err(failure) => failure,
    };
    match popular {
        Some(request) => popular_for(user, &catalog, request).await.unwrap_or(failure),
        None => failure,
    }
}

/// The same question to the catalog, with the same query.
fn popular_instead_of(request: &http::Request<Bytes>) -> Option<http::Request<Bytes>> {
    let query = request.uri().query().unwrap_or_default();
    http::Request::get(format!("/catalog/popular?{query}")).body(Bytes::new()).ok()
}

async fn popular_for(user: String, catalog: &Route, request: http::Request<Bytes>) -> Option<Response> {
    let answer = catalog.upstream.call(request).await.ok().filter(|answer| answer.status().is_success())?;
    let Popular { items } = serde_json::from_slice(answer.body()).ok()?;
    let mut response = Json(Recommended { user, basis: Basis::Popular, items }).into_response();
    response.headers_mut().insert(DEGRADED, HeaderValue::from_static("catalog"));
    Some(response)
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

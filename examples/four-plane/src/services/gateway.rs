//! The gateway role: passes requests on to the services, and stands in for them when they cannot answer.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::percent_decode_str;
use seawall::fallback::{Alternative, Cause, Chain, Combine as _, FallbackLayer, Named, Nothing, OtherService};
use seawall::http::{CRITICALITY_HEADER, Http, HttpAttributes, MarkDegraded};
use seawall_core::{Env, Error, MetricsObserver, MonotonicClock, Pattern};
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::catalog::Popular;
use super::client::{CallError, Client};
use super::last_good::{self, LastAnswers};
use super::limits::Limits;
use super::problem::{self, Problem};
use super::recommendation::{Basis, Recommended};
use super::serving::{self, Serving};
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
    retries: 20,
};
/// One call in ten is for recommendations: so are the retries.
const TO_RECOMMENDATION: Protection = Protection { retries: 4, ..TO_SERVICE };

/// What is kept of a request for those who answer in the service's place.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Of a GET; other methods ask for something to be done, which nobody else can do.
    page: Option<PathAndQuery>,
    criticality: Option<HeaderValue>,
}

impl Asked {
    fn of(request: &http::Request<Bytes>) -> Self {
        Self {
            page: (request.method() == Method::GET).then(|| request.uri().path_and_query().cloned()).flatten(),
            criticality: request.headers().get(CRITICALITY_HEADER).cloned(),
        }
    }

    fn key(&self) -> Option<String> {
        self.page.as_ref().map(ToString::to_string)
    }
}

/// Stands in for a page: the last good one.
pub type StaleAnswer = LastAnswers<Asked>;
/// Stands in for recommendations: the last good ones, else what is popular in the catalog.
pub type StaleOrPopular = Chain<StaleAnswer, Named<OtherService<PopularService, fn(&Asked) -> Asked>>>;
type PopularService = BoxCloneSyncService<Asked, http::Response<Bytes>, NotPopular>;

/// Why what is popular cannot stand in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPopular {
    /// It was not asked for a page.
    #[error("nothing is popular in its place")]
    NotAPage,
    /// The catalog does not answer.
    #[error("the catalog does not answer")]
    Call(#[source] Error<CallError>),
    /// The catalog does not know either.
    #[error("the catalog answers {status}")]
    Status {
        /// What it answers.
        status: StatusCode,
    },
    /// The catalog answers something else than a list.
    #[error("the catalog answers something else than a list")]
    Content(#[source] serde_json::Error),
}

type Observed = Env<MonotonicClock, Http, HttpAttributes, MetricsObserver>;
type Failed = fn(Cause, Result<&http::Response<Bytes>, &Error<CallError>>) -> bool;

/// One service as the gateway calls it, and what stands in for it.
#[derive(Debug)]
pub struct Route<A: 'static> {
    upstream: Upstream,
    fallback: FallbackLayer<A, Nothing, Observed, Failed, MarkDegraded>,
}

impl<A> Clone for Route<A> {
    fn clone(&self) -> Self {
        Self { upstream: self.upstream.clone(), fallback: self.fallback.clone() }
    }
}

impl<A> Route<A> {
    fn new(name: &'static str, upstream: Upstream, alternative: A) -> Self {
        let env = seawall::http::env().with_observer(MetricsObserver::new(Pattern::Fallback, name));
        let failed: Failed = |_, outcome| outcome.map_or(true, |answer| answer.status().is_server_error());
        Self { upstream, fallback: FallbackLayer::with_env(alternative, env).with_when(failed).with_mark(MarkDegraded) }
    }

    /// The service's answer, or else that of what stands in for it, or else the failure.
    async fn answer(&self, request: Request) -> Response
    where
        A: Alternative<Asked, http::Response<Bytes>, Error<CallError>, Error: Send + Sync + 'static>,
    {
        let request = match collected(request).await {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        };
        match self.fallback.run_carrying(Asked::of(&request), self.upstream.call(request)).await {
            Ok(answer) => answer.map(Body::from),
            Err(error) => problem::of_call(error.primary()),
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
    let upstream = |role, protection| Upstream::new(client.clone(), &instance, role, protection);
    let routes = routes(upstream(Role::Catalog, &TO_SERVICE)?, upstream(Role::Recommendation, &TO_RECOMMENDATION)?)?;
    if instance.options.protection == ProtectionMode::On {
        serving.metrics().limited_to(2.0 * f64::from(PLACES));
    }
    let routes = Limits::new(&instance)?.before(routes)?;
    serving::serve(&instance, &serving, routes).await
}

/// The gateway's paths.
///
/// # Errors
/// Never: what stands in is bounded by constants that are allowed.
pub fn routes(catalog: Upstream, recommendation: Upstream) -> anyhow::Result<Router> {
    let stale = || anyhow::Ok(last_good::answers(Asked::key)?);
    let from_catalog = catalog.clone();
    let popular = service_fn(move |asked| popular_for(from_catalog.clone(), asked));
    let popular: PopularService = BoxCloneSyncService::new(popular);
    let popular = OtherService::new(popular, Asked::clone as fn(&Asked) -> Asked).named("catalog");
    let recommendation: Route<StaleOrPopular> = Route::new("recommendation", recommendation, stale()?.then(popular));
    let catalog: Route<StaleAnswer> = Route::new("catalog", catalog, stale()?);
    Ok(Router::new()
        .route("/catalog/{*rest}", any(to_catalog).with_state(catalog))
        .route("/recommendations/{user}", any(to_recommendation).with_state(recommendation)))
}

async fn to_catalog(State(route): State<Route<StaleAnswer>>, request: Request) -> Response {
    route.answer(request).await
}

async fn to_recommendation(State(route): State<Route<StaleOrPopular>>, request: Request) -> Response {
    route.answer(request).await
}

/// The same question to the catalog, with the same query.
async fn popular_for(catalog: Upstream, asked: Asked) -> Result<http::Response<Bytes>, NotPopular> {
    let page = asked.page.ok_or(NotPopular::NotAPage)?;
    let user = page.path().rsplit('/').next().unwrap_or_default();
    let user = percent_decode_str(user).decode_utf8_lossy().into_owned();
    let request = http::Request::get(format!("/catalog/popular?{}", page.query().unwrap_or_default()));
    let mut request = request.body(Bytes::new()).map_err(|_| NotPopular::NotAPage)?;
    request.headers_mut().extend(asked.criticality.map(|it| (HeaderName::from_static(CRITICALITY_HEADER), it)));
    let answer = catalog.call(request).await.map_err(NotPopular::Call)?;
    if !answer.status().is_success() {
        return Err(NotPopular::Status { status: answer.status() });
    }
    let Popular { items } = serde_json::from_slice(answer.body()).map_err(NotPopular::Content)?;
    let body = serde_json::to_vec(&Recommended { user, basis: Basis::Popular, items }).map_err(NotPopular::Content)?;
    let mut answer = http::Response::new(Bytes::from(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_to_a_service_has_the_documents_five_seconds_in_all() {
        assert_eq!((TO_SERVICE.total, TO_SERVICE.places), (Duration::from_secs(5), 64));
    }
}

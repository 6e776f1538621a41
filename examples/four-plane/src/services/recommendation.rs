//! The recommendation role: what others saw together with what a user saw.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use seawall::fallback::{ByClass, Chain, Combine as _, Degraded, FallbackLayer, Named, Nothing, OtherService};
use seawall::http::CRITICALITY_HEADER;
use seawall_core::{ByResult, Env, Error, MetricsObserver, MonotonicClock, NoAttributes, Pattern};
use serde::{Deserialize, Serialize};
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::cached::{CacheAside, Origin};
use super::catalog::{ListQuery, Popular, checked, not_a_query};
use super::client::{CallError, Client};
use super::database::Database;
use super::guard::Refusal;
use super::problem::Problem;
use super::serving::{self, DEGRADED};
use super::state_side::StateSide;
use super::upstream::{Protection, RetryOn, Upstream};
use super::user;
use crate::link::{Instance, Role};
use crate::state::{Counted, StateError, cache};

/// What was made last for everybody, kept for when the database does not answer.
const POPULAR_KEY: &str = "four-plane:1:recommendation:popular";

/// The last resort: soon or not at all.
const TO_CATALOG: Protection = Protection {
    total: Duration::from_secs(1),
    attempt: Some((Duration::from_millis(300), Duration::from_secs(1))),
    retry: RetryOn::NoneOrFailure,
    places: 32,
    retries: 4,
};

/// What recommendations are made from.
#[derive(Debug, Clone)]
pub struct Recommendation {
    stores: Stores,
    /// Stands in for the database: what is popular, else what the catalog says of it.
    for_known: FallbackLayer<Chain<Source<Refusal>, Source<NotListed>>, Nothing, StateEnv, ByClass, Naming>,
    /// Stands in for what is popular: what the catalog says of it.
    for_strangers: FallbackLayer<Source<NotListed>, Nothing, StateEnv, ByClass, Naming>,
}

type StateEnv = Env<MonotonicClock, ByResult, NoAttributes, MetricsObserver>;
type Naming = fn(&mut Found, &Degraded);
type Source<E> = Named<OtherService<BoxCloneSyncService<Ask, Found, E>, fn(&Ask) -> Ask>>;

/// What is wanted.
#[derive(Debug, Clone)]
struct Ask {
    limit: usize,
    criticality: Option<HeaderValue>,
}

/// What was found, where, and who stood in.
#[derive(Debug)]
struct Found {
    basis: Basis,
    items: Vec<Counted>,
    origin: Option<Origin>,
    source: Option<&'static str>,
}

/// Why the catalog cannot stand in.
#[derive(Debug, thiserror::Error)]
enum NotListed {
    #[error("the catalog does not answer")]
    Call(#[source] Error<CallError>),
    #[error("the catalog answers something else than a list")]
    Content,
}

/// What an answer is based on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a client tells all of them apart")]
pub enum Basis {
    /// What was seen together with what the user saw.
    SeenTogether,
    /// What is popular with everybody.
    Popular,
}

/// An answer.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub struct Recommended {
    /// For whom.
    pub user: String,
    /// Why these.
    pub basis: Basis,
    /// Best first.
    pub items: Vec<Counted>,
}

impl Recommendation {
    /// From these parts.
    pub fn new(database: Arc<Database>, cache: Arc<CacheAside>, catalog: &Upstream) -> Self {
        let stores = Stores { database, cache };
        let (popular, same) = (stores.clone(), Ask::clone as fn(&Ask) -> Ask);
        let popular = BoxCloneSyncService::new(service_fn(move |ask| popular.clone().popular(ask)));
        let popular = OtherService::new(popular, same).named("popular");
        let listed = || {
            let catalog = catalog.clone();
            let listed = BoxCloneSyncService::new(service_fn(move |ask| listed_by(catalog.clone(), ask)));
            OtherService::new(listed, same).named("catalog")
        };
        let env = |name| Env::new().with_observer(MetricsObserver::new(Pattern::Fallback, name));
        let naming: Naming = |found, degraded| found.source = Some(degraded.source);
        Self {
            for_known: FallbackLayer::with_env(popular.then(listed()), env("database")).with_mark(naming),
            for_strangers: FallbackLayer::with_env(listed(), env("popular")).with_mark(naming),
            stores,
        }
    }
}

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let StateSide { serving, database, cache } = StateSide::of(&instance)?;
    let catalog = Upstream::new(Client::default(), &instance, Role::Catalog, &TO_CATALOG)?;
    serving::serve(&instance, &serving, routes(Recommendation::new(database, cache, &catalog))).await
}

/// The recommendation service's path.
pub fn routes(recommendation: Recommendation) -> Router {
    Router::new().route("/recommendations/{user}", get(recommend)).with_state(recommendation)
}

async fn recommend(
    State(service): State<Recommendation>,
    Path(user): Path<String>,
    query: Result<Query<ListQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !user::is_name(&user) {
        return Err(Problem::not_allowed("the user", &user, "1 to 64 visible ASCII characters"));
    }
    let limit = checked(query.map_err(not_a_query)?.0.limit)?;
    let ask = Ask { limit, criticality: headers.get(CRITICALITY_HEADER).cloned() };
    let nobody = || {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "neither database, cache nor catalog answers")
            .with_retry_after(Duration::from_secs(1))
    };
    let known = service.stores.seen_together(&user, limit);
    let mut found = service.for_known.run_carrying(ask.clone(), known).await.map_err(|_| nobody())?;
    if found.items.is_empty() && found.basis == Basis::SeenTogether {
        // Nothing is known of this user: what is popular is the right answer then, not a fallback.
        let popular = service.stores.clone().popular(ask.clone());
        found = service.for_strangers.run_carrying(ask, popular).await.map_err(|_| nobody())?;
    }
    let Found { basis, items, origin, source } = found;
    let mut response = Json(Recommended { user, basis, items }).into_response();
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        origin.write(headers);
    }
    headers.extend(source.map(|source| (DEGRADED, HeaderValue::from_static(source))));
    Ok(response)
}

/// Database and cache.
#[derive(Debug, Clone)]
struct Stores {
    database: Arc<Database>,
    cache: Arc<CacheAside>,
}

impl Stores {
    async fn seen_together(&self, user: &str, limit: usize) -> Result<Found, Refusal> {
        let items = self.database.recommended(user, limit).await?;
        Ok(Found { basis: Basis::SeenTogether, items, origin: None, source: None })
    }

    /// What is popular, as the cache has it, or else the database.
    async fn popular(self, ask: Ask) -> Result<Found, Refusal> {
        let make = async {
            let items = self.database.popular(super::catalog::MAX_LIMIT).await?;
            Ok::<_, Refusal>(serde_json::to_vec(&items).ok().map(Bytes::from))
        };
        let (items, origin) = self.cache.through(POPULAR_KEY, cache::TTL, make).await?;
        let mut items: Vec<Counted> =
            items.and_then(|items| serde_json::from_slice(&items).ok()).ok_or_else(unreadable)?;
        items.truncate(ask.limit);
        Ok(Found { basis: Basis::Popular, items, origin: Some(origin), source: None })
    }
}

fn unreadable() -> Refusal {
    Error::Inner(StateError::Answer { part: "cache", answer: "something else".to_owned(), expected: "a list" })
}

/// What is popular, as the catalog service says.
async fn listed_by(catalog: Upstream, ask: Ask) -> Result<Found, NotListed> {
    let request = Request::get(format!("/catalog/popular?limit={}", ask.limit)).body(Bytes::new());
    let mut request = request.map_err(|_| NotListed::Content)?;
    request.headers_mut().extend(ask.criticality.map(|it| (HeaderName::from_static(CRITICALITY_HEADER), it)));
    let answer = catalog.call(request).await.map_err(NotListed::Call)?;
    let Popular { items } = serde_json::from_slice(answer.body()).map_err(|_| NotListed::Content)?;
    Ok(Found { basis: Basis::Popular, items, origin: None, source: None })
}

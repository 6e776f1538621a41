//! The recommendation role: what others saw together with what a user saw.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::cached::{CacheAside, Origin};
use super::catalog::{ListQuery, Popular, checked, not_a_query};
use super::client::Client;
use super::database::Database;
use super::problem::Problem;
use super::serving::{self, DEGRADED};
use super::state_side::StateSide;
use super::upstream::{Protection, RetryOn, Upstream};
use super::user;
use crate::link::{Instance, Role};
use crate::state::{Counted, cache};

/// What was made last for everybody, kept for when the database does not answer.
const POPULAR_KEY: &str = "four-plane:1:recommendation:popular";

/// The last resort: soon or not at all.
const TO_CATALOG: Protection = Protection {
    total: Duration::from_secs(1),
    attempt: Some((Duration::from_millis(300), Duration::from_secs(1))),
    retry: RetryOn::NoneOrFailure,
    places: 32,
};

/// What recommendations are made from.
#[derive(Debug, Clone)]
pub struct Recommendation {
    database: Arc<Database>,
    cache: Arc<CacheAside>,
    catalog: Upstream,
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
    pub fn new(database: Arc<Database>, cache: Arc<CacheAside>, catalog: Upstream) -> Self {
        Self { database, cache, catalog }
    }
}

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let StateSide { serving, database, cache } = StateSide::of(&instance)?;
    let catalog = Upstream::new(Client::default(), &instance, Role::Catalog, &TO_CATALOG)?;
    serving::serve(&instance, &serving, routes(Recommendation::new(database, cache, catalog))).await
}

/// The recommendation service's path.
pub fn routes(recommendation: Recommendation) -> Router {
    Router::new().route("/recommendations/{user}", get(recommend)).with_state(recommendation)
}

async fn recommend(
    State(service): State<Recommendation>,
    Path(user): Path<String>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    if !user::is_name(&user) {
        return Err(Problem::not_allowed("the user", &user, "1 to 64 visible ASCII characters"));
    }
    let limit = checked(query.map_err(not_a_query)?.0.limit)?;
    let fallback = match service.database.recommended(&user, limit).await {
        Ok(items) if !items.is_empty() => {
            return Ok(Json(Recommended { user, basis: Basis::SeenTogether, items }).into_response());
        }
        // Nothing is known of this user: what is popular is the right answer then, not a fallback.
        Ok(_) => None,
        Err(_) => Some("popular"),
    };
    if let Some((items, origin)) = service.popular(limit).await {
        let mut response = Json(Recommended { user, basis: Basis::Popular, items }).into_response();
        origin.write(response.headers_mut());
        return Ok(degraded(response, fallback));
    }
    let items = service.catalog_popular(limit).await.ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "neither database, cache nor catalog answers")
            .with_retry_after(Duration::from_secs(1))
    })?;
    let response = Json(Recommended { user, basis: Basis::Popular, items }).into_response();
    Ok(degraded(response, Some("catalog")))
}

fn degraded(mut response: Response, source: Option<&'static str>) -> Response {
    if let Some(source) = source {
        response.headers_mut().insert(DEGRADED, HeaderValue::from_static(source));
    }
    response
}

impl Recommendation {
    /// What is popular, as the cache has it, or else the database.
    async fn popular(&self, limit: usize) -> Option<(Vec<Counted>, Origin)> {
        let make = async {
            let items = self.database.popular(super::catalog::MAX_LIMIT).await?;
            Ok::<_, super::guard::Refusal>(serde_json::to_vec(&items).ok().map(Bytes::from))
        };
        let (items, origin) = self.cache.through(POPULAR_KEY, cache::TTL, make).await.ok()?;
        let mut items: Vec<Counted> = serde_json::from_slice(&items?).ok()?;
        items.truncate(limit);
        Some((items, origin))
    }

    /// What is popular, as the catalog service says.
    async fn catalog_popular(&self, limit: usize) -> Option<Vec<Counted>> {
        let request = Request::get(format!("/catalog/popular?limit={limit}")).body(Bytes::new()).ok()?;
        let answer = self.catalog.call(request).await.ok().filter(|answer| answer.status().is_success())?;
        serde_json::from_slice(answer.body()).ok().map(|Popular { items }| items)
    }
}

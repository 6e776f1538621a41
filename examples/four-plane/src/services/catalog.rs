//! The catalog role: item pages, search, and what is popular.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use seawall::fallback::{ByClass, Combine as _, Degraded, FallbackLayer, FromFn, Named, Nothing, from_fn};
use seawall_core::{ByResult, Env, MetricsObserver, MonotonicClock, NoAttributes, Pattern};
use serde::{Deserialize, Serialize};

use super::cached::{CacheAside, Origin};
use super::database::Database;
use super::guard::Refusal;
use super::problem::Problem;
use super::serving::{self, DEGRADED};
use super::state_side::StateSide;
use super::user;
use super::views::ViewLog;
use crate::data::{self, City};
use crate::link::Instance;
use crate::state::search::folded;
use crate::state::views::Views;
use crate::state::{Counted, Embedded, View, cache};

/// Items in a list when the request does not say how many.
pub const DEFAULT_LIMIT: usize = 10;
/// Items in a list at most.
pub const MAX_LIMIT: usize = 100;
/// The longest query, in bytes: longer than any city's name.
const MAX_QUERY: usize = 200;
/// How long a list of what is popular now may be wrong.
pub(crate) const POPULAR_TTL: Duration = Duration::from_secs(5);
/// Keys in a cache that others may use too; the number changes with the form of what is kept.
pub(super) const KEYS: &str = "four-plane:1:";
/// How the fallback is called in `x-seawall-degraded`.
const SNAPSHOT: &str = "snapshot";

/// The cities as they were when the binary was made: what answers when neither cache nor database does.
static FALLBACK: LazyLock<Embedded> = LazyLock::new(|| Embedded::new(data::cities(), Views::default()));

/// What the catalog serves from.
#[derive(Debug, Clone)]
pub struct Catalog {
    database: Arc<Database>,
    cache: Arc<CacheAside>,
    views: ViewLog,
    /// Stands in for the database: the cities as they were when the binary was made.
    fallback: FallbackLayer<Snapshot, Nothing, StateEnv, ByClass, Naming>,
}

type StateEnv = Env<MonotonicClock, ByResult, NoAttributes, MetricsObserver>;
type Snapshot = Named<FromFn<Standing>>;
type Naming = fn(&mut Page, &Degraded);
type Standing = fn(&Ask, Result<&Page, &Refusal>) -> Ready<Result<Page, Infallible>>;

/// What is wanted.
#[derive(Debug, Clone)]
enum Ask {
    Item(u32),
    Search { query: String, name: String, limit: usize },
    Popular { limit: usize },
}

/// What is answered: nothing where there is no such item.
#[derive(Debug)]
struct Page {
    body: Option<Bytes>,
    origin: Origin,
    source: Option<&'static str>,
}

/// A list of cities.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub struct Found {
    /// What was searched for.
    pub query: String,
    /// Best match first.
    pub items: Vec<City>,
}

/// A list of cities with their views.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub struct Popular {
    /// Most views first.
    pub items: Vec<Counted>,
}

#[derive(Deserialize)]
struct SearchQuery {
    q: Option<String>,
    limit: Option<usize>,
}

/// The query of a list.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    pub(super) limit: Option<usize>,
}

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    let StateSide { serving, database, cache } = StateSide::of(&instance)?;
    let (views, writing) = ViewLog::new(Arc::clone(&database));
    let writing = tokio::spawn(writing);
    LazyLock::force(&FALLBACK);
    serving::serve(&instance, &serving, routes(Catalog::new(database, cache, views))).await?;
    writing.await?;
    Ok(())
}

impl Catalog {
    /// From these parts.
    pub fn new(database: Arc<Database>, cache: Arc<CacheAside>, views: ViewLog) -> Self {
        let env = Env::new().with_observer(MetricsObserver::new(Pattern::Fallback, "database"));
        let naming: Naming = |page, degraded| page.source = Some(degraded.source);
        let snapshot = from_fn((|ask, _| ready(Ok(snapshot(ask)))) as Standing).named(SNAPSHOT);
        Self { database, cache, views, fallback: FallbackLayer::with_env(snapshot, env).with_mark(naming) }
    }

    /// What the cache has under `key`, or else the database, or else the snapshot; nothing when there is no such item.
    async fn page(
        &self,
        ask: Ask,
        key: &str,
        ttl: Duration,
        make: impl Future<Output = Result<Option<Bytes>, Refusal>> + Send,
    ) -> Result<Page, Problem> {
        let primary = async {
            let (body, origin) = self.cache.through(key, ttl, make).await?;
            Ok(Page { body, origin, source: None })
        };
        self.fallback.run_carrying(ask, primary).await.map_err(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer")
                .with_retry_after(Duration::from_secs(1))
        })
    }
}

/// What the cities say as they were when the binary was made.
fn snapshot(ask: &Ask) -> Page {
    let body = match ask {
        Ask::Item(id) => FALLBACK.find(*id).map(encoded),
        Ask::Search { query, name, limit } => {
            Some(encoded(&Found { query: query.clone(), items: FALLBACK.found(name, *limit) }))
        }
        Ask::Popular { limit } => {
            let largest = FALLBACK.first(*limit).into_iter().map(|item| Counted { item, count: 0 });
            Some(encoded(&Popular { items: largest.collect() }))
        }
    };
    Page { body, origin: Origin::Bypass, source: None }
}

/// The catalog's paths.
pub fn routes(catalog: Catalog) -> Router {
    Router::new()
        .route("/catalog/items/{id}", get(item))
        .route("/catalog/search", get(search))
        .route("/catalog/popular", get(popular))
        .with_state(catalog)
}

async fn item(State(catalog): State<Catalog>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let Ok(id) = id.parse::<u32>() else {
        return Err(Problem::not_allowed("the item's id", &id, "a whole number from 0 to 4294967295"));
    };
    let make = async { Ok(catalog.database.item(id).await?.map(|city| encoded(&city))) };
    let page = catalog.page(Ask::Item(id), &format!("{KEYS}item:{id}"), cache::TTL, make).await?;
    let response =
        answered(page).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no item {id}")))?;
    catalog.views.record(View { user: user::of(&headers), item: id });
    Ok(response)
}

async fn search(
    State(catalog): State<Catalog>,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(SearchQuery { q, limit }) = query.map_err(not_a_query)?;
    let (query, limit) = (q.unwrap_or_default(), checked(limit)?);
    let name = folded(&query);
    if name.is_empty() || query.len() > MAX_QUERY {
        return Err(Problem::not_allowed("q", &query, "a part of a name, with a letter or digit, up to 200 bytes"));
    }
    let make = async { Ok(Some(encoded(&catalog.database.search(&name, limit).await?))) };
    // What is cached is the list without the query: its spellings share an entry.
    let ask = Ask::Search { query: query.clone(), name: name.clone(), limit };
    let mut page = catalog.page(ask, &format!("{KEYS}search:{limit}:{name}"), cache::TTL, make).await?;
    if page.source.is_none() {
        let items = page.body.as_ref().and_then(decoded).ok_or_else(unreadable)?;
        page.body = Some(encoded(&Found { query, items }));
    }
    answered(page).ok_or_else(unreadable)
}

async fn popular(
    State(catalog): State<Catalog>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let limit = checked(query.map_err(not_a_query)?.0.limit)?;
    let make = async { Ok(Some(encoded(&Popular { items: catalog.database.popular(limit).await? }))) };
    let ask = Ask::Popular { limit };
    let page = catalog.page(ask, &format!("{KEYS}popular:{limit}"), POPULAR_TTL, make).await?;
    answered(page).ok_or_else(unreadable)
}

/// The page as it is sent.
fn answered(Page { body, origin, source }: Page) -> Option<Response> {
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body?).into_response();
    origin.write(response.headers_mut());
    response.headers_mut().extend(source.map(|source| (DEGRADED, HeaderValue::from_static(source))));
    Some(response)
}

fn encoded(value: &impl Serialize) -> Bytes {
    // Cities are finite numbers and strings, which always serialize.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn decoded<T: for<'de> Deserialize<'de>>(bytes: &Bytes) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn unreadable() -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "the cache holds something else than a list")
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
pub(super) fn not_a_query(rejection: QueryRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())
}

/// A limit within its bounds.
pub(super) fn checked(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Some(limit) => Err(Problem::not_allowed("limit", &limit.to_string(), "1 to 100")),
    }
}

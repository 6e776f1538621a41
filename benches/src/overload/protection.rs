//! The ways in which the server is protected.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use seawall::{
    core::{Error, WrapErrorLayer},
    load_shedder::{LoadShedderConfig, LoadShedderLayer, QueueingLoadShedderLayer, QueueingShedderConfig},
};
use tower::{
    BoxError, Layer, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, load_shed::LoadShedLayer, service_fn,
    util::BoxCloneSyncService,
};
use tower_resilience_adaptive::{AdaptiveLimiterLayer, Aimd, Vegas};

use super::work::Work;

/// What all of them protect, or are.
pub type Handler = BoxCloneSyncService<Request<Incoming>, Response<Full<Bytes>>, BoxError>;
type Leaf = BoxCloneSyncService<Request<Incoming>, Response<Full<Bytes>>, Infallible>;

/// A fixed limit as a careful user sets it: a few times what one core does at once.
const PLACES: usize = 16;
/// Little's law needs a target, which its user has to know: ten times the work of a request.
const TARGET: Duration = Duration::from_millis(20);
const EWMA: f64 = 0.01;

/// Makes a server that does this work, protected in one way.
pub type Protect = fn(Work) -> Handler;

/// All of them, by name.
pub const ALL: [(&str, Protect); 7] = [
    ("none", bare),
    ("tower ConcurrencyLimit + LoadShed", tower_three),
    ("tower-resilience adaptive AIMD", resilience_aimd),
    ("tower-resilience adaptive Vegas", resilience_vegas),
    ("little-loadshedder", little),
    ("seawall LoadShedder", fail_fast),
    ("seawall QueueingLoadShedder", queueing),
];

/// The protection of this name.
pub fn named(name: &str) -> Option<Protect> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, make)| *make)
}

fn bare(work: Work) -> Handler {
    BoxCloneSyncService::new(leaf(work).map_err(BoxError::from))
}

fn leaf(work: Work) -> Leaf {
    BoxCloneSyncService::new(service_fn(move |_| async move {
        work.run().await;
        Ok(Response::new(Full::from("done")))
    }))
}

fn refusal() -> Response<Full<Bytes>> {
    let mut refusal = Response::new(Full::default());
    *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    refusal
}

/// Whatever goes wrong with a handler that does not fail is a refusal.
#[expect(clippy::unnecessary_wraps, reason = "as `map_result` calls it")]
fn or_refusal(answer: Result<Response<Full<Bytes>>, BoxError>) -> Result<Response<Full<Bytes>>, BoxError> {
    Ok(answer.unwrap_or_else(|_| refusal()))
}

fn tower_three(work: Work) -> Handler {
    let limit = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(ConcurrencyLimitLayer::new(PLACES));
    BoxCloneSyncService::new(limit.service(leaf(work)).map_result(or_refusal))
}

/// The adaptive limits of tower-resilience make callers wait: what refuses is tower's.
macro_rules! resilience {
    ($algorithm:expr, $work:expr) => {{
        let limit = AdaptiveLimiterLayer::new($algorithm).layer(leaf($work)).map_err(BoxError::from);
        BoxCloneSyncService::new(LoadShedLayer::new().layer(limit).map_result(or_refusal))
    }};
}

fn resilience_aimd(work: Work) -> Handler {
    match Aimd::builder().build() {
        Ok(algorithm) => resilience!(algorithm, work),
        Err(_) => unreachable!("the defaults are allowed"),
    }
}

fn resilience_vegas(work: Work) -> Handler {
    match Vegas::builder().build() {
        Ok(algorithm) => resilience!(algorithm, work),
        Err(_) => unreachable!("the defaults are allowed"),
    }
}

fn little(work: Work) -> Handler {
    let limited = little_loadshedder::LoadShedLayer::new(EWMA, TARGET).layer(leaf(work)).map_err(BoxError::from);
    BoxCloneSyncService::new(limited.map_response(|answer| match answer {
        little_loadshedder::LoadShedResponse::Inner(answer) => answer,
        little_loadshedder::LoadShedResponse::Overload => refusal(),
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "as `map_result` calls it")]
fn or_rejection(answer: Result<Response<Full<Bytes>>, Error<Infallible>>) -> Result<Response<Full<Bytes>>, BoxError> {
    Ok(answer.unwrap_or_else(|_| refusal()))
}

fn fail_fast(work: Work) -> Handler {
    let shedder = LoadShedderLayer::new(LoadShedderConfig::default());
    BoxCloneSyncService::new(shedder.layer(WrapErrorLayer::new().layer(leaf(work))).map_result(or_rejection))
}

fn queueing(work: Work) -> Handler {
    let shedder = QueueingLoadShedderLayer::new(QueueingShedderConfig::default());
    BoxCloneSyncService::new(shedder.layer(WrapErrorLayer::new().layer(leaf(work))).map_result(or_rejection))
}

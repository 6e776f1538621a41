//! The last good answer to each request: what a gateway answers when a service cannot.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use seawall::fallback::{Cause, Combine as _, FallbackLayer, LastGood, LastGoodConfig, Memory, Named, Nothing};
use seawall::http::{Http, HttpAttributes, MarkDegraded};
use seawall_core::{Env, Error, MetricsObserver, MonotonicClock, Pattern};

use super::cached::X_CACHE;
use super::client::CallError;
use super::serving::DEGRADED;
use super::upstream::Answer;

/// Most answers that are kept.
const MAX_ANSWERS: usize = 20_000;
/// Most bytes of answers that are kept: 32 MiB.
const MAX_BYTES: u64 = 32 << 20;
/// What an answer takes up beside its body: key, headers, bookkeeping.
const BESIDE: usize = 256;
/// How the fallback is called in `x-seawall-degraded`.
const SOURCE: &str = "gateway-cache";

/// What an answer is kept under: path and query of a GET, nothing for other methods.
type Key = Option<String>;
type Kept = Named<LastGood<fn(&Key) -> Key, String, Response<Bytes>, GoodAnswers>>;
type Observed = Env<MonotonicClock, Http, HttpAttributes, MetricsObserver>;
type Failed = fn(Cause, Result<&Response<Bytes>, &Error<CallError>>) -> bool;

/// Good answers, bounded in number and bytes; shared by all clones.
pub(super) type LastGoodLayer = FallbackLayer<Kept, Nothing, Observed, Failed, MarkDegraded>;

/// In the place of what the service called `name` answers.
pub(super) fn layer(name: &'static str) -> LastGoodLayer {
    super::metrics::install();
    let config = LastGoodConfig::new(MAX_ANSWERS, Duration::MAX).and_then(|config| config.with_max_weight(MAX_BYTES));
    let key: fn(&Key) -> Key = Clone::clone;
    let config = config.expect("constants in their ranges");
    let kept = LastGood::<_, String, Response<Bytes>>::new(config, key).with_memory(GoodAnswers);
    let env = seawall::http::env().with_observer(MetricsObserver::new(Pattern::Fallback, name));
    let failed: Failed = |_, outcome| outcome.map_or(true, |answer| answer.status().is_server_error());
    FallbackLayer::with_env(kept.named(SOURCE), env).with_when(failed).with_mark(MarkDegraded)
}

/// What the answer to this request is kept under.
pub(super) fn key(request: &Request<Bytes>) -> Key {
    (request.method() == Method::GET).then(|| request.uri().path_and_query().map(ToString::to_string))?
}

/// The service's answer, or else the last good one to the same request, marked as degraded and stale, or else the failure.
///
/// # Errors
/// That of the service.
pub(super) async fn answer(layer: &LastGoodLayer, key: Key, call: impl Future<Output = Answer>) -> Answer {
    layer.run_carrying(key, call).await.map_err(|error| error.into_parts().0)
}

/// Keeps a 200 that is no fallback's answer itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct GoodAnswers;

impl Memory<Response<Bytes>> for GoodAnswers {
    type Kept = Response<Bytes>;

    fn remember(&self, answer: &Response<Bytes>) -> Option<Response<Bytes>> {
        if answer.status() != StatusCode::OK || answer.headers().contains_key(DEGRADED) {
            return None;
        }
        let mut kept = Response::new(answer.body().clone());
        for name in [header::CONTENT_TYPE, header::AGE] {
            kept.headers_mut().extend(answer.headers().get(&name).map(|value| (name, value.clone())));
        }
        kept.headers_mut().insert(X_CACHE, HeaderValue::from_static("stale"));
        Some(kept)
    }

    fn weight(&self, kept: &Response<Bytes>) -> u64 {
        u64::try_from(kept.body().len().saturating_add(BESIDE)).unwrap_or(u64::MAX)
    }

    fn recall(&self, kept: Response<Bytes>) -> Option<Response<Bytes>> {
        Some(kept)
    }
}

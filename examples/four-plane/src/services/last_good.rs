//! The last good answer to each page: what a gateway answers when a service cannot.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use seawall::fallback::{Combine as _, LastGood, LastGoodConfig, LastGoodError, Memory, Named};

use super::cached::X_CACHE;
use super::serving::DEGRADED;

/// Most answers that are kept.
const MAX_ANSWERS: usize = 20_000;
/// Most bytes of answers that are kept: 32 MiB.
const MAX_BYTES: u64 = 32 << 20;
/// What an answer takes up beside its body: key, headers, bookkeeping.
const BESIDE: usize = 256;
/// How the fallback is called in `x-seawall-degraded`.
const SOURCE: &str = "gateway-cache";

/// Keeps answers under what a function makes of `K`, which is what is known of a request.
pub type LastAnswers<K> = Named<LastGood<fn(&K) -> Option<String>, String, Response<Bytes>, GoodAnswers>>;

/// Keeps a 200 that is no fallback's answer itself.
#[derive(Debug, Clone, Copy)]
pub struct GoodAnswers;

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

/// Answers that are bounded in number and bytes.
///
/// # Errors
/// Never: the bounds are constants that are allowed.
pub fn answers<K>(key: fn(&K) -> Option<String>) -> Result<LastAnswers<K>, LastGoodError> {
    let config = LastGoodConfig::new(MAX_ANSWERS, Duration::MAX)?.with_max_weight(MAX_BYTES)?;
    Ok(LastGood::<_, String, Response<Bytes>>::new(config, key).with_memory(GoodAnswers).named(SOURCE))
}

//! The last good answer to each request: what a gateway answers when a service cannot.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use quick_cache::{Weighter, sync};
use seawall_core::{Clock as _, MonotonicClock, Timestamp};

use super::cached::X_CACHE;
use super::serving::DEGRADED;

/// Most answers that are kept.
const MAX_ANSWERS: usize = 20_000;
/// Most bytes of answers that are kept: 32 MiB.
const MAX_BYTES: u64 = 32 << 20;
/// How the fallback is called in `x-seawall-degraded`.
const SOURCE: &str = "gateway-cache";

/// Good answers, bounded in number and bytes; shared by all clones.
#[derive(Debug, Clone)]
pub struct LastGood {
    answers: Arc<sync::Cache<String, Kept, Bytewise>>,
}

#[derive(Debug, Clone)]
struct Kept {
    body: Bytes,
    content_type: Option<HeaderValue>,
    at: Timestamp,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<String, Kept> for Bytewise {
    fn weight(&self, key: &String, kept: &Kept) -> u64 {
        u64::try_from(key.len().saturating_add(kept.body.len())).unwrap_or(u64::MAX).max(1)
    }
}

impl Default for LastGood {
    fn default() -> Self {
        Self { answers: Arc::new(sync::Cache::with_weighter(MAX_ANSWERS, MAX_BYTES, Bytewise)) }
    }
}

impl LastGood {
    /// What an answer is kept under: path and query of a GET, nothing for other methods.
    pub fn key(request: &Request<Bytes>) -> Option<String> {
        (request.method() == Method::GET).then(|| request.uri().path_and_query().map(ToString::to_string))?
    }

    /// Keeps a 200 that is no fallback's answer itself.
    pub fn keep(&self, key: String, answer: &http::Response<Bytes>) {
        if answer.status() == StatusCode::OK && !answer.headers().contains_key(DEGRADED) {
            let content_type = answer.headers().get(header::CONTENT_TYPE).cloned();
            self.answers.insert(key, Kept { body: answer.body().clone(), content_type, at: MonotonicClock.now() });
        }
    }

    /// The last good answer, marked as degraded and stale, with its age.
    pub fn answer(&self, key: &str) -> Option<Response> {
        let kept = self.answers.get(key)?;
        let age = MonotonicClock.now().since(kept.at).as_secs();
        let mut response = kept.body.into_response();
        let headers = response.headers_mut();
        if let Some(content_type) = kept.content_type {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        headers.insert(header::AGE, HeaderValue::from(age));
        headers.insert(X_CACHE, HeaderValue::from_static("stale"));
        headers.insert(DEGRADED, HeaderValue::from_static(SOURCE));
        Some(response)
    }
}

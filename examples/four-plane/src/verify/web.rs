//! A client without any protection, so that what it sees is the stack's doing, and a stopwatch.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::{client::Client, clock};

/// Longer than anything that the stack promises, shorter than anybody waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer and how long it took, to the end of its body.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) took: Duration,
}

impl Answer {
    /// A header's text; nothing where it is missing or not text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends requests and takes the time.
#[derive(Debug, Clone)]
pub(super) struct Web {
    client: Client,
}

impl Web {
    pub(super) fn new() -> Self {
        Self { client: Client::new() }
    }

    pub(super) async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, url, Bytes::new()).await
    }

    pub(super) async fn send(&self, method: Method, url: &str, body: Bytes) -> anyhow::Result<Answer> {
        let watch = Stopwatch::start();
        let context = format!("{method} {url}");
        let answer = self.client.send(method, url, body, PATIENCE).await.context(context)?;
        Ok(Answer { status: answer.status, headers: answer.headers, body: answer.body, took: watch.elapsed() })
    }
}

/// Time since a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch {
    started: Duration,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { started: clock::since_start() }
    }

    pub(super) fn elapsed(self) -> Duration {
        clock::since_start().saturating_sub(self.started)
    }
}

#[cfg(test)]
impl Answer {
    /// An answer with a status, headers and an empty body, after so many milliseconds.
    pub(super) fn scripted(status: StatusCode, headers: &[(&'static str, &'static str)], milliseconds: u64) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        Self { status, headers: headers.collect(), body: Bytes::new(), took: Duration::from_millis(milliseconds) }
    }
}

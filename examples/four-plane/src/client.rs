//! The HTTP client of the parent's side: health checks, scrapes, and the commands that measure a running stack.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(10);

/// Sends requests over kept connections. Clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` where it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's text; empty where it is missing or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL cannot be sent to.
    #[error("{url} is not an http URL")]
    Url {
        /// The text given.
        url: String,
    },
    /// Nothing, or not all of it, came in time.
    #[error("no answer within {} ms", limit.as_millis())]
    TimedOut {
        /// How long it was waited.
        limit: Duration,
    },
    /// No connection could be made.
    #[error("cannot connect")]
    Connect(#[source] legacy::Error),
    /// The connection broke before the head was there.
    #[error("the connection broke")]
    Send(#[source] legacy::Error),
    /// The connection broke within the body.
    #[error("the connection broke within the body")]
    Body(#[source] hyper::Error),
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client with connections of its own.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        Self { inner: builder.build(connector) }
    }

    /// `GET`.
    ///
    /// # Errors
    /// A [`ClientError`] when no whole answer came within `limit`; an error status is an answer.
    pub async fn get(&self, url: &str, limit: Duration) -> Result<Answer, ClientError> {
        self.send(Method::GET, url, Bytes::new(), limit).await
    }

    /// Any method, with a JSON body unless `body` is empty.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn send(&self, method: Method, url: &str, body: Bytes, limit: Duration) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(url);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|_| ClientError::Url { url: url.to_owned() })?;
        self.request(request, limit).await
    }

    /// A request made by the caller.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn request(&self, request: Request<Full<Bytes>>, limit: Duration) -> Result<Answer, ClientError> {
        let exchange = async {
            let response = self.inner.request(request).await;
            let response = response.map_err(|error| {
                if error.is_connect() { ClientError::Connect(error) } else { ClientError::Send(error) }
            })?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(ClientError::Body)?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(ClientError::TimedOut { limit }))
    }
}

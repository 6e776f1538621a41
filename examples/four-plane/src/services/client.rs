//! Calls from one instance to another.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, Uri, header, uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// The largest answer that is passed on: 1 MiB.
const MAX_BODY: usize = 1 << 20;
/// Idle connections are closed after 30 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What belongs to one connection and is not passed on.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why an instance did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// None of the role's instances is in the topology.
    #[error("no instance of {role} is up")]
    NoInstance {
        /// The role.
        role: &'static str,
    },
    /// The connection could not be made, or broke before the answer.
    #[error("{address} did not answer")]
    Connection {
        /// The instance's.
        address: SocketAddr,
        /// Why.
        source: legacy::Error,
    },
    /// The answer broke off, or is too long.
    #[error("the answer of {address} broke off")]
    Body {
        /// The instance's.
        address: SocketAddr,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Calls instances over connections that it keeps.
#[derive(Debug, Clone)]
pub struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { http }
    }
}

impl Client {
    /// Calls one instance and takes its whole answer, so that one which dies in the middle is an error here.
    ///
    /// # Errors
    /// [`CallError`] when no whole answer comes.
    pub async fn send(&self, address: SocketAddr, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let (mut parts, body) = request.into_parts();
        let mut at = uri::Parts::default();
        at.scheme = Some(uri::Scheme::HTTP);
        at.authority = uri::Authority::try_from(address.to_string()).ok();
        at.path_and_query = parts.uri.path_and_query().cloned().or_else(|| Some(uri::PathAndQuery::from_static("/")));
        parts.uri = Uri::from_parts(at).unwrap_or_default();
        remove_hop_by_hop(&mut parts.headers);
        let request = Request::from_parts(parts, Full::new(body));
        let answer = self.http.request(request).await.map_err(|source| CallError::Connection { address, source })?;
        let (mut parts, body) = answer.into_parts();
        let body =
            Limited::new(body, MAX_BODY).collect().await.map_err(|source| CallError::Body { address, source })?;
        remove_hop_by_hop(&mut parts.headers);
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

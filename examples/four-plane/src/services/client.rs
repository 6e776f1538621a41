//! Calls from one instance to another, over pooled connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use seawall::backoff_with_jitter::{Advice, RetryWhen as _};
use seawall::http::HttpAdvice;
use seawall::pool::{Manager, Pool, PoolConfig, PoolError, RunError};
use seawall_core::{Class, Verdict};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::state::connections::operation;

/// The largest answer that is passed on: 1 MiB.
const MAX_BODY: usize = 1 << 20;
/// Connections to one instance at most.
const MAX_CONNECTIONS: usize = 256;
/// Loopback: a connection is there at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Between connects to an instance that refuses: it may be back any moment, and there are others meanwhile.
const CONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// Pools of instances that are gone are dropped when there are more than this.
const MAX_POOLS: usize = 64;

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
    /// The connection could not be made.
    #[error("{address} cannot be reached")]
    Connect {
        /// The instance's.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The pool has no connection to give.
    #[error("there is no connection to {address}")]
    NoConnection {
        /// The instance's.
        address: SocketAddr,
        /// Why.
        source: Box<PoolError<Self>>,
    },
    /// The connection broke before the answer.
    #[error("{address} did not answer")]
    Connection {
        /// The instance's.
        address: SocketAddr,
        /// Why.
        source: hyper::Error,
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

/// Opens connections to one instance.
#[derive(Debug)]
struct ToInstance {
    address: SocketAddr,
}

/// A connection; what drives it ends with it.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Manager for ToInstance {
    type Connection = Line;
    type Error = CallError;

    async fn connect(&self) -> Result<Line, CallError> {
        let address = self.address;
        let stream = TcpStream::connect(address).await.map_err(|source| CallError::Connect { address, source })?;
        stream.set_nodelay(true).map_err(|source| CallError::Connect { address, source })?;
        let broken = |source| CallError::Connection { address, source };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told the error; there is nobody else to tell.
            let _ended = connection.await;
        });
        Ok(Line { sender, driver })
    }

    async fn check(&self, line: &mut Line) -> Result<(), CallError> {
        let address = self.address;
        line.sender.ready().await.map_err(|source| CallError::Connection { address, source })
    }

    fn is_broken(&self, line: &mut Line) -> bool {
        line.sender.is_closed()
    }

    fn is_stale(&self, error: &CallError) -> bool {
        let CallError::Connection { source, .. } = error else { return false };
        let failed = Err::<&Response<()>, _>(source);
        let unseen = HttpAdvice.advise(Verdict::new(Class::Failure), failed) == Advice::Unseen;
        // Closed before it was asked, or in the place of an answer, which says nothing of what was done: it is asked again
        // where that does not matter.
        unseen || source.is_closed() || source.is_incomplete_message()
    }

    fn target(&self) -> Option<String> {
        Some(self.address.to_string())
    }
}

/// Calls instances over connections that it keeps; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Client {
    pools: Arc<RwLock<HashMap<SocketAddr, Pool<ToInstance>>>>,
}

impl Client {
    /// Calls one instance and takes its whole answer, so that one which dies in the middle is an error here.
    ///
    /// # Errors
    /// [`CallError`] when no whole answer comes.
    pub async fn send(&self, address: SocketAddr, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let pool = self.pool(address);
        let idempotent = seawall::http::is_idempotent(request.method());
        let request = addressed(address, request);
        let exchange = operation(move |line: &mut Line| Box::pin(line.exchange(address, request.clone())));
        let answered = if idempotent { pool.run_idempotent(exchange).await } else { pool.run(exchange).await };
        answered.map_err(|error| match error {
            RunError::Operation(error) => error,
            RunError::Pool(source) => CallError::NoConnection { address, source: Box::new(source) },
        })
    }

    fn pool(&self, address: SocketAddr) -> Pool<ToInstance> {
        let known = self.pools.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned();
        known.unwrap_or_else(|| {
            let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
            if pools.len() >= MAX_POOLS {
                // Instances that were started anew have other ports: whoever is not in use is gone or will be made again.
                pools.retain(|_, pool| pool.status().in_use > 0);
            }
            pools.entry(address).or_insert_with(|| made(address)).clone()
        })
    }
}

fn made(address: SocketAddr) -> Pool<ToInstance> {
    let config = PoolConfig::new()
        .with_max(MAX_CONNECTIONS)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_connect_concurrency(MAX_CONNECTIONS)
        .with_connect_backoff(CONNECT_BACKOFF.0, CONNECT_BACKOFF.1);
    Pool::with_config(ToInstance { address }, config).expect("constants in their ranges")
}

impl Line {
    async fn exchange(
        &mut self,
        address: SocketAddr,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, CallError> {
        let broken = |source| CallError::Connection { address, source };
        self.sender.ready().await.map_err(broken)?;
        let head_only = request.method() == Method::HEAD;
        let (mut parts, body) = self.sender.send_request(request).await.map_err(broken)?.into_parts();
        let body =
            Limited::new(body, MAX_BODY).collect().await.map_err(|source| CallError::Body { address, source })?;
        // What a GET would have had, which the body does not say here.
        let length = parts.headers.remove(header::CONTENT_LENGTH).filter(|_| head_only);
        remove_hop_by_hop(&mut parts.headers);
        parts.headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// The request as it goes to this instance.
fn addressed(address: SocketAddr, request: Request<Bytes>) -> Request<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    parts.uri = parts.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    remove_hop_by_hop(&mut parts.headers);
    if let Ok(host) = HeaderValue::try_from(address.to_string()) {
        parts.headers.insert(header::HOST, host);
    }
    Request::from_parts(parts, Full::new(body))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

//! The state instance's listeners: every byte to database and cache passes through here, and so do their faults.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use seawall_core::{Clock, MonotonicClock, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Backend, Embedded, MemoryCache, wire};
use crate::link::Fault;
use crate::services::faults::Faults;
use crate::services::listening::{FaultyListener, FaultyStream, Port};
use crate::services::metrics::RequestMetrics;

/// Bytes that are passed on at once, and that an embedded part and its client may be apart.
const CHUNK: usize = 64 << 10;

/// What a listener passes its connections on to.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "made by name where the state instance is put together")]
pub enum Upstream {
    /// The embedded database.
    Catalog(Arc<Embedded>),
    /// The embedded cache.
    Cache(Arc<MemoryCache>),
    /// A server.
    Server {
        /// Name or address.
        host: String,
        /// Where it listens.
        port: u16,
    },
}

impl Upstream {
    /// The server, or else the embedded part.
    pub fn new(backend: &Backend, embedded: impl FnOnce() -> Self) -> Self {
        match backend {
            Backend::Embedded => embedded(),
            Backend::Server { host, port, .. } => Self::Server { host: host.clone(), port: *port },
        }
    }
}

/// One part of the state plane: `database` or `cache`.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name as a fault's target.
    pub name: &'static str,
    /// What it is.
    pub upstream: Upstream,
    /// What is to go wrong.
    pub faults: watch::Receiver<Vec<Fault>>,
    /// Counts what is asked and answered.
    pub metrics: Arc<RequestMetrics>,
}

/// Accepts connections for as long as it is polled; dropping it closes them all.
pub async fn accept(listener: TcpListener, part: Part) {
    let faults = Faults::of_part(part.faults.clone(), part.name);
    // A listener without an address is none.
    let Ok(mut listener) = FaultyListener::new(listener, Port::Own, faults) else { return };
    let mut connections = JoinSet::new();
    let part = Arc::new(part);
    loop {
        tokio::select! {
            (client, _) = listener.accept() => {
                let part = Arc::clone(&part);
                connections.spawn(async move {
                    // A connection that breaks is seen by its client, who counts it.
                    let _broken = connect(&part, client).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(part: &Part, client: FaultyStream) -> io::Result<()> {
    match &part.upstream {
        Upstream::Server { host, port } => {
            let server = TcpStream::connect((host.as_str(), *port)).await?;
            server.set_nodelay(true)?;
            pass(part, client, server).await
        }
        Upstream::Catalog(catalog) => {
            let (near, far) = tokio::io::duplex(CHUNK);
            let (passed, served) = tokio::join!(pass(part, client, near), wire::serve(&**catalog, far));
            passed.and(served)
        }
        Upstream::Cache(cache) => {
            let (near, far) = tokio::io::duplex(CHUNK);
            let (passed, served) = tokio::join!(pass(part, client, near), cache.serve(far));
            passed.and(served)
        }
    }
}

/// Passes bytes both ways until both sides have closed or one breaks.
async fn pass(part: &Part, client: FaultyStream, server: impl AsyncRead + AsyncWrite + Send) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let faults = Faults::of_part(part.faults.clone(), part.name);
    let asked = Asked::default();
    let ask = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from_client.read(&mut chunk).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            if asked.at(MonotonicClock.now()) {
                part.metrics.entered();
            }
            if faults.strike().await {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            to_server.write_all(chunk.get(..read).unwrap_or_default()).await?;
            to_server.flush().await?;
        }
    };
    let answer = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from_server.read(&mut chunk).await?;
            if read == 0 {
                return to_client.shutdown().await;
            }
            asked.finished(&part.metrics, "ok");
            to_client.write_all(chunk.get(..read).unwrap_or_default()).await?;
        }
    };
    let ended = tokio::try_join!(ask, answer);
    asked.finished(&part.metrics, "error");
    ended.map(|_| ())
}

/// When the question was asked that is not yet answered; 0 when there is none.
#[derive(Default)]
struct Asked(AtomicU64);

impl Asked {
    /// Says whether no other question waits for its answer.
    fn at(&self, now: Timestamp) -> bool {
        // Relaxed, here and below: both sides run in one task.
        self.0.compare_exchange(0, now.as_nanos().max(1), Relaxed, Relaxed).is_ok()
    }

    /// Counts the question, if there is one.
    fn finished(&self, metrics: &RequestMetrics, outcome: &str) {
        let since = self.0.swap(0, Relaxed);
        if since != 0 {
            metrics.left();
            metrics.finished(outcome, MonotonicClock.now().since(Timestamp::from_nanos(since)));
        }
    }
}

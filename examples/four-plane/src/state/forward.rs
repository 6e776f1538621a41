//! The state instance's listeners: every byte to database and cache passes through here, and so do their faults.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use seawall_core::{Clock, MonotonicClock, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Backend, Embedded, MemoryCache, wire};
use crate::link::{Fault, FaultKind};
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
    let mut connections = JoinSet::new();
    let part = Arc::new(part);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let part = Arc::clone(&part);
                    connections.spawn(async move {
                        // A connection that breaks is seen by its client, who counts it.
                        let _broken = connect(&part, client).await;
                    });
                }
                // Out of file descriptors, for one: some will come back.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(part: &Part, client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
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
async fn pass(part: &Part, client: TcpStream, server: impl AsyncRead + AsyncWrite + Send) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
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
            go_wrong(part).await?;
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

/// Waits, fails or hangs, as the faults of this part say.
async fn go_wrong(part: &Part) -> io::Result<()> {
    let mine = |kind: FaultKind| {
        let faults = part.faults.borrow();
        faults.iter().find(|fault| fault.kind == kind && fault.target == part.name).map(|fault| fault.value)
    };
    if mine(FaultKind::Hang).is_some() {
        let mut faults = part.faults.clone();
        let hangs = |fault: &Fault| fault.kind == FaultKind::Hang && fault.target == part.name;
        // An error means that nobody can lift the fault any more: the process is about to end.
        let _lifted = faults.wait_for(|faults| !faults.iter().any(hangs)).await;
    }
    if let Some(millis) = mine(FaultKind::Latency) {
        tokio::time::sleep(crate::services::faults::millis(millis)).await;
    }
    match mine(FaultKind::Error) {
        Some(share) if crate::services::faults::strikes(share) => Err(io::ErrorKind::ConnectionAborted.into()),
        _ => Ok(()),
    }
}

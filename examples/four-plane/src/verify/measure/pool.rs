//! A pool of real connections to a server that hangs up.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use seawall::{
    core::{Env, VirtualClock},
    pool::{Manager, Pool, PoolConfig, RunError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::Claims;
use crate::verify::report::Finding;

/// The document's figure.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

const SECOND: Duration = Duration::from_secs(1);

/// The document's settings for the database's pool.
const MOST: usize = 20;
const DATABASE_IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// Real time for what should not happen: a task that is woken needs next to nothing of it.
const TIDY: Duration = Duration::from_millis(250);

/// Real time for what should happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) const CLAIMS: Claims<Pooled> = &[
    ("resilience-patterns.connection-pooling", reuses),
    ("resilience-patterns.connection-pooling.timeout", idle_timeout),
    ("resilience-patterns.connection-pooling.retry-strategy", retries_once),
    ("resilience-patterns.connection-pooling.fallback", new_connection),
    ("database-performance.connection-pooling.implementation", as_configured),
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Pooled {
    /// Connections that ten operations in a row opened.
    opened_by_ten: usize,
    /// Connections that an operation opened after the one before lay idle for 29 s, then for 31 s.
    opened_after_29: usize,
    opened_after_31: usize,
    /// After the server hung up on the idle connection: attempts, connections opened, and whether it was answered.
    stale: Attempts,
    /// After the server hung up and goes on hanging up.
    broken: Attempts,
    /// Of a pool with the document's settings for the database: those that 21 callers at once got, and those that were left
    /// 299 s and 301 s later.
    at_once: usize,
    left_after_299: usize,
    left_after_301: usize,
}

#[derive(Debug, Default)]
struct Attempts {
    made: usize,
    opened: usize,
    answered: bool,
}

/// Uses a pool with the default settings; the idle times are virtual.
pub(super) async fn observe() -> anyhow::Result<Pooled> {
    let server = Server::start().await?;
    let clock = VirtualClock::new();
    let pool = server.pool(&clock)?;
    let opened = || pool.manager().opened.load(Relaxed);
    let mut seen = Pooled::default();
    for _ in 0..10 {
        pool.run_idempotent(echo).await?;
    }
    seen.opened_by_ten = opened();
    clock.advance(IDLE_TIMEOUT.saturating_sub(SECOND));
    let_it_tidy(&pool, TIDY).await;
    pool.run_idempotent(echo).await?;
    seen.opened_after_29 = opened().saturating_sub(seen.opened_by_ten);
    let before = opened();
    clock.advance(IDLE_TIMEOUT.saturating_add(SECOND));
    let_it_tidy(&pool, PATIENCE).await;
    pool.run_idempotent(echo).await?;
    seen.opened_after_31 = opened().saturating_sub(before);
    server.hang_up(Hanging::Now).await;
    seen.stale = attempts(&pool).await;

    // A pool of its own: one that has met a stale connection checks its others before it lends them out.
    let pool = server.pool(&clock)?;
    pool.run_idempotent(echo).await?;
    server.hang_up(Hanging::Always).await;
    seen.broken = attempts(&pool).await;
    as_for_a_database(&mut seen).await?;
    Ok(seen)
}

async fn as_for_a_database(seen: &mut Pooled) -> anyhow::Result<()> {
    let (server, clock) = (Server::start().await?, VirtualClock::new());
    let config = PoolConfig::new().with_max(MOST).with_idle_timeout(DATABASE_IDLE_TIMEOUT);
    let pool = server.pool_of(config, &clock)?;
    let mut lent = Vec::new();
    while let Ok(connection) = tokio::time::timeout(TIDY, pool.get()).await {
        lent.push(connection?);
    }
    seen.at_once = lent.len();
    drop(lent);
    clock.advance(DATABASE_IDLE_TIMEOUT.saturating_sub(SECOND));
    let_it_tidy(&pool, TIDY).await;
    seen.left_after_299 = pool.status().idle;
    clock.advance(SECOND.saturating_mul(2));
    let_it_tidy(&pool, PATIENCE).await;
    seen.left_after_301 = pool.status().idle;
    Ok(())
}

type VirtualPool = Pool<ToServer, Env<VirtualClock>>;

/// Gives the pool's own task the time to close what lay idle too long.
async fn let_it_tidy(pool: &VirtualPool, real: Duration) {
    let closed = async {
        while pool.status().idle > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // What is not closed by then is kept, which is what is measured.
    let _kept = tokio::time::timeout(real, closed).await;
}

async fn attempts(pool: &VirtualPool) -> Attempts {
    let before = pool.manager().opened.load(Relaxed);
    let mut attempts = 0_usize;
    let result: Result<(), RunError<io::Error>> = pool
        .run_idempotent(async |stream: &mut TcpStream| {
            attempts = attempts.saturating_add(1);
            echo(stream).await
        })
        .await;
    Attempts {
        made: attempts,
        opened: pool.manager().opened.load(Relaxed).saturating_sub(before),
        answered: result.is_ok(),
    }
}

async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_u8(1).await?;
    stream.read_u8().await.map(drop)
}

struct ToServer {
    address: SocketAddr,
    opened: AtomicUsize,
}

impl Manager for ToServer {
    type Connection = TcpStream;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpStream> {
        self.opened.fetch_add(1, Relaxed);
        TcpStream::connect(self.address).await
    }

    async fn check(&self, stream: &mut TcpStream) -> io::Result<()> {
        echo(stream).await
    }

    fn is_stale(&self, error: &io::Error) -> bool {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Hanging {
    Never,
    /// On the connections that there are.
    Now,
    /// On these and on every new one.
    Always,
}

/// Sends back each byte, until it hangs up.
struct Server {
    address: SocketAddr,
    hanging: watch::Sender<Hanging>,
    open: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (hanging, told) = watch::channel(Hanging::Never);
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut told, open) = (told.clone(), Arc::clone(&counted));
                told.mark_unchanged();
                open.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    if *told.borrow() != Hanging::Always {
                        tokio::select! {
                            _ = serve(stream) => {}
                            _ = told.changed() => {}
                        }
                    }
                    open.fetch_sub(1, Relaxed);
                });
            }
        });
        Ok(Self { address, hanging, open })
    }

    /// A pool with the default settings.
    fn pool(&self, clock: &VirtualClock) -> anyhow::Result<VirtualPool> {
        self.pool_of(PoolConfig::new(), clock)
    }

    fn pool_of(&self, config: PoolConfig, clock: &VirtualClock) -> anyhow::Result<VirtualPool> {
        let manager = ToServer { address: self.address, opened: AtomicUsize::new(0) };
        Ok(Pool::with_env(manager, config, Env::new().with_clock(clock.clone()))?)
    }

    /// Hangs up and waits until all connections are closed on this side.
    async fn hang_up(&self, hanging: Hanging) {
        self.hanging.send_replace(hanging);
        while self.open.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
    }
}

fn reuses(seen: &Pooled) -> Finding {
    Finding::judged(
        seen.opened_by_ten == 1,
        format!("{} connection for 10 operations", seen.opened_by_ten),
        "operations one after another over TCP, connections counted by the pool's manager",
    )
}

fn idle_timeout(seen: &Pooled) -> Finding {
    Finding::judged(
        (seen.opened_after_29, seen.opened_after_31) == (0, 1),
        format!("{} opened after 29 s idle, {} after 31 s", seen.opened_after_29, seen.opened_after_31),
        "default settings, real connections, virtual time",
    )
}

fn retries_once(seen: &Pooled) -> Finding {
    let Pooled { stale, broken, .. } = seen;
    Finding::judged(
        (stale.made, stale.answered, broken.made, broken.answered) == (2, true, 2, false),
        format!(
            "{} attempts when the idle connection had been closed, {} when the next one is closed as well",
            stale.made, broken.made
        ),
        "a server that hangs up, over TCP",
    )
}

fn new_connection(seen: &Pooled) -> Finding {
    Finding::judged(
        seen.stale.opened == 1 && seen.stale.answered,
        format!("{} opened in place of the one that had been closed", seen.stale.opened),
        "a server that hangs up on the idle connection, over TCP",
    )
}

fn as_configured(seen: &Pooled) -> Finding {
    Finding::judged(
        (seen.at_once, seen.left_after_299, seen.left_after_301) == (MOST, MOST, 0),
        format!(
            "{} connections at once, {} of them left after 299 s idle, {} after 301 s",
            seen.at_once, seen.left_after_299, seen.left_after_301
        ),
        "a pool with these settings whose callers take as many as they get, real connections, virtual time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[tokio::test]
    async fn the_pool_does_as_the_document_says() {
        let seen = observe().await.unwrap();

        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&seen).verdict, Verdict::Met, "{id}: {seen:?}");
        }
    }

    #[test]
    fn a_third_attempt_is_one_too_many() {
        let attempts = |made, answered| Attempts { made, opened: 1, answered };
        let seen = |stale, broken| Pooled { stale, broken, ..Pooled::default() };

        assert_eq!(retries_once(&seen(attempts(2, true), attempts(2, false))).verdict, Verdict::Met);
        assert_eq!(retries_once(&seen(attempts(2, true), attempts(3, false))).verdict, Verdict::NotMet);
        assert_eq!(retries_once(&seen(attempts(1, false), attempts(1, false))).verdict, Verdict::NotMet);
    }
}

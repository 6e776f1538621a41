//! Finds or starts what the state plane consists of.

mod started;

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_postgres::{Config, NoTls, config::Host};

use self::started::{postgres_programs, start_postgres, start_redis};
use super::StateError;
use super::connect::{POSTGRESQL, REDIS};
use super::postgres;
use super::redis::{self, RedisUrl, RedisUrlError};
use super::server::{Server, find};
use crate::data;
use crate::link::{InstanceOptions, StateMode};

/// How long a server given by URL may take to say who it is.
const GREETING: Duration = Duration::from_secs(3);

/// Database and cache, ready to be forwarded to.
#[derive(Debug)]
pub struct Provisioned {
    /// The database.
    pub database: Backend,
    /// The cache.
    pub cache: Backend,
    /// What was found but cannot be used, a sentence each.
    pub notes: Vec<String>,
    servers: Vec<Server>,
}

/// The servers that are looked for.
pub const SERVERS: [&str; 2] = [POSTGRESQL, REDIS];

/// Whether a server of [`SERVERS`] is found, so that [`StateMode::Auto`] uses it.
pub fn is_installed(server: &str) -> bool {
    match server {
        POSTGRESQL => postgres_programs().is_some(),
        REDIS => find("redis-server", &[]).is_some(),
        _ => false,
    }
}

/// What one part is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "both kinds are handled wherever kinds are told apart")]
pub enum Backend {
    /// The part that is compiled in.
    Embedded,
    /// A server.
    Server {
        /// How to log in.
        url: String,
        /// Name or address.
        host: String,
        /// Where it listens.
        port: u16,
    },
}

impl Backend {
    /// The URL, if it is a server.
    pub fn url(&self) -> Option<String> {
        match self {
            Self::Embedded => None,
            Self::Server { url, .. } => Some(url.clone()),
        }
    }
}

/// Why a database or cache that was asked for by URL cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The URL is not one of PostgreSQL's.
    #[error("database url is not of the form postgresql://[user[:password]@]host[:port]/database; {reason}")]
    DatabaseUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The URL is not one of Redis's.
    #[error(transparent)]
    RedisUrl(#[from] RedisUrlError),
    /// Nothing answers there.
    #[error("the {part} at {host}:{port} cannot be reached: {source}")]
    Unreachable {
        /// `database` or `cache`.
        part: &'static str,
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// Something answers, but refuses to be used, or is something else.
    #[error("the {part} at {host}:{port} cannot be used: {reason}")]
    Unusable {
        /// `database` or `cache`.
        part: &'static str,
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// What it said.
        reason: String,
    },
}

/// Takes what is given by URL; with [`StateMode::Auto`] otherwise starts what is installed, in the data folder and on free
/// loopback ports; what is neither given nor installed is embedded.
///
/// # Errors
/// [`ProvisionError`] when something given by URL cannot be used. What is only found and cannot be used becomes a note.
pub async fn provision(options: &InstanceOptions) -> Result<Provisioned, ProvisionError> {
    let mut made =
        Provisioned { database: Backend::Embedded, cache: Backend::Embedded, notes: Vec::new(), servers: Vec::new() };
    let auto = options.state == StateMode::Auto;
    if let Some(url) = &options.database_url {
        made.database = given_postgres(url).await?;
    } else if auto && let Some(programs) = postgres_programs() {
        match start_postgres(&programs, &options.data.join("postgresql")).await {
            Ok((backend, server)) => made.keep(server, |made| made.database = backend),
            Err(error) => made.notes.push(format!("PostgreSQL is installed but cannot be used: {}", chain(&error))),
        }
    }
    if let Some(url) = &options.redis_url {
        made.cache = given_redis(url).await?;
    } else if auto && let Some(program) = find("redis-server", &[]) {
        match start_redis(&program, &options.data.join("redis")).await {
            Ok((backend, server)) => made.keep(server, |made| made.cache = backend),
            Err(error) => made.notes.push(format!("Redis is installed but cannot be used: {}", chain(&error))),
        }
    }
    Ok(made)
}

impl Provisioned {
    fn keep(&mut self, server: Server, set: impl FnOnce(&mut Self)) {
        self.servers.push(server);
        set(self);
    }

    /// Stops the servers that were started, and waits for them.
    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Logs in to what is given by URL.
///
/// # Errors
/// [`ProvisionError`] when something else answers there, nothing within three seconds, or it refuses.
pub async fn greet(options: &InstanceOptions) -> Result<(), ProvisionError> {
    if let Some(url) = &options.database_url {
        let (config, host, port) = postgres_parts(url)?;
        let stream = reach("database", &host, port).await?;
        in_time("database", &host, port, async { Ok(config.connect_raw(stream, NoTls).await.map(drop)?) }).await?;
    }
    if let Some(url) = &options.redis_url {
        greet_redis(url).await?;
    }
    Ok(())
}

fn postgres_parts(url: &str) -> Result<(Config, String, u16), ProvisionError> {
    let config: Config = url.parse().map_err(|error| ProvisionError::DatabaseUrl { reason: chain(&error) })?;
    let [Host::Tcp(host)] = config.get_hosts() else {
        return Err(ProvisionError::DatabaseUrl { reason: "it names no single host".to_owned() });
    };
    let (host, port) = (host.clone(), config.get_ports().first().copied().unwrap_or(5432));
    Ok((config, host, port))
}

async fn given_postgres(url: &str) -> Result<Backend, ProvisionError> {
    let (config, host, port) = postgres_parts(url)?;
    let stream = reach("database", &host, port).await?;
    let logging_in = async { Ok(config.connect_raw(stream, NoTls).await?) };
    let (client, connection) = in_time("database", &host, port, logging_in).await?;
    let driver = tokio::spawn(connection);
    let ready = postgres::set_up(&client, data::cities()).await;
    driver.abort();
    ready.map_err(unusable("database", &host, port))?;
    Ok(Backend::Server { url: url.to_owned(), host, port })
}

async fn given_redis(url: &str) -> Result<Backend, ProvisionError> {
    let RedisUrl { host, port, .. } = greet_redis(url).await?;
    Ok(Backend::Server { url: url.to_owned(), host, port })
}

async fn greet_redis(url: &str) -> Result<RedisUrl, ProvisionError> {
    let parsed = RedisUrl::parse(url)?;
    let stream = reach("cache", &parsed.host, parsed.port).await?;
    in_time("cache", &parsed.host, parsed.port, redis::greet(stream, &parsed)).await?;
    Ok(parsed)
}

fn unusable(what: &'static str, host: &str, port: u16) -> impl Fn(StateError) -> ProvisionError {
    move |error| ProvisionError::Unusable { part: what, host: host.to_owned(), port, reason: chain(&error) }
}

/// Bounds what is said to a server that may be something else, and wait for more to be said.
async fn in_time<T>(
    what: &'static str,
    host: &str,
    port: u16,
    greeting: impl Future<Output = Result<T, StateError>>,
) -> Result<T, ProvisionError> {
    if let Ok(greeted) = tokio::time::timeout(GREETING, greeting).await {
        return greeted.map_err(unusable(what, host, port));
    }
    let reason = format!("it does not answer within {GREETING:?}");
    Err(ProvisionError::Unusable { part: what, host: host.to_owned(), port, reason })
}

async fn reach(what: &'static str, host: &str, port: u16) -> Result<TcpStream, ProvisionError> {
    let refused = |source| ProvisionError::Unreachable { part: what, host: host.to_owned(), port, source };
    TcpStream::connect((host, port)).await.map_err(refused)
}

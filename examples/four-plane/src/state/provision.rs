//! Finds or starts what the state plane consists of.

use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tokio::net::TcpStream;
use tokio_postgres::{Config, NoTls, config::Host};

use super::StateError;
use super::postgres;
use super::redis::{self, RedisUrl, RedisUrlError};
use super::server::{RunAs, Server, ServerError, find, free_port, run, system};
use crate::data;
use crate::link::{InstanceOptions, StateMode};

/// How long a server given by URL may take to say who it is.
const GREETING: Duration = Duration::from_secs(3);
/// Where Debian, Red Hat and Homebrew put PostgreSQL's programs, one folder per version.
const POSTGRES_HOMES: [&str; 4] =
    ["/usr/lib/postgresql", "/usr/pgsql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql"];
/// The user that PostgreSQL's packages make; it refuses to run as root.
const POSTGRES_USER: &str = "postgres";

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

/// `postgres` and `initdb`.
fn postgres_programs() -> Option<(PathBuf, PathBuf)> {
    let versions = POSTGRES_HOMES.iter().flat_map(|home| fs::read_dir(home).into_iter().flatten().flatten());
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    let version = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<f64>().ok();
    folders.sort_by(|a, b| version(b).partial_cmp(&version(a)).unwrap_or(std::cmp::Ordering::Equal));
    Some((find("postgres", &folders)?, find("initdb", &folders)?))
}

async fn start_postgres(
    (postgres, initdb): &(PathBuf, PathBuf),
    folder: &Path,
) -> Result<(Backend, Server), ServerError> {
    let run_as = unprivileged().await?;
    let folder = folder_for(folder, run_as)?;
    let (cluster, secret) = (folder.join("cluster"), folder.join("password"));
    let password = password(&secret, run_as)?;
    let (cluster, secret) = (cluster.display().to_string(), secret.display().to_string());
    if !Path::new(&cluster).join("PG_VERSION").exists() {
        let initdb = initdb.display().to_string();
        let from = format!("--pwfile={secret}");
        let options = [
            "-U",
            "four_plane",
            "-E",
            "UTF8",
            "--locale=C",
            "--auth=scram-sha-256",
            &from,
            "--no-sync",
            "-D",
            &cluster,
        ];
        run(&[&[initdb.as_str()], &options[..]].concat(), run_as).await?;
    }
    let port = free_port().await?;
    let (postgres, digits) = (postgres.display().to_string(), port.to_string());
    let options = [
        "-D",
        &cluster,
        "-p",
        &digits,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
        "-c",
        "max_connections=100",
        "-c",
        "shared_buffers=32MB",
    ];
    let command = [&[postgres.as_str()], &options[..]].concat();
    // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
    let server = Server::start(&command, "INT", run_as, port, &folder.join("log")).await?;
    let url = format!("postgresql://four_plane:{password}@127.0.0.1:{port}/postgres");
    match given_postgres_when_ready(&url).await {
        Ok(backend) => Ok((backend, server)),
        Err(error) => {
            server.stop().await;
            Err(ServerError::Command { command: "setting up the database".to_owned(), output: chain(&error) })
        }
    }
}

/// The port answers before the server takes connections: it says "starting up" until then.
async fn given_postgres_when_ready(url: &str) -> Result<Backend, ProvisionError> {
    for _ in 0..500 {
        match given_postgres(url).await {
            Err(ProvisionError::Unusable { reason, .. }) if reason.contains("starting up") => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
    given_postgres(url).await
}

async fn start_redis(program: &Path, folder: &Path) -> Result<(Backend, Server), ServerError> {
    let folder = folder_for(folder, None)?;
    let password = password(&folder.join("password"), None)?;
    let port = free_port().await?;
    let config = folder.join("redis.conf");
    // In a file, since everybody can read a command line.
    let settings = format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {}\nsave \"\"\nappendonly no\nmaxmemory 64mb\n\
         maxmemory-policy allkeys-lru\n",
        folder.display()
    );
    write_secret(&config, &settings, None)?;
    let command = [program.display().to_string(), config.display().to_string()];
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let server = Server::start(&command, "TERM", None, port, &folder.join("log")).await?;
    let url = format!("redis://:{password}@127.0.0.1:{port}");
    Ok((Backend::Server { url, host: Ipv4Addr::LOCALHOST.to_string(), port }, server))
}

/// PostgreSQL's own user when this process is root.
async fn unprivileged() -> Result<RunAs, ServerError> {
    let id = |output: String| output.trim().parse::<u32>().unwrap_or(u32::MAX);
    if id(run(&["id", "-u"], None).await?) != 0 {
        return Ok(None);
    }
    let user = id(run(&["id", "-u", POSTGRES_USER], None).await?);
    let group = id(run(&["id", "-g", POSTGRES_USER], None).await?);
    Ok(Some((user, group)))
}

/// The folder, for this user alone. When another user cannot pass through those above it, one for temporary files stands in,
/// the same each time.
fn folder_for(folder: &Path, run_as: RunAs) -> Result<PathBuf, ServerError> {
    let mut folder = folder.to_owned();
    fs::create_dir_all(&folder).map_err(system(folder.display().to_string()))?;
    if run_as.is_some() {
        let whole = folder.canonicalize().map_err(system(folder.display().to_string()))?;
        if !passable(&whole)? {
            let name = whole.display().to_string().replace('/', "-");
            folder = std::env::temp_dir().join(format!("four-plane{name}"));
            make_private(&folder, run_as)?;
        }
    }
    let failed = || system(folder.display().to_string());
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(failed())?;
    if let Some((user, group)) = run_as {
        std::os::unix::fs::chown(&folder, Some(user), Some(group)).map_err(failed())?;
    }
    Ok(folder)
}

/// A folder where everybody can make one: what is there already must be one that was made here.
fn make_private(folder: &Path, run_as: RunAs) -> Result<(), ServerError> {
    let failed = || system(folder.display().to_string());
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(folder).map_err(failed())?;
            let ours = found.uid() == 0 || run_as.is_some_and(|(user, _)| user == found.uid());
            if found.is_dir() && ours { Ok(()) } else { Err(failed()(error)) }
        }
        made => made.map_err(failed()),
    }
}

/// Whether everybody can pass through every folder above.
fn passable(folder: &Path) -> Result<bool, ServerError> {
    for above in folder.ancestors().skip(1) {
        let mode = fs::metadata(above).map_err(system(above.display().to_string()))?.mode();
        if mode & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The password that the file holds, made when it is not there: 128 random bits in hexadecimal digits.
fn password(file: &Path, run_as: RunAs) -> Result<String, ServerError> {
    use std::fmt::Write as _;
    use std::io::Read as _;
    if let Ok(password) = fs::read_to_string(file) {
        return Ok(password.trim().to_owned());
    }
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(system("/dev/urandom"))?;
    let mut password = String::new();
    for byte in bytes {
        // Writing to a string cannot fail.
        let _infallible = write!(password, "{byte:02x}");
    }
    write_secret(file, &password, run_as)?;
    Ok(password)
}

fn write_secret(file: &Path, text: &str, run_as: RunAs) -> Result<(), ServerError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = || system(file.display().to_string());
    let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    open.and_then(|mut open| open.write_all(text.as_bytes())).map_err(failed())?;
    if let Some((user, group)) = run_as {
        std::os::unix::fs::chown(file, Some(user), Some(group)).map_err(failed())?;
    }
    Ok(())
}

//! Starts the servers that are installed: in the data folder, on free loopback ports, not as root.

use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use super::{Backend, ProvisionError, chain, given_postgres};
use crate::state::server::{RunAs, Server, ServerError, find, free_port, run, system};

/// Where Debian, Red Hat and Homebrew put PostgreSQL's programs, one folder per version.
const POSTGRES_HOMES: [&str; 4] =
    ["/usr/lib/postgresql", "/usr/pgsql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql"];
/// The user that PostgreSQL's packages make; it refuses to run as root.
const POSTGRES_USER: &str = "postgres";

/// `postgres` and `initdb`.
pub(super) fn postgres_programs() -> Option<(PathBuf, PathBuf)> {
    let versions = POSTGRES_HOMES.iter().flat_map(|home| fs::read_dir(home).into_iter().flatten().flatten());
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    let version = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<f64>().ok();
    folders.sort_by(|a, b| version(b).partial_cmp(&version(a)).unwrap_or(std::cmp::Ordering::Equal));
    Some((find("postgres", &folders)?, find("initdb", &folders)?))
}

pub(super) async fn start_postgres(
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

pub(super) async fn start_redis(program: &Path, folder: &Path) -> Result<(Backend, Server), ServerError> {
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

//! A server that is started, watched over and stopped.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Runs the server until its standard input ends, then stops it and waits. It outlives neither this process nor, since
/// the pipe closes with it, a `kill -9` of this process. The first argument is the signal that stops it.
const GUARD: &str = r#"signal=$1; shift; "$@" <&- & server=$!
cat >/dev/null; kill -s "$signal" "$server" 2>/dev/null; wait "$server""#;

/// How long a server may take to stop.
const STOPPED: Duration = Duration::from_secs(30);
/// How long the server of a state instance that was killed may still be stopping. With [`ANSWERING`], less than the
/// supervisor gives an instance to start.
const STOPPING: Duration = Duration::from_secs(8);
/// How long a server may take to answer. PostgreSQL after a crash reads its log first.
const ANSWERING: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a server cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A command cannot be started, or a file or folder cannot be made.
    #[error("{what} failed")]
    System {
        /// The command or the path.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A command ended with another code than 0.
    #[error("{command} failed: {output}")]
    Command {
        /// Its name.
        command: String,
        /// The last line that it printed.
        output: String,
    },
    /// It ended, or does not answer within 20 s.
    #[error("{command} does not answer; its output is in {}", log.display())]
    Silent {
        /// Its name.
        command: String,
        /// Where its output is.
        log: PathBuf,
    },
    /// One that was started before does not stop within 8 s.
    #[error("a {command} that was started before still runs; its output is in {}", log.display())]
    StillRuns {
        /// Its name.
        command: String,
        /// Where its output is.
        log: PathBuf,
    },
}

pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> ServerError {
    let what = what.into();
    |source| ServerError::System { what, source }
}

/// Who a server runs as; `None` is whoever runs this process.
pub(super) type RunAs = Option<(u32, u32)>;

/// A server process. Dropping it stops the server without waiting for its end; [`Self::stop`] waits.
#[derive(Debug)]
pub struct Server {
    guard: Child,
}

impl Server {
    /// Starts a command and waits until its port answers. What it prints goes to `log`.
    pub(super) async fn start(
        command: &[&str],
        stop: &str,
        run_as: RunAs,
        port: u16,
        log: &Path,
    ) -> Result<Self, ServerError> {
        let name = command.first().copied().unwrap_or_default();
        let output = own_log(name, log).await?;
        let errors = output.try_clone().map_err(system(log.display().to_string()))?;
        let mut guard = std::process::Command::new("/bin/sh");
        guard.args(["-c", GUARD, "guard", stop]).args(command);
        // A group of its own: Ctrl-C in a terminal reaches this process first, which stops the server in its turn.
        guard.process_group(0).stdin(Stdio::piped()).stdout(output).stderr(errors);
        if let Some((user, group)) = run_as {
            guard.uid(user).gid(group);
        }
        let mut server = Self { guard: Command::from(guard).spawn().map_err(system(name))? };
        let answers = tokio::time::timeout(ANSWERING, async {
            while server.guard.try_wait().is_ok_and(|ended| ended.is_none()) {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                    return true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            false
        });
        if !answers.await.unwrap_or(false) {
            server.end().await;
            return Err(ServerError::Silent { command: name.to_owned(), log: log.to_owned() });
        }
        Ok(server)
    }

    /// Stops the server and waits until it is gone, at most 30 s.
    pub async fn stop(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        drop(self.guard.stdin.take());
        let _gone_or_stuck = tokio::time::timeout(STOPPED, self.guard.wait()).await;
    }
}

/// The empty log of a server, locked for as long as the server or its guard runs: it is the output of both. So a server
/// that is still stopping is waited for, whoever started it.
async fn own_log(command: &str, log: &Path) -> Result<File, ServerError> {
    let failed = || system(log.display().to_string());
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(log).map_err(failed())?;
    let locking = async {
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(PAUSE).await,
                locked => return locked,
            }
        }
    };
    let locked = tokio::time::timeout(STOPPING, locking).await;
    let still_runs = |_| ServerError::StillRuns { command: command.to_owned(), log: log.to_owned() };
    locked.map_err(still_runs)?.map_err(|error| failed()(error.into()))?;
    file.set_len(0).map_err(failed())?;
    Ok(file)
}

/// A loopback port that nobody listens on.
pub(super) async fn free_port() -> Result<u16, ServerError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(system("binding a loopback port"))?;
    Ok(listener.local_addr().map_err(system("binding a loopback port"))?.port())
}

/// Runs a command to its end.
pub(super) async fn run(command: &[&str], run_as: RunAs) -> Result<String, ServerError> {
    let name = command.first().copied().unwrap_or_default();
    let mut process = std::process::Command::new(name);
    process.args(command.get(1..).unwrap_or_default()).stdin(Stdio::null());
    if let Some((user, group)) = run_as {
        process.uid(user).gid(group);
    }
    let output = Command::from(process).output().await.map_err(system(name))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output");
    Err(ServerError::Command { command: name.to_owned(), output: last.to_owned() })
}

/// Finds a program on the `PATH` and in further folders; of several versions, `folders` name the newest first.
pub(super) fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

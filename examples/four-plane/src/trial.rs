//! A whole stack, started by another process to be measured or tested.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::Method;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::client::{Answer, Client, ClientError};
use crate::clock;
use crate::run::Ready;

/// How long a stack may take to answer: a debug build on a busy machine is slow to start.
const START_LIMIT: Duration = Duration::from_secs(150);
/// How long a request of a trial may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// A running stack with a folder of its own. Dropping it kills its parent process, and with that everything.
#[derive(Debug)]
pub struct Stack {
    child: Child,
    pid: u32,
    ready: Ready,
    client: Client,
    folder: Folder,
}

/// Removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> std::io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("four-plane-trial-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is a temporary file too many, and no reason to fail.
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

impl Stack {
    /// Starts `binary run` on free ports with embedded parts, which end without a grace, and waits until it is ready. Further arguments follow the
    /// usual ones, so they win: `--load 0`, `--state auto`, `--config FILE` …
    ///
    /// # Errors
    /// When it does not start, or is not ready in time; the text holds what it said.
    pub async fn start(binary: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(Folder::new()?, binary, arguments).await
    }

    /// The same with a configuration file that says `config`.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub async fn configured(binary: &Path, config: &Value, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let file = folder.0.join("config.json");
        std::fs::write(&file, config.to_string())?;
        let file = file.to_string_lossy().into_owned();
        let arguments: Vec<_> = ["--config", &file].into_iter().chain(arguments.iter().copied()).collect();
        Self::start_in(folder, binary, &arguments).await
    }

    async fn start_in(folder: Folder, binary: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let (ready_file, log) = (folder.0.join("ready.json"), folder.0.join("stderr.log"));
        let mut command = Command::new(binary);
        command.args(["run", "--listen", "127.0.0.1:0", "--state", "embedded", "--drain-grace", "0"]);
        command.arg("--data").arg(folder.0.join("data")).arg("--ready-file").arg(&ready_file).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        let pid = child.id().context("the stack has no process id")?;
        let begin = clock::since_start();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready_file) {
                let ready = serde_json::from_str(&text).context("the ready file is not what it should be")?;
                return Ok(Self { child, pid, ready, client: Client::new(), folder });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the stack ended before it was ready ({status}): {}", said());
            }
            ensure!(clock::since_start().saturating_sub(begin) < START_LIMIT, "the stack is not ready: {}", said());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What its ready file says.
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The parent's process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written to standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("stderr.log")).unwrap_or_default()
    }

    /// A `GET` at the edge.
    ///
    /// # Errors
    /// When no answer comes within 15 s.
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.client.get(&format!("{}{path}", self.ready.edge), LIMIT).await
    }

    /// Any request to the control plane.
    ///
    /// # Errors
    /// When no answer comes within 15 s.
    pub async fn control(&self, method: Method, path: &str, body: &str) -> Result<Answer, ClientError> {
        self.client.send(method, &format!("{}{path}", self.ready.control), body.to_owned().into(), LIMIT).await
    }

    /// The status document.
    ///
    /// # Errors
    /// When no answer comes within 15 s.
    pub async fn status(&self) -> Result<Value, ClientError> {
        Ok(self.control(Method::GET, "/control/status", "").await?.json())
    }

    /// Injects a fault and returns its id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn inject(&self, fault: &Value) -> anyhow::Result<u64> {
        let answer = self.control(Method::POST, "/control/faults", &fault.to_string()).await?;
        let id = answer.json().get("id").and_then(Value::as_u64);
        id.with_context(|| format!("{fault} was refused: {}", String::from_utf8_lossy(&answer.body)))
    }

    /// Ends a fault.
    ///
    /// # Errors
    /// When it is not active.
    pub async fn end_fault(&self, id: u64) -> anyhow::Result<()> {
        let answer = self.control(Method::DELETE, &format!("/control/faults/{id}"), "").await?;
        ensure!(answer.status.is_success(), "fault {id} cannot be ended: {}", answer.status);
        Ok(())
    }

    /// Waits until the status fulfils a condition, and returns it with the time that it took.
    ///
    /// # Errors
    /// When it does not within the limit; `what` says what was waited for.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<(Value, Duration)> {
        let begin = clock::since_start();
        loop {
            let status = self.status().await?;
            let waited = clock::since_start().saturating_sub(begin);
            if condition(&status) {
                return Ok((status, waited));
            }
            ensure!(waited < limit, "{what}: not within {} s; {}", limit.as_secs(), brief(&status));
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends the parent a signal, such as `INT` or `TERM`.
    ///
    /// # Errors
    /// When there is no shell to send it with.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid)).status().await?;
        ensure!(status.success(), "cannot send {name} to {}", self.pid);
        Ok(())
    }

    /// Waits for the parent's end.
    ///
    /// # Errors
    /// When it does not end within the limit.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        Ok(ended.with_context(|| format!("the stack has not ended after {} s", limit.as_secs()))??)
    }

    /// Kills the parent with SIGKILL.
    ///
    /// # Errors
    /// When it has ended before.
    pub async fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill().await
    }

    /// Drains and ends it.
    ///
    /// # Errors
    /// When it does not end, or not with exit code 0.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM").await?;
        let status = self.ended(Duration::from_mins(1)).await?;
        ensure!(status.success(), "the stack ended with {status}: {}", self.said());
        Ok(())
    }
}

/// The members of a JSON array at a path such as `/planes`; none where there is no array.
pub fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The services of all planes in the status document.
pub fn services(status: &Value) -> impl Iterator<Item = &Value> {
    items(status, "/planes").flat_map(|plane| items(plane, "/services"))
}

/// A service in the status document; `null` where there is none.
pub fn service<'a>(status: &'a Value, name: &str) -> &'a Value {
    services(status).find(|service| service["service"] == name).unwrap_or(&Value::Null)
}

/// An instance in the status document; `null` where there is none.
pub fn instance<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut instances = services(status).flat_map(|service| items(service, "/instances"));
    instances.find(|instance| instance["instance"] == name).unwrap_or(&Value::Null)
}

/// What someone who waited in vain wants to see of a status.
fn brief(status: &Value) -> String {
    let events: Vec<_> =
        items(status, "/events").take(5).map(|event| event["text"].as_str().unwrap_or_default()).collect();
    format!("load {}, faults {}, last events: {}", status["load"], status["faults"], events.join("; "))
}

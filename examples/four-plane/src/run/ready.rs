//! When the stack is ready, and the file that says so.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::config::ConfigError;
use crate::control::Control;
use crate::supervisor::Supervisor;

/// What has to answer at the edge before the stack counts as ready.
const FIRST_REQUESTS: [&str; 2] = ["/catalog/popular", "/recommendations/u1"];
/// How long one of them may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);

/// What `--ready-file` holds.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// Where the users' requests go.
    pub edge: String,
    /// The live page.
    pub page: String,
    /// The control plane; its paths begin with `/control/`.
    pub control: String,
    /// What the state plane's parts are.
    pub state: StateNames,
    /// Every process.
    pub processes: Vec<ReadyProcess>,
}

/// What the state plane's parts are.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateNames {
    /// `postgresql` or `embedded`.
    pub database: String,
    /// `redis` or `embedded`.
    pub cache: String,
}

/// One process of the stack.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadyProcess {
    /// `edge`, `service`, `state` or `control`.
    pub plane: String,
    /// `edge`, `gateway`, `catalog`, `recommendation`, `state`, `control` or `load`.
    pub service: String,
    /// `catalog/1` …
    pub instance: String,
    /// The process id.
    pub pid: u32,
    /// Where `/health` and `/metrics` answer; empty for the load, which serves nothing.
    pub url: String,
}

impl Ready {
    /// The stack as it is.
    pub(super) fn new(control: &Control) -> Self {
        let roster = control.supervisor.roster();
        let instances = roster.members().iter().filter_map(|member| {
            Some(ReadyProcess {
                plane: member.role().plane().to_owned(),
                service: member.role().name().to_owned(),
                instance: member.name(),
                pid: member.pid()?,
                url: member.url()?,
            })
        });
        let mut processes: Vec<_> = instances.collect();
        processes.sort_by(|a, b| (&a.plane, &a.instance).cmp(&(&b.plane, &b.instance)));
        let own = |name: &str, pid: u32, url: &str| ReadyProcess {
            plane: "control".to_owned(),
            service: name.to_owned(),
            instance: name.to_owned(),
            pid,
            url: url.to_owned(),
        };
        processes.push(own("control", std::process::id(), &control.own_url));
        processes.extend(control.load.process().pid.map(|pid| own("load", pid, "")));
        let parts = roster.state();
        let part = |name: Option<&String>| name.map_or_else(|| "embedded".to_owned(), Clone::clone);
        Self {
            edge: control.edge.clone(),
            page: format!("{}/", control.own_url),
            control: control.own_url.clone(),
            state: StateNames {
                database: part(parts.map(|parts| &parts.database)),
                cache: part(parts.map(|parts| &parts.cache)),
            },
            processes,
        }
    }

    /// Writes the file in one step, so that nobody reads half of it.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let failed = |cause| ConfigError::Path { field: "ready_file", path: path.to_owned(), cause };
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        std::fs::write(&new, serde_json::to_string_pretty(self)? + "\n").map_err(failed)?;
        std::fs::rename(&new, path).map_err(failed)?;
        Ok(())
    }
}

/// Removes an earlier file, and shows before anything is started that a new one can be written.
pub(super) fn prepare(path: &Path) -> Result<(), ConfigError> {
    let failed = |cause| ConfigError::Path { field: "ready_file", path: path.to_owned(), cause };
    std::fs::write(path, "").and_then(|()| std::fs::remove_file(path)).map_err(failed)
}

/// Returns when every instance is healthy and the first requests are answered at the edge.
pub(super) async fn answers(supervisor: &Supervisor, edge: &str) {
    let mut roster = supervisor.watch();
    // An error means that the supervisor ended, which only happens when the stack is drained.
    let _gone = roster.wait_for(crate::supervisor::Roster::is_healthy).await;
    let client = Client::new();
    for path in FIRST_REQUESTS {
        let url = format!("{edge}{path}");
        while !client.get(&url, LIMIT).await.is_ok_and(|answer| !answer.status.is_server_error()) {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

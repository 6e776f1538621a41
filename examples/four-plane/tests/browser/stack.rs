//! A whole stack in a folder of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

/// Longest that the stack may take to answer, on a busy machine and with an unoptimized binary.
const READY: Duration = Duration::from_secs(110);
/// Longest that it may take to drain and stop.
const STOPPED: Duration = Duration::from_secs(50);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Stopped with [`Stack::stop`]; a stack that is dropped is killed, and its instances end with it.
pub(crate) struct Stack {
    parent: Child,
    folder: TempDir,
    ready: Value,
}

impl Stack {
    /// With a configuration file that says `config`.
    pub(crate) async fn start(config: &Value) -> Self {
        let folder = TempDir::new().expect("the temporary folder can be written");
        let (file, settings) = (folder.path().join("ready.json"), folder.path().join("config.json"));
        std::fs::write(&settings, config.to_string()).expect("the temporary folder can be written");
        let mut parent = Command::new(env!("CARGO_BIN_EXE_four-plane"))
            .args(["run", "--listen", "127.0.0.1:0", "--state", "embedded"])
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--ready-file")
            .arg(&file)
            .arg("--config")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built");

        let waiting = async {
            let mut again = interval(LOOK_AGAIN);
            loop {
                again.tick().await;
                if let Some(status) = parent.try_wait().expect("a child can be waited for") {
                    return Err(status);
                }
                if let Some(ready) = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                    return Ok(ready);
                }
            }
        };
        let ready = timeout(READY, waiting).await.expect("the stack answers in time").expect("the stack keeps running");
        Self { parent, folder, ready }
    }

    /// Where the page is.
    pub(crate) fn page(&self) -> &str {
        self.ready["page"].as_str().expect("the ready file tells where the page is")
    }

    /// Interrupts the parent as Ctrl-C does, and checks that nothing is left behind.
    pub(crate) async fn stop(mut self) {
        let parent = self.parent.id().expect("the parent runs").to_string();
        let asked = Command::new("kill").args(["-INT", &parent]).status().await.expect("kill can be run");
        assert!(asked.success(), "the parent takes signals");
        let status = timeout(STOPPED, self.parent.wait()).await.expect("the stack stops in time");
        assert!(status.expect("a child can be waited for").success(), "the stack stops cleanly");

        let mut again = interval(LOOK_AGAIN);
        let gone = async {
            while self.instances().any(|pid| Path::new("/proc").join(pid.to_string()).exists()) {
                again.tick().await;
            }
        };
        timeout(STOPPED, gone).await.expect("no instance is left behind");
        self.folder.close().expect("the temporary folder can be removed");
    }

    fn instances(&self) -> impl Iterator<Item = u64> {
        self.ready["processes"].as_array().into_iter().flatten().filter_map(|process| process["pid"].as_u64())
    }
}

//! One child process and its pipes.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, oneshot};

/// A running child. Dropping this leaves it running; closing its pipe ends it.
#[derive(Debug, Clone)]
pub struct Process {
    pid: u32,
    kill: Arc<Notify>,
}

/// What goes into a child, comes out of it, and how it ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pipes {
    /// The child's standard input; a child of this program ends when it is dropped.
    pub input: ChildStdin,
    /// The child's standard output.
    pub lines: Lines<BufReader<ChildStdout>>,
    /// Resolves when the process has ended and has been waited for.
    pub ended: oneshot::Receiver<ExitStatus>,
}

impl Process {
    /// Starts a program in a process group of its own: a Ctrl-C in the terminal reaches the parent alone, which drains.
    ///
    /// # Errors
    /// When the system cannot start it.
    pub fn start(
        binary: &Path,
        arguments: &[OsString],
        environment: &[(&str, &str)],
    ) -> std::io::Result<(Self, Pipes)> {
        let mut command = Command::new(binary);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
        command.envs(environment.iter().copied());
        let mut child = command.spawn()?;
        let missing = || std::io::Error::other("the child has no pipe");
        let pid = child.id().ok_or_else(missing)?;
        let input = child.stdin.take().ok_or_else(missing)?;
        let lines = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        let kill = Arc::new(Notify::new());
        let asked = Arc::clone(&kill);
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                () = asked.notified() => {
                    // An error means that it has ended already, which wait reports.
                    let _ended = child.start_kill();
                    child.wait().await
                }
            };
            let _nobody = end.send(status.unwrap_or_default());
        });
        Ok((Self { pid, kill }, Pipes { input, lines, ended }))
    }

    /// The process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.kill.notify_one();
    }
}

//! `four-plane run`: the parent's life, from the first check to the last process that ends.

mod banner;
mod folder;
mod port;
mod ready;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::clock;
use crate::config::{ConfigError, RunOptions};
use crate::control::events::{Events, Severity};
use crate::control::{Control, Setting, routes};
use crate::load::driver::LoadDriver;
use crate::say;
use crate::state::provision::greet;
use crate::supervisor::{Plan, Supervisor};

pub use ready::{Ready, ReadyProcess, StateNames};

/// How long a server given by URL may take to accept a connection.
const REACH_LIMIT: Duration = Duration::from_secs(3);
/// How long the whole stack may take to answer.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How long open answers of the control plane may take at the end.
const CONTROL_LIMIT: Duration = Duration::from_secs(2);
/// What comes so soon after the first signal is the same wish: a shell and a wrapper each pass on one Ctrl-C.
const SAME_WISH: Duration = Duration::from_secs(1);

/// Starts the stack, serves until SIGINT or SIGTERM, drains, and returns when nothing is left.
///
/// # Errors
/// [`ConfigError`] when it cannot run as asked; any other error when it does not come up, or ends before what was under way.
pub async fn run(options: RunOptions) -> anyhow::Result<()> {
    reach_servers(&options).await?;
    if let Some(path) = &options.ready_file {
        ready::prepare(path)?;
    }
    let port = port::claim(options.listen)?;
    let control_port = port::listen_control(options.control, port.address()).await?;
    // Who lets the edge take any port looks for the page in the banner.
    if let Some(elsewhere) = control_port.elsewhere.filter(|_| options.listen.port() != 0) {
        say::err(format_args!("four-plane: {elsewhere}"));
    }
    let folder = folder::claim(&options.instance.data)?;
    let mut stop = Stop::new().context("cannot listen for signals")?;
    let binary = std::env::current_exe().context("cannot find the program itself")?;
    let stack = Stack::start(&options, binary, &port, control_port.listener)?;
    let outcome = tokio::select! {
        up = stack.up(&options) => up,
        () = stop.asked() => Ok(()),
    };
    if outcome.is_ok() && stop.asked_at.is_none() {
        stop.asked().await;
    }
    let control = stack.control.clone();
    let draining = async {
        say::err("draining; once more, after a second, stops at once");
        match stack.drain().await {
            0 => Ok(()),
            killed => Err(Undrained::Killed { killed }),
        }
    };
    let drained = tokio::select! {
        drained = draining => drained,
        // Returning drops every child's pipe and handle, which ends them.
        () = stop.asked_again() => Err(Undrained::Stopped { cut: control.under_way().await }),
    };
    drop((port, folder));
    outcome?;
    Ok(drained?)
}

/// Why the stack did not end in good order.
#[derive(Debug, thiserror::Error)]
enum Undrained {
    #[error("stopped without draining; requests that were cut: {cut}")]
    Stopped { cut: f64 },
    #[error("instances that did not finish in time and were killed: {killed}; what they had under way was cut")]
    Killed { killed: usize },
}

async fn reach_servers(options: &RunOptions) -> Result<(), ConfigError> {
    for (field, host, port) in options.servers()? {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let connecting = tokio::time::timeout(REACH_LIMIT, TcpStream::connect((bare, port)));
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer within 3 s");
        if let Err(cause) = connecting.await.unwrap_or_else(|_| Err(late())) {
            return Err(ConfigError::Unreachable { field, host, port, cause });
        }
    }
    Ok(greet(&options.instance).await?)
}

/// The running parts.
struct Stack {
    supervisor: Supervisor,
    control: Control,
    draining: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Stack {
    fn start(
        options: &RunOptions,
        binary: PathBuf,
        port: &port::EdgePort,
        listener: tokio::net::TcpListener,
    ) -> anyhow::Result<Self> {
        let events = Events::new();
        let edge = format!("http://{}", port::reachable(port.address()));
        let own_url = format!("http://{}", port::reachable(listener.local_addr()?));
        let plan = Plan::new(binary.clone(), port.address(), options.capacity.clone(), options.instance.clone());
        let supervisor = Supervisor::start(plan, events.clone());
        let load = LoadDriver::start(binary, edge.clone(), events.clone());
        let (draining_in, draining) = watch::channel(false);
        let setting = Setting::new(edge, own_url, options.capacity.edge, options.load, draining.clone());
        let control = Control::new(setting, supervisor.clone(), events, load);
        let app = routes(control.clone())?;
        let serving = tokio::spawn(async move {
            let mut draining = draining;
            let end = async move {
                let _gone = draining.wait_for(|draining| *draining).await;
            };
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(end).await {
                say::err(format_args!("the control plane cannot serve: {error}"));
            }
        });
        Ok(Self { supervisor, control, draining: draining_in, serving })
    }

    /// Returns when everything answers and the load runs.
    async fn up(&self, options: &RunOptions) -> anyhow::Result<()> {
        let waiting = tokio::time::timeout(START_LIMIT, ready::answers(&self.supervisor, &self.control.edge));
        if waiting.await.is_err() {
            let late = self.supervisor.roster();
            let late = late.members().iter().filter(|member| member.health().name() != "pass");
            let names: Vec<_> = late.map(crate::supervisor::Member::name).collect();
            anyhow::bail!("not ready after {} s; still waiting for: {}", START_LIMIT.as_secs(), names.join(", "));
        }
        tokio::spawn(self.control.clone().work());
        let ready = Ready::new(&self.control);
        if let Some(path) = &options.ready_file {
            ready.write(path)?;
        }
        self.control.events.add(Severity::Info, "control", "every instance answers");
        say::out(banner::text(&ready, options.load));
        Ok(())
    }

    /// Stops sending, lets every instance finish, then the control plane. Returns how many instances had to be killed.
    async fn drain(self) -> usize {
        self.control.load.stop().await;
        let killed = self.supervisor.drain().await;
        self.draining.send_replace(true);
        if tokio::time::timeout(CONTROL_LIMIT, self.serving).await.is_err() {
            say::err(format_args!(
                "the control plane's last answers did not finish within {} s",
                CONTROL_LIMIT.as_secs()
            ));
        }
        killed
    }
}

/// SIGINT and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    asked_at: Option<Duration>,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            asked_at: None,
        })
    }

    async fn asked(&mut self) {
        self.signal().await;
        self.asked_at = Some(clock::since_start());
    }

    /// Asked by somebody who has seen that the first time was heard.
    async fn asked_again(&mut self) {
        let heard_from = self.asked_at.unwrap_or_default().saturating_add(SAME_WISH);
        self.signal().await;
        while clock::since_start() < heard_from {
            self.signal().await;
        }
    }

    async fn signal(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

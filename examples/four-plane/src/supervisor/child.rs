//! The child's end of the link.

use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::draining::STAGE_LIMIT;
use crate::cli::InstanceArguments;
use crate::link::{Ending, Fault, FromInstance, Instance, Reporter, ToInstance, Topology};
use crate::{say, services};

struct Heard {
    topology: watch::Sender<Topology>,
    faults: watch::Sender<Vec<Fault>>,
    ending: watch::Sender<Ending>,
}

/// Serves a role as a child process: until it is drained, which SIGTERM asks for too, or until the parent's pipe closes.
///
/// # Errors
/// When the role cannot start.
pub async fn serve(arguments: InstanceArguments) -> anyhow::Result<()> {
    let (topology_in, topology) = watch::channel(Topology::default());
    let (faults_in, faults) = watch::channel(Vec::new());
    let (ending_in, ending) = watch::channel(Ending::NotYet);
    let (report, messages) = Reporter::new();
    // Threads of their own: an instance whose runtime hangs still notices that its parent is gone.
    let heard = Heard { topology: topology_in, faults: faults_in, ending: ending_in.clone() };
    std::thread::Builder::new().name("link in".to_owned()).spawn(move || listen(&heard))?;
    std::thread::Builder::new().name("link out".to_owned()).spawn(move || speak(messages))?;
    let terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let name = format!("{}/{}", arguments.role, arguments.number);
    let grace = arguments.run.instance.drain_grace;
    tokio::spawn(terminated(terminate, name, grace, ending_in, report.clone()));
    services::serve(Instance {
        role: arguments.role,
        number: arguments.number,
        listen: arguments.listen,
        capacity: arguments.capacity,
        options: arguments.run.instance,
        topology,
        faults,
        ending,
        report,
    })
    .await
}

/// Tells the parent why an instance ends, for the page: its next life will fail alike until somebody mends that.
pub fn failed(error: &anyhow::Error) {
    if let Ok(line) = serde_json::to_string(&FromInstance::Failed { cause: format!("{error:#}") }) {
        say::out(line);
    }
}

/// Ends the instance as the parent would, when somebody else asks for it: first it says so, then it takes nothing new.
async fn terminated(
    mut terminate: Signal,
    name: String,
    grace: Duration,
    ending: watch::Sender<Ending>,
    report: Reporter,
) {
    terminate.recv().await;
    report.event("info", format!("{name} was asked to end: not ready from here on, no new connections in {grace:?}"));
    proceed(&ending, Ending::Announced);
    tokio::time::sleep(grace).await;
    proceed(&ending, Ending::Draining);
    tokio::time::sleep(STAGE_LIMIT).await;
    say::err(format_args!("{name} did not finish within {} s", STAGE_LIMIT.as_secs()));
    std::process::exit(1);
}

/// Parent and signal may both say so: what has begun is not taken back.
fn proceed(ending: &watch::Sender<Ending>, step: Ending) {
    ending.send_if_modified(|ending| {
        let further = *ending < step;
        *ending = step.max(*ending);
        further
    });
}

fn listen(heard: &Heard) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(ToInstance::Topology(topology)) => drop(heard.topology.send_replace(topology)),
            Ok(ToInstance::Faults(faults)) => drop(heard.faults.send_replace(faults)),
            Ok(ToInstance::Announce) => proceed(&heard.ending, Ending::Announced),
            Ok(ToInstance::Drain) => proceed(&heard.ending, Ending::Draining),
            Err(error) => say::err(format_args!("cannot read a message of the parent: {error}")),
        }
    }
    // The parent is gone: so is the reason to run.
    std::process::exit(0);
}

fn speak(mut messages: mpsc::UnboundedReceiver<FromInstance>) {
    while let Some(message) = messages.blocking_recv() {
        let Ok(mut line) = serde_json::to_string(&message) else { continue };
        line.push('\n');
        let mut output = std::io::stdout().lock();
        if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

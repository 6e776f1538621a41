//! The child's end of the link.

use std::io::{BufRead, Write};

use tokio::sync::{mpsc, watch};

use crate::cli::InstanceArguments;
use crate::link::{Fault, FromInstance, Instance, Reporter, ToInstance, Topology};
use crate::{say, services};

struct Heard {
    topology: watch::Sender<Topology>,
    faults: watch::Sender<Vec<Fault>>,
    drain: watch::Sender<bool>,
}

/// Serves a role as a child process: until it is drained, or until the parent's pipe closes.
///
/// # Errors
/// When the role cannot start.
pub async fn serve(arguments: InstanceArguments) -> anyhow::Result<()> {
    let (topology_in, topology) = watch::channel(Topology::default());
    let (faults_in, faults) = watch::channel(Vec::new());
    let (drain_in, drain) = watch::channel(false);
    let (report, messages) = Reporter::new();
    // Threads of their own: an instance whose runtime hangs still notices that its parent is gone.
    let heard = Heard { topology: topology_in, faults: faults_in, drain: drain_in };
    std::thread::Builder::new().name("link in".to_owned()).spawn(move || listen(&heard))?;
    std::thread::Builder::new().name("link out".to_owned()).spawn(move || speak(messages))?;
    services::serve(Instance {
        role: arguments.role,
        number: arguments.number,
        listen: arguments.listen,
        capacity: arguments.capacity,
        options: arguments.run.instance,
        topology,
        faults,
        drain,
        report,
    })
    .await
}

fn listen(heard: &Heard) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(ToInstance::Topology(topology)) => drop(heard.topology.send_replace(topology)),
            Ok(ToInstance::Faults(faults)) => drop(heard.faults.send_replace(faults)),
            Ok(ToInstance::Drain) => drop(heard.drain.send_replace(true)),
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

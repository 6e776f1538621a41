//! What every instance is told, and how each gets what is meant for it.

use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::watch;

use crate::link::{Fault, Role, ToInstance, Topology};

/// What every instance is told; each takes what is meant for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bulletin {
    pub(super) topology: Topology,
    pub(super) faults: Vec<Fault>,
    /// All are to say that they will end.
    pub(super) announced: bool,
    pub(super) draining: Vec<Role>,
}

/// Writes what an instance has to know into its pipe, whenever that changes. Only the latest is ever waiting.
pub(super) async fn tell(mut input: ChildStdin, mut bulletin: watch::Receiver<Bulletin>, role: Role, number: u32) {
    let mut told = Bulletin::default();
    loop {
        let lines = news(&mut told, &bulletin.borrow_and_update(), role, number);
        if input.write_all(lines.as_bytes()).await.is_err() || bulletin.changed().await.is_err() {
            return;
        }
    }
}

/// The messages that bring an instance from what it was told to what is now.
fn news(told: &mut Bulletin, now: &Bulletin, role: Role, number: u32) -> String {
    let concerns = |fault: &&Fault| {
        fault.hits(role, number) || (role == Role::State && matches!(fault.target.as_str(), "database" | "cache"))
    };
    let mut messages = Vec::new();
    if replace(&mut told.topology, now.topology.clone()) {
        messages.push(ToInstance::Topology(told.topology.clone()));
    }
    if replace(&mut told.faults, now.faults.iter().filter(concerns).cloned().collect()) {
        messages.push(ToInstance::Faults(told.faults.clone()));
    }
    if now.announced && replace(&mut told.announced, true) {
        messages.push(ToInstance::Announce);
    }
    if now.draining.contains(&role) && replace(&mut told.draining, vec![role]) {
        messages.push(ToInstance::Drain);
    }
    messages.iter().filter_map(|message| serde_json::to_string(message).ok()).map(|line| line + "\n").collect()
}

/// Whether the new value differs from the one that it replaces.
pub(super) fn replace<T: PartialEq>(place: &mut T, new: T) -> bool {
    let differs = *place != new;
    *place = new;
    differs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::FaultKind;

    fn fault(target: &str) -> Fault {
        Fault { id: 1, kind: FaultKind::Latency, target: target.to_owned(), value: 5.0 }
    }

    #[test]
    fn an_instance_is_told_only_what_is_new_and_meant_for_it() {
        let mut told = Bulletin::default();
        let faults = vec![fault("catalog/2"), fault("database"), fault("edge")];
        let now = Bulletin { faults, ..Bulletin::default() };

        let first = news(&mut told, &now, Role::Catalog, 2);
        let again = news(&mut told, &now, Role::Catalog, 2);
        let other = news(&mut Bulletin::default(), &now, Role::Catalog, 1);
        let state = news(&mut Bulletin::default(), &now, Role::State, 1);

        assert!(first.contains("catalog/2") && !first.contains("database"), "{first}");
        assert_eq!((again.as_str(), other.as_str()), ("", ""));
        assert!(state.contains("database"), "{state}");
    }

    #[test]
    fn an_instance_is_told_once_that_it_will_end_and_once_to_drain() {
        let mut told = Bulletin::default();
        let announced = Bulletin { announced: true, ..Bulletin::default() };
        let now = Bulletin { draining: vec![Role::Edge, Role::Gateway], ..announced.clone() };

        assert_eq!(news(&mut told, &announced, Role::Gateway, 1), "\"announce\"\n");
        assert_eq!(news(&mut told, &now, Role::Gateway, 1), "\"drain\"\n");
        assert_eq!(news(&mut told, &now, Role::Gateway, 1), "");
        assert_eq!(news(&mut told, &now, Role::State, 1), "");
    }
}

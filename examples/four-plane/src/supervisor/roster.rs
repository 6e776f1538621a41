//! The table of instances: who runs where, and what the others are told about it.

use std::net::SocketAddr;

use super::Plan;
use crate::link::{Endpoint, Role, StateParts, Topology};

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every state is handled wherever states are told apart")]
pub enum Health {
    /// No process: it waits to be started again.
    Down,
    /// The process lives and has not passed a health check yet.
    Starting,
    /// The last health check passed.
    Pass,
    /// It passed once and does not now.
    Fail,
}

impl Health {
    /// The name that the status shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Starting => "starting",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }
}

/// Where an instance listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) service: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) cache: Option<SocketAddr>,
}

/// One instance, through all its lives.
#[derive(Debug, Clone)]
pub struct Member {
    pub(crate) role: Role,
    pub(crate) number: u32,
    /// Counts the processes that were this instance: tells a late message about an earlier one.
    pub(crate) life: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) health: Health,
    pub(crate) addresses: Option<Addresses>,
    /// Milliseconds on the parent's clock when the present process was started.
    pub(crate) started_ms: u64,
    /// Lives in a row that were shorter than 10 s.
    pub(crate) short_lives: u32,
    pub(crate) killed: bool,
}

impl Member {
    /// `role/number`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.role, self.number)
    }

    /// What it does.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The process, while there is one.
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// How it is.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// How often its process was started again.
    pub const fn restarts(&self) -> u32 {
        self.life.saturating_sub(1)
    }

    /// Where `/health` and `/metrics` answer, once it listens.
    pub fn url(&self) -> Option<String> {
        self.addresses.map(|addresses| format!("http://{}", addresses.admin))
    }

    /// Whether a target such as `catalog/2` or `catalog` means it.
    pub(crate) fn is(&self, target: &str) -> bool {
        target == self.role.name() || target == self.name()
    }
}

/// All instances of the stack.
#[derive(Debug, Clone)]
pub struct Roster {
    pub(crate) members: Vec<Member>,
    pub(crate) state: Option<StateParts>,
}

impl Roster {
    /// Every instance of every role, none started.
    pub(crate) fn new() -> Self {
        let members = Role::ALL.into_iter().flat_map(|role| {
            (1..=Plan::count(role)).map(move |number| Member {
                role,
                number,
                life: 0,
                pid: None,
                health: Health::Down,
                addresses: None,
                started_ms: 0,
                short_lives: 0,
                killed: false,
            })
        });
        Self { members: members.collect(), state: None }
    }

    /// The instances.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What database and cache are, once the state instance has said so.
    pub const fn state(&self) -> Option<&StateParts> {
        self.state.as_ref()
    }

    /// Whether every instance passes its health check.
    pub fn is_healthy(&self) -> bool {
        self.members.iter().all(|member| member.health == Health::Pass)
    }

    /// What the instances are told about each other.
    pub(crate) fn topology(&self) -> Topology {
        let endpoints = self.members.iter().filter_map(|member| {
            let addresses = member.addresses?;
            Some(Endpoint {
                role: member.role,
                instance: member.number,
                address: addresses.service,
                cache: addresses.cache,
                healthy: member.health == Health::Pass,
            })
        });
        Topology { endpoints: endpoints.collect(), state: self.state.clone() }
    }

    /// The running instance that a target means; of a role, the one that runs longest.
    pub(crate) fn running(&self, target: &str) -> Option<usize> {
        let candidates =
            self.members.iter().enumerate().filter(|(_, member)| member.pid.is_some() && member.is(target));
        candidates.min_by_key(|(_, member)| member.started_ms).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(member: &mut Member, port: u16, started_ms: u64) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        member.pid = Some(u32::from(port));
        member.health = Health::Pass;
        member.started_ms = started_ms;
        member.addresses = Some(Addresses { service: address, admin: address, cache: None });
    }

    #[test]
    fn the_roster_has_every_instance_of_the_plan() {
        let roster = Roster::new();

        assert_eq!(roster.members.len(), 11);
        assert!(roster.topology().endpoints.is_empty());
        assert!(!roster.is_healthy());
    }

    #[test]
    fn only_instances_that_listen_are_in_the_topology() {
        let mut roster = Roster::new();
        let index = roster.members.iter().position(|member| member.is("catalog/2")).unwrap();
        up(&mut roster.members[index], 4001, 10);

        let topology = roster.topology();

        assert_eq!(topology.endpoints.len(), 1);
        assert_eq!((topology.endpoints[0].name(), topology.endpoints[0].healthy), ("catalog/2".to_owned(), true));
    }

    #[test]
    fn a_role_as_target_means_its_longest_running_instance() {
        let mut roster = Roster::new();
        for (name, port, started) in [("catalog/1", 4001, 30), ("catalog/3", 4003, 20)] {
            let index = roster.members.iter().position(|member| member.is(name)).unwrap();
            up(&mut roster.members[index], port, started);
        }

        let name = |target| roster.running(target).map(|index| roster.members[index].name());

        assert_eq!(name("catalog").as_deref(), Some("catalog/3"));
        assert_eq!(name("catalog/1").as_deref(), Some("catalog/1"));
        assert_eq!(name("catalog/2"), None);
        assert_eq!(name("edge"), None);
    }
}

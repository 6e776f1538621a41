//! The instances of one role, in turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::watch;

use crate::link::{Role, Topology};

/// Gives the instances of one role in turn, healthy ones before others.
#[derive(Debug, Clone)]
pub struct Instances {
    topology: watch::Receiver<Topology>,
    role: Role,
    turn: Arc<AtomicUsize>,
}

impl Instances {
    /// Of this role, as the topology has them at the time.
    pub fn new(topology: watch::Receiver<Topology>, role: Role) -> Self {
        Self { topology, role, turn: Arc::default() }
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The next one: of those not tried before if there are any, of these a healthy one if there is any.
    pub fn next(&self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        self.next_with_room(tried, |_| true)
    }

    /// The next one; of the healthy ones not tried before, one that has room if there is any.
    pub fn next_with_room(&self, tried: &[SocketAddr], has_room: impl Fn(SocketAddr) -> bool) -> Option<SocketAddr> {
        let topology = self.topology.borrow();
        let all: Vec<_> = topology.of(self.role).map(|endpoint| (endpoint.address, endpoint.healthy)).collect();
        let fresh = |address: &SocketAddr| !tried.contains(address);
        let good: Vec<_> =
            all.iter().filter(|(address, healthy)| *healthy && fresh(address)).map(|(address, _)| *address).collect();
        let choices: [Vec<SocketAddr>; 4] = [
            good.iter().copied().filter(|address| has_room(*address)).collect(),
            good,
            all.iter().filter(|(address, _)| fresh(address)).map(|(address, _)| *address).collect(),
            all.iter().map(|(address, _)| *address).collect(),
        ];
        let choice = choices.iter().find(|choice| !choice.is_empty())?;
        let place = self.turn.fetch_add(1, Relaxed).checked_rem(choice.len())?;
        choice.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Endpoint;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn instances(endpoints: &[(u16, bool)]) -> Instances {
        let endpoints = endpoints
            .iter()
            .map(|(port, healthy)| Endpoint {
                role: Role::Catalog,
                instance: u32::from(*port),
                address: at(*port),
                cache: None,
                healthy: *healthy,
            })
            .collect();
        Instances::new(watch::channel(Topology { endpoints, state: None }).1, Role::Catalog)
    }

    #[test]
    fn instances_take_turns() {
        let instances = instances(&[(1, true), (2, true)]);

        let given: Vec<_> = (0..4).map(|_| instances.next(&[]).unwrap().port()).collect();

        assert_eq!(given, [1, 2, 1, 2]);
    }

    #[test]
    fn one_that_was_tried_comes_last_even_if_it_is_the_only_healthy_one() {
        let instances = instances(&[(1, true), (2, false)]);

        assert_eq!(instances.next(&[]), Some(at(1)));
        assert_eq!(instances.next(&[at(1)]), Some(at(2)));
        assert!(instances.next(&[at(1), at(2)]).is_some());
    }

    #[test]
    fn one_without_room_is_passed_over_while_there_is_another_that_is_healthy() {
        let instances = instances(&[(1, true), (2, true), (3, false)]);
        let next = |tried: &[SocketAddr]| instances.next_with_room(tried, |address| address != at(1));

        assert_eq!((next(&[]), next(&[])), (Some(at(2)), Some(at(2))));
        assert_eq!(next(&[at(2)]), Some(at(1)));
    }

    #[test]
    fn without_instances_there_is_no_next() {
        assert_eq!(instances(&[]).next(&[]), None);
    }
}

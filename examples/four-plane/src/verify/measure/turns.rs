//! The instances of a service, in turn.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::sync::watch;

use super::Claims;
use crate::link::{Endpoint, Role, Topology};
use crate::services::instances::Instances;
use crate::verify::report::Finding;

const INSTANCES: u16 = 3;
const CALLS: usize = 3_000;

pub(super) const CLAIMS: Claims<Turns> = &[("load-balancing.round-robin", in_turn)];

/// How often each instance was given.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<usize>);

/// Asks for the next instance many times.
pub(super) fn observe() -> Turns {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let endpoints = (1..=INSTANCES).map(|port| Endpoint {
        role: Role::Catalog,
        instance: port.into(),
        address: address(port),
        cache: None,
        healthy: true,
    });
    let (_kept, topology) = watch::channel(Topology { endpoints: endpoints.collect(), state: None });
    let instances = Instances::new(topology, Role::Catalog);
    let given: Vec<_> = (0..CALLS).filter_map(|_| instances.next(&[])).collect();
    let count = |port| given.iter().filter(|given| **given == address(port)).count();
    Turns((1..=INSTANCES).map(count).collect())
}

fn in_turn(turns: &Turns) -> Finding {
    let even = CALLS.checked_div(INSTANCES.into());
    Finding::judged(
        turns.0.len() == usize::from(INSTANCES) && turns.0.iter().all(|count| Some(*count) == even),
        format!("{:?} of {CALLS}", turns.0),
        "how callers inside the stack choose among three healthy instances",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[test]
    fn each_instance_gets_its_share_to_the_call() {
        assert_eq!(in_turn(&observe()).verdict, Verdict::Met);
        assert_eq!(in_turn(&Turns(vec![1_001, 1_000, 999])).verdict, Verdict::NotMet);
        assert_eq!(in_turn(&Turns::default()).verdict, Verdict::NotMet);
    }
}

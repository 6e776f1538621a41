//! The instances of a service, in turn.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;

use super::{
    Claims,
    quantile::{microseconds, quantile},
};
use crate::link::{Endpoint, Role, Topology};
use crate::services::instances::Instances;
use crate::verify::{report::Finding, web::Stopwatch};

const INSTANCES: u16 = 3;
const CALLS: usize = 3_000;

/// A choice that takes less is lost in what the call itself takes.
const EXCELLENT: Duration = Duration::from_micros(5);

pub(super) const CLAIMS: Claims<Turns> =
    &[("load-balancing.round-robin", in_turn), ("load-balancing.round-robin.performance-impact", quick)];

/// How often each instance was given, and how long the choices took.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<usize>, Vec<Duration>);

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
    let mut took = Vec::new();
    let choose = |_| {
        let watch = Stopwatch::start();
        let chosen = instances.next(&[]);
        took.push(watch.elapsed());
        chosen
    };
    let given: Vec<_> = (0..CALLS).filter_map(choose).collect();
    let count = |port| given.iter().filter(|given| **given == address(port)).count();
    Turns((1..=INSTANCES).map(count).collect(), took)
}

fn quick(turns: &Turns) -> Finding {
    let of = |share| quantile(turns.1.iter().copied(), share);
    let (Some(half), Some(p99)) = (of(0.5), of(0.99)) else { return Finding::unobserved("nothing was chosen") };
    Finding::judged(
        p99 <= EXCELLENT,
        format!("p50 {}, p99 {}", microseconds(half), microseconds(p99)),
        format!("{} choices among {INSTANCES} healthy instances, one after another", turns.1.len()),
    )
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
        assert_eq!(in_turn(&Turns(vec![1_001, 1_000, 999], vec![])).verdict, Verdict::NotMet);
        assert_eq!(in_turn(&Turns::default()).verdict, Verdict::NotMet);
    }

    #[test]
    fn choices_that_take_longer_than_a_few_microseconds_are_not_excellent() {
        let took = |micros| Turns(vec![], vec![Duration::from_micros(micros); 9]);

        assert_eq!(quick(&took(5)).verdict, Verdict::Met);
        assert_eq!(quick(&took(6)).verdict, Verdict::NotMet);
        assert_eq!(quick(&Turns::default()).verdict, Verdict::NotMet);
    }
}

//! How soon a service is itself again after an overload.
use crate::{Clients, Kind, Load, Network, Protection, Rejections, Scenario, World, each, kind};

const SECOND: u64 = 1_000_000_000;
/// The usual load goes before the overload.
pub const BEFORE: u64 = 10 * SECOND;
/// The overload lasts.
pub const OVERLOAD: u64 = 30 * SECOND;
/// And is watched for so long after it.
const AFTER: u64 = 60 * SECOND;
const END: u64 = BEFORE + OVERLOAD + AFTER;
/// What is answered in the end is counted over so long.
const LAST: u64 = 10 * SECOND;
/// Of the capacity, while it lasts.
const FACTOR: f64 = 3.0;

/// How clients repeat what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retries {
    /// Not at all.
    None,
    /// Twice, with full jitter.
    Naive,
    /// The same, from a budget of 10%.
    Budget,
}

impl Retries {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Naive, Self::Budget];

    /// As it stands in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Naive => "naive",
            Self::Budget => "budget",
        }
    }
}

/// One overload and what comes after it.
#[derive(Clone, Debug)]
pub struct Overload {
    /// The kind of server.
    pub kind: Kind,
    /// What protects it.
    pub protection: Protection,
    /// The usual load.
    pub base: f64,
    /// How clients repeat.
    pub retries: Retries,
    /// The breaker of the clients, if they have one.
    pub breaker: Option<Rejections>,
    /// The seed.
    pub seed: u64,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The case.
    pub case: Overload,
    /// From the end of the overload until 95% of a second's calls are answered, in seconds; infinite when never.
    pub seconds: f64,
    /// Calls answered during the overload, over the capacity.
    pub goodput: f64,
    /// Attempts per call, in the whole run.
    pub attempts: f64,
    /// The part of the calls of the last ten seconds that was answered: a minute after the overload.
    pub in_the_end: f64,
}

/// The kinds that overloads are tried on.
pub fn overloaded_kinds() -> Vec<Kind> {
    ["workers-exponential", "processor-sharing", "lock-convoy"].iter().filter_map(|name| kind(name)).collect()
}

impl Overload {
    /// The run: 20 clients.
    pub fn scenario(&self) -> Scenario {
        let clients = Clients {
            count: 20,
            load: Load::Open(vec![(0, self.base), (BEFORE, FACTOR), (BEFORE + OVERLOAD, self.base)]),
            timeout: SECOND,
            attempts: if self.retries == Retries::None { 1 } else { 3 },
            budget: self.retries == Retries::Budget,
            breaker: self.breaker,
            ..Clients::open(&self.kind, self.base)
        };
        Scenario {
            seed: self.seed,
            length: END,
            warm_up: 0,
            kind: self.kind.clone(),
            servers: 1,
            protection: self.protection,
            rejection_cost: 0.0,
            clients,
            network: Network::default(),
        }
    }

    /// Runs it.
    pub fn run(&self) -> Recovery {
        let figures = World::run(&self.scenario());
        let during = figures.between(BEFORE, BEFORE + OVERLOAD);
        Recovery {
            case: self.clone(),
            seconds: figures.recovery(BEFORE + OVERLOAD),
            goodput: during.answered as f64 / (OVERLOAD as f64 * self.kind.capacity()),
            attempts: figures.attempts as f64 / figures.calls.begun.max(1) as f64,
            in_the_end: figures.between(END - LAST, END).part(),
        }
    }
}

/// Overloads of all kinds, base loads and retries, on all processors.
pub fn recovery(protections: &[Protection], retries: &[Retries], seeds: &[u64]) -> Vec<Recovery> {
    let mut cases = Vec::new();
    for protection in protections {
        for kind in overloaded_kinds() {
            for base in [0.7, 0.9] {
                for retries in retries {
                    for seed in seeds {
                        let (kind, retries, protection) = (kind.clone(), *retries, *protection);
                        cases.push(Overload { kind, protection, base, retries, breaker: None, seed: *seed });
                    }
                }
            }
        }
    }
    each(&cases, Overload::run)
}

/// The same with circuit breakers on the clients' side, before a server with the default limit.
pub fn breakers(seeds: &[u64]) -> Vec<Recovery> {
    let mut cases = Vec::new();
    for rejections in [Rejections::AreNoFailures, Rejections::AreFailures] {
        for kind in overloaded_kinds() {
            for seed in seeds {
                cases.push(Overload {
                    kind: kind.clone(),
                    protection: Protection::KneeQueue,
                    base: 0.7,
                    retries: Retries::Budget,
                    breaker: Some(rejections),
                    seed: *seed,
                });
            }
        }
    }
    each(&cases, Overload::run)
}

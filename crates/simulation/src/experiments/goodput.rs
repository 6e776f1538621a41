//! How much useful work a protected server does, against the best limit that anybody could have set.
use crate::{Figures, Kind, Protection, Scenario, World, each};

/// Multiples of the capacity.
pub const LOADS: [f64; 4] = [1.2, 2.0, 5.0, 10.0];
/// Where the best fixed limit is looked for first, as multiples of what the server works on at once.
const FIRST_LOOK: [f64; 9] = [0.5, 0.75, 1.0, 1.25, 1.6, 2.2, 3.5, 6.0, 12.0];
/// How far its neighbours are looked at.
const SECOND_LOOK: [f64; 4] = [0.85, 0.92, 1.09, 1.18];
/// A tenth of the capacity: nobody queues.
const UNLOADED: f64 = 0.1;

/// One kind of server under one load with one seed.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kind.
    pub kind: Kind,
    /// The load, in multiples of the capacity.
    pub load: f64,
    /// The seed.
    pub seed: u64,
}

/// What one protection came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The protection.
    pub protection: Protection,
    /// Its goodput over that of the best fixed limit.
    pub goodput: f64,
    /// The 99th percentile of the latency of what it let in, over that of the unloaded server.
    pub p99: f64,
    /// The limit in the end.
    pub limit: u32,
}

/// A case and what the protections came to.
#[derive(Clone, Debug)]
pub struct Goodput {
    /// The case.
    pub case: Case,
    /// The best fixed limit.
    pub best: u32,
    /// The goodput with it, over the capacity.
    pub best_goodput: f64,
    /// One for each protection that was tried.
    pub measured: Vec<Measured>,
}

impl Case {
    /// All kinds under all loads with all seeds.
    pub fn all(kinds: &[Kind], loads: &[f64], seeds: &[u64]) -> Vec<Self> {
        let mut cases = Vec::new();
        for seed in seeds {
            for kind in kinds {
                for load in loads {
                    cases.push(Self { kind: kind.clone(), load: *load, seed: *seed });
                }
            }
        }
        cases
    }

    fn run(&self, protection: Protection) -> Figures {
        World::run(&Scenario::steady(&self.kind, protection, self.load, self.seed))
    }

    fn with_fixed(&self, limit: u32) -> (u64, u32) {
        (self.run(Protection::Fixed(limit)).calls.answered, limit)
    }

    /// The best fixed limit and the calls that it answers.
    pub fn best_fixed(&self) -> (u64, u32) {
        let look = |from: f64, factors: &[f64], tried: &mut Vec<(u64, u32)>| {
            for factor in factors {
                let limit = ((from * factor).round() as u32).max(1);
                if tried.iter().all(|(_, other)| *other != limit) {
                    tried.push(self.with_fixed(limit));
                }
            }
            tried.iter().copied().max_by_key(|(answered, limit)| (*answered, u32::MAX - limit)).unwrap_or((0, 1))
        };
        let mut tried = Vec::new();
        let (_, limit) = look(self.kind.width(), &FIRST_LOOK, &mut tried);
        look(limit.into(), &SECOND_LOOK, &mut tried)
    }
}

/// Tries protections on one case whose best fixed limit is known.
pub fn measure(case: &Case, best: (u64, u32), protections: &[Protection]) -> Goodput {
    let mut bare = Scenario::steady(&case.kind, Protection::None, UNLOADED, case.seed);
    bare.length *= 2;
    let unloaded = World::run(&bare).quantile(0.99);
    let seconds = (case.kind.length() - case.kind.length() / 10) as f64;
    let measured = protections.iter().map(|protection| {
        let figures = case.run(*protection);
        Measured {
            protection: *protection,
            goodput: figures.calls.answered as f64 / best.0.max(1) as f64,
            p99: figures.quantile(0.99) / unloaded.max(1.0),
            limit: figures.samples.last().map_or(0, |sample| sample.limit),
        }
    });
    Goodput {
        case: case.clone(),
        best: best.1,
        best_goodput: best.0 as f64 / (seconds * case.kind.capacity()),
        measured: measured.collect(),
    }
}

/// Tries protections on every case, on all processors.
pub fn goodput(cases: &[Case], protections: &[Protection]) -> Vec<Goodput> {
    each(cases, |case| measure(case, case.best_fixed(), protections))
}

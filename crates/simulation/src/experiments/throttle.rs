//! What a rejection costs, and what a client's throttle saves of it.
use super::goodput::Case;
use crate::{Clients, Protection, Scenario, World, each, kind};

/// A rejection costs this part of a call.
const COST: f64 = 0.05;
/// The throttle looks back over ten seconds: that long and as much again to settle, then as long to measure.
const LENGTH: u64 = 60_000_000_000;
const WARM_UP: u64 = 20_000_000_000;

/// One kind under one load, with one throttle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttled {
    /// The kind of server.
    pub kind: &'static str,
    /// The load, in multiples of the capacity.
    pub load: f64,
    /// The factor of the throttle; 0 for none.
    pub k: f64,
    /// The seed.
    pub seed: u64,
    /// The goodput, over that of the best fixed limit when rejections are free.
    pub goodput: f64,
}

/// Both kinds under three loads, with no throttle, K = 2 and K = 1.5.
pub fn throttled(loads: &[f64], factors: &[f64], seeds: &[u64]) -> Vec<Throttled> {
    let mut cases = Vec::new();
    for name in ["workers-exponential", "processor-sharing"] {
        for load in loads {
            for seed in seeds {
                cases.push((name, *load, *seed));
            }
        }
    }
    let results = each(&cases, |(name, load, seed)| {
        let Some(kind) = kind(name) else { return Vec::new() };
        let best = {
            let case = Case { kind: kind.clone(), load: *load, seed: *seed };
            let (answered, _) = case.best_fixed();
            let seconds = kind.length() - kind.length() / 10;
            answered as f64 / seconds as f64
        };
        let one = |k: &f64| {
            let mut scenario = Scenario::steady(&kind, Protection::KneeQueue, *load, *seed);
            scenario.length = LENGTH;
            scenario.warm_up = WARM_UP;
            scenario.rejection_cost = COST;
            scenario.clients = Clients { count: 20, throttle: (*k > 0.0).then_some(*k), ..Clients::open(&kind, *load) };
            let figures = World::run(&scenario);
            let goodput = figures.calls.answered as f64 / (LENGTH - WARM_UP) as f64 / best;
            Throttled { kind: name, load: *load, k: *k, seed: *seed, goodput }
        };
        factors.iter().map(one).collect()
    });
    results.into_iter().flatten().collect()
}

//! What a rejection costs, and what a client's throttle saves of it.
use super::goodput::Case;
use crate::{Protection, Scenario, World, each, kind};

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
    /// The goodput, over that of the best fixed limit when rejections are free, on the same calls.
    pub goodput: f64,
}

/// The limit that is best in a short run, and those around it: in a long one it may be another.
fn near(limit: u32) -> [u32; 3] {
    [limit.saturating_sub(limit.div_ceil(6)).max(1), limit, limit.saturating_add(limit.div_ceil(6))]
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
        let scenario = |protection| {
            let mut scenario = Scenario::steady(&kind, protection, *load, *seed);
            scenario.length = LENGTH;
            scenario.warm_up = WARM_UP;
            scenario.clients.count = 20;
            scenario
        };
        let (_, limit) = Case { kind: kind.clone(), load: *load, seed: *seed }.best_fixed();
        let free = |limit| World::run(&scenario(Protection::Fixed(limit))).calls.answered;
        let best = near(limit).into_iter().map(free).max().unwrap_or(0).max(1) as f64;
        let one = |k: &f64| {
            let mut scenario = scenario(Protection::KneeQueue);
            scenario.rejection_cost = COST;
            scenario.clients.throttle = (*k > 0.0).then_some(*k);
            let goodput = World::run(&scenario).calls.answered as f64 / best;
            Throttled { kind: name, load: *load, k: *k, seed: *seed, goodput }
        };
        factors.iter().map(one).collect()
    });
    results.into_iter().flatten().collect()
}

//! Who gets what there is: criticalities and tenants.
use crate::{Clients, Count, Kind, Protection, Scenario, World, each, figures::PARTS};

/// A tenth of the calls is critical.
const CRITICALITIES: [f64; 4] = [0.3, 0.2, 0.4, 0.1];
const OVERLOAD: f64 = 3.0;
const TENANTS: usize = 10;
/// One tenant calls so many times as often as each of the others.
const GREED: f64 = 100.0;

/// What became of the criticalities of one kind at 3×.
#[derive(Clone, Debug)]
pub struct Critical {
    /// The kind of server.
    pub kind: Kind,
    /// The seed.
    pub seed: u64,
    /// The sheddable, degraded, default and critical calls.
    pub counts: [Count; 4],
    /// The critical calls that were lost while others were answered.
    pub passed_over: u64,
}

impl Critical {
    /// The part of the critical calls that was lost.
    pub fn lost(&self) -> f64 {
        1.0 - self.counts[3].part()
    }
}

/// All four criticalities at 3×, on every kind.
pub fn critical(kinds: &[Kind], protection: Protection, seeds: &[u64]) -> Vec<Critical> {
    let cases: Vec<_> = kinds.iter().flat_map(|kind| seeds.iter().map(move |seed| (kind, *seed))).collect();
    each(&cases, |(kind, seed)| {
        let mut scenario = Scenario::steady(kind, protection, OVERLOAD, *seed);
        scenario.clients.criticalities = CRITICALITIES;
        scenario.warm_up = scenario.length / 4;
        let figures = World::run(&scenario);
        Critical {
            kind: (*kind).clone(),
            seed: *seed,
            counts: figures.criticalities,
            passed_over: figures.passed_over(),
        }
    })
}

/// What became of ten tenants of which one calls a hundred times as often as each of the others.
#[derive(Clone, Debug)]
pub struct Fair {
    /// The kind of server.
    pub kind: Kind,
    /// What each of the nine asks for, as a part of its fair share.
    pub demand: f64,
    /// The seed.
    pub seed: u64,
    /// How far the worst off of the nine is below what is due to it, a part: its fair share of what all got, or what it
    /// asked for if that is less, summed over the twentieths of the run. What a server can do changes in the course of some
    /// runs, and nobody is owed later what nobody got before.
    pub error: f64,
    /// The same in the mean of the nine.
    pub mean_error: f64,
    /// What all got, over the capacity.
    pub goodput: f64,
}

/// Ten tenants; the nine ask for `demands` of their fair share each.
pub fn fair(kinds: &[Kind], protection: Protection, demands: &[f64], seeds: &[u64]) -> Vec<Fair> {
    let mut cases = Vec::new();
    for kind in kinds {
        for demand in demands {
            for seed in seeds {
                cases.push((kind, *demand, *seed));
            }
        }
    }
    each(&cases, |(kind, demand, seed)| {
        let each_asks = demand / TENANTS as f64;
        let load = each_asks * (9.0 + GREED);
        let mut scenario = Scenario::steady(kind, protection, load, *seed);
        scenario.warm_up = scenario.length / 4;
        let mut shares = vec![1.0; TENANTS - 1];
        shares.push(GREED);
        scenario.clients = Clients { tenants: shares, ..Clients::open(kind, load) };
        let figures = World::run(&scenario);
        let mut errors = lacks(&figures.tenants);
        errors.truncate(TENANTS - 1);
        let all: u64 = figures.tenants.iter().flatten().map(|count| count.answered).sum();
        let seconds = (scenario.length - scenario.warm_up) as f64;
        Fair {
            kind: (*kind).clone(),
            demand: *demand,
            seed: *seed,
            error: errors.iter().copied().fold(0.0, f64::max),
            mean_error: errors.iter().sum::<f64>() / errors.len() as f64,
            goodput: all as f64 / (seconds * kind.capacity()),
        }
    })
}

/// By tenant, the part that it lacks of what is due to it.
fn lacks(tenants: &[[Count; PARTS]]) -> Vec<f64> {
    let answered = |part: usize| tenants.iter().map(|tenant| tenant[part].answered).sum::<u64>();
    let shares: [f64; PARTS] = std::array::from_fn(|part| answered(part) as f64 / tenants.len() as f64);
    let lack = |tenant: &[Count; PARTS]| {
        let due: f64 = tenant.iter().zip(shares).map(|(count, share)| share.min(count.begun as f64)).sum();
        let got: u64 = tenant.iter().map(|count| count.answered).sum();
        (1.0 - got as f64 / due.max(1.0)).max(0.0)
    };
    tenants.iter().map(lack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(parts: &[(u64, u64)]) -> [Count; PARTS] {
        std::array::from_fn(|part| {
            let (begun, answered) = parts.get(part).copied().unwrap_or_default();
            Count { begun, answered }
        })
    }

    #[test]
    fn what_is_due_is_an_even_share_of_each_part_of_the_run_or_what_was_asked_for_if_that_is_less() {
        // 40 answers, then 20: shares of 10 and of 5.
        let greedy = tenant(&[(900, 27), (900, 10)]);
        let modest = tenant(&[(4, 4), (4, 4)]);
        let starved = tenant(&[(30, 4), (30, 2)]);
        let late = tenant(&[(50, 5), (50, 4)]);

        let lacks = lacks(&[greedy, modest, starved, late]);

        for (lack, due) in lacks.iter().zip([0.0, 0.0, 0.6, 0.4]) {
            assert!((lack - due).abs() < 1e-9, "{lacks:?}");
        }
    }
}

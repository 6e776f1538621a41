//! What takes years or more machines than there are: failures, turns among instances and writes beside a cache, in
//! simulated time and with a fixed seed.

use std::collections::HashSet;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::Claims;
use crate::{data, load::zipf::Zipf, verify::report::Finding};

const SEED: u64 = 1;

/// How often each process fails: far more often than any that is fit for use.
const FAILS_EVERY_S: f64 = 86_400.0;
/// The document's recovery target of an instance, many times what is measured here.
const DOWN_FOR_S: f64 = 30.0;
const YEARS: f64 = 100.0;
const YEAR_S: f64 = 365.0 * 86_400.0;
/// Processes of each role on the way of a request.
const EDGES: usize = 2;
const CATALOG_PATH: [usize; 3] = [EDGES, 2, 3];
const BALANCER_UPTIME: f64 = 0.999_9;
const CATALOG_AVAILABILITY: f64 = 0.999_5;

/// Of what the instances can do.
const LOADED: f64 = 0.7;
const CALLS: u32 = 200_000;
const INSTANCES: usize = 3;
/// Taking turns costs no more than this against the choice of whoever has least to do.
const AS_GOOD: f64 = 1.05;

/// The scaling group of the document.
const GROUP: std::ops::RangeInclusive<usize> = 3..=20;
const USERS: usize = 1_000;
const POPULARITY: f64 = 1.0;
/// Ways in which users can be pinned to instances.
const PINNINGS: u32 = 200;
const UTILIZATION_GAIN: f64 = 0.30;

/// The lower bound of the document's hit rate of a cache aside.
const ASIDE_HIT: f64 = 0.70;
const LOOK_UPS: u32 = 500_000;

pub(super) const CLAIMS: Claims<Simulated> = &[
    ("figure.failure-first.load-balancer.uptime", balancer_uptime),
    ("consistency-trade-offs.product-catalog.availability", catalog_availability),
    ("load-balancing.round-robin.use-case", uniform_load),
    ("stateless-benefits.load-balancing.production-impact", utilization),
    ("cache-strategies.cache-aside.best-for", read_heavy),
];

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Simulated {
    /// Shares of the time in which at least one process of each role was up.
    edges_up: f64,
    catalog_up: f64,
    /// The 99th percentile under turns over that under the best choice: for equal calls and for unequal ones.
    equal_calls: f64,
    unequal_calls: f64,
    /// What the busiest instance gets of pinned users, over its fair share; for the smallest group, the largest, all.
    pinned: [f64; 3],
    /// Shares of hits when one call of a hundred is a write, and when every other is.
    few_writes: f64,
    many_writes: f64,
}

/// Simulates all of it.
pub(super) fn observe() -> Simulated {
    let sizes: Vec<f64> = GROUP.map(pinned).collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of sizes")]
    let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
    let ends = [sizes.first(), sizes.last()].map(|size| size.copied().unwrap_or_default());
    Simulated {
        edges_up: up(&[EDGES]),
        catalog_up: up(&CATALOG_PATH),
        equal_calls: turns_over_best(|_| 1.0),
        unequal_calls: turns_over_best(|random| if random.random_bool(0.9) { 0.25 } else { 7.75 }),
        pinned: [ends[0], ends[1], mean],
        few_writes: hits(0.01),
        many_writes: hits(0.5),
    }
}

fn exponential(random: &mut SmallRng, mean: f64) -> f64 {
    -(1.0 - random.random::<f64>()).ln() * mean
}

/// The share of the time in which at least one process of every role is up.
fn up(roles: &[usize]) -> f64 {
    let (mut random, end) = (SmallRng::seed_from_u64(SEED), YEARS * YEAR_S);
    let mut changes: Vec<(f64, usize, bool)> = Vec::new();
    for (role, processes) in roles.iter().enumerate() {
        for _ in 0..*processes {
            let mut now = exponential(&mut random, FAILS_EVERY_S);
            while now < end {
                changes.extend([(now, role, false), (now + DOWN_FOR_S, role, true)]);
                now += DOWN_FOR_S + exponential(&mut random, FAILS_EVERY_S);
            }
        }
    }
    changes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut running = roles.to_vec();
    let (mut before, mut down) = (0.0_f64, 0.0_f64);
    for (at, role, is_up) in changes {
        let at = at.min(end);
        if running.contains(&0) {
            down += at - before;
        }
        before = at;
        if let Some(running) = running.get_mut(role) {
            *running = if is_up { running.saturating_add(1) } else { running.saturating_sub(1) };
        }
    }
    1.0 - down / end
}

/// Calls that arrive at random, to instances that do one after another: in turn, and to the one with the least work.
fn turns_over_best(length: impl Fn(&mut SmallRng) -> f64) -> f64 {
    let p99 = |in_turn: bool| {
        let mut random = SmallRng::seed_from_u64(SEED);
        let mut free_at = [0.0_f64; INSTANCES];
        let (mut now, mut took) = (0.0_f64, Vec::new());
        for turn in (0..INSTANCES).cycle().take(CALLS as usize) {
            #[expect(clippy::cast_precision_loss, reason = "three instances")]
            let rate = LOADED * INSTANCES as f64;
            now += exponential(&mut random, 1.0 / rate);
            let length = length(&mut random);
            let least = (0..INSTANCES).min_by(|a, b| free_at[*a].total_cmp(&free_at[*b])).unwrap_or_default();
            let instance = if in_turn { turn } else { least };
            free_at[instance] = free_at[instance].max(now) + length;
            took.push(free_at[instance] - now);
        }
        took.sort_by(f64::total_cmp);
        let rank = took.len().saturating_mul(99).checked_div(100).unwrap_or_default();
        took.get(rank).copied().unwrap_or_default()
    };
    p99(true) / p99(false)
}

/// The share of the busiest instance over a fair one, when each user stays with one; a mean over many pinnings. While the
/// busiest is full, the others have that much less to do.
fn pinned(instances: usize) -> f64 {
    let (mut random, activity) = (SmallRng::seed_from_u64(SEED), Zipf::new(USERS, POPULARITY));
    let mut sum = 0.0;
    for _ in 0..PINNINGS {
        let mut shares = vec![0.0_f64; instances];
        for user in 0..USERS {
            if let Some(share) = shares.get_mut(random.random_range(0..instances)) {
                *share += activity.share(user);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "at most twenty instances")]
        let fair = 1.0 / instances as f64;
        sum += shares.iter().copied().fold(0.0, f64::max) / fair;
    }
    sum / f64::from(PINNINGS)
}

/// The share of reads that find their item cached, when a write drops what is cached of its item.
fn hits(writes: f64) -> f64 {
    let (mut random, popularity) = (SmallRng::seed_from_u64(SEED), Zipf::new(data::cities().len(), POPULARITY));
    let mut cached = HashSet::new();
    let (mut reads, mut hits) = (0_u32, 0_u32);
    for number in 0..LOOK_UPS.saturating_mul(2) {
        let item = popularity.rank(random.random());
        if random.random_bool(writes) {
            cached.remove(&item);
            continue;
        }
        let hit = !cached.insert(item);
        // The first half fills it.
        if number >= LOOK_UPS {
            reads = reads.saturating_add(1);
            hits = hits.saturating_add(u32::from(hit));
        }
    }
    f64::from(hits) / f64::from(reads.max(1))
}

fn percent(share: f64) -> String {
    format!("{:.5}%", share * 100.0)
}

fn available(share: f64, least: f64, roles: &str) -> Finding {
    Finding::judged(
        share >= least,
        percent(share),
        format!(
            "{YEARS:.0} simulated years in which {roles} fail once a day each, independently, and are back after {DOWN_FOR_S:.0} s, \
             the document's target; replacements here take less than a second"
        ),
    )
}

fn balancer_uptime(simulated: &Simulated) -> Finding {
    available(simulated.edges_up, BALANCER_UPTIME, "two edge processes on one port")
}

fn catalog_availability(simulated: &Simulated) -> Finding {
    available(simulated.catalog_up, CATALOG_AVAILABILITY, "two edges, two gateways and three catalog processes")
}

fn uniform_load(simulated: &Simulated) -> Finding {
    let Simulated { equal_calls: equal, unequal_calls: unequal, .. } = *simulated;
    Finding::judged(
        equal > 0.0 && equal <= AS_GOOD && unequal > AS_GOOD,
        format!("p99 {equal:.2} times the best choice's for equal calls, {unequal:.2} for unequal ones"),
        format!(
            "{CALLS} calls at random to {INSTANCES} instances at {:.0}% load: in turn, and to whoever has the least work; equal \
             ones, and one in ten 31 times as long as the others",
            LOADED * 100.0
        ),
    )
}

fn utilization(simulated: &Simulated) -> Finding {
    let [least, most, mean] = simulated.pinned.map(|pinned| pinned - 1.0);
    Finding::judged(
        mean >= UTILIZATION_GAIN,
        format!("{:.0}% more is done before the busiest instance is full", mean * 100.0),
        format!(
            "{USERS} users whose activity follows Zipf's law, pinned to instances at random in {PINNINGS} ways, beside any \
             instance for any request: the mean over groups of {} ({:.0}%) to {} ({:.0}%) instances",
            GROUP.start(),
            least * 100.0,
            GROUP.end(),
            most * 100.0
        ),
    )
}

fn read_heavy(simulated: &Simulated) -> Finding {
    let Simulated { few_writes: few, many_writes: many, .. } = *simulated;
    Finding::judged(
        few >= ASIDE_HIT && many < ASIDE_HIT,
        format!("{:.0}% hits with 1% writes, {:.0}% with 50%", few * 100.0, many * 100.0),
        format!(
            "{LOOK_UPS} simulated calls for cities whose popularity follows Zipf's law; a write drops its city's entry"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[test]
    fn what_is_simulated_is_as_the_document_says() {
        let simulated = observe();

        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&simulated).verdict, Verdict::Met, "{id}: {}", judgement(&simulated).measured);
        }
    }

    #[test]
    fn nothing_simulated_meets_no_row() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&Simulated::default()).verdict, Verdict::NotMet, "{id}");
        }
    }

    #[test]
    fn one_process_is_down_as_long_as_its_failures_last() {
        let expected = FAILS_EVERY_S / (FAILS_EVERY_S + DOWN_FOR_S);

        assert!((up(&[1]) - expected).abs() < 1e-5, "{}", up(&[1]));
        assert!(up(&[2]) > up(&[1]) && up(&[2, 1]) < up(&[2]));
    }

    #[test]
    fn every_other_call_a_write_leaves_no_item_cached_for_long() {
        assert!((hits(0.5) - 0.5).abs() < 0.05, "{}", hits(0.5));
        assert!(hits(0.0) > 0.99, "{}", hits(0.0));
    }
}

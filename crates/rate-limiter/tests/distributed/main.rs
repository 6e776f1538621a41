//! Eight processes share one quota, in virtual time. The same seed gives the same run.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
#![expect(clippy::cast_precision_loss, reason = "ratios of small test numbers")]

mod losses;
mod world;

use std::time::Duration;

use seawall_core::Timestamp;
use seawall_rate_limiter::{DistributedGcra, DistributedQuota, IfGone, Need, Quota};
use world::{Health, Tally, World};

const MICROS: u64 = 1_000;
const MILLIS: u64 = 1_000 * MICROS;
const SECONDS: u64 = 1_000 * MILLIS;
const PROCESSES: usize = 8;
/// One process has half of the demand, another hardly any.
const SKEWED: [u64; PROCESSES] = [512, 256, 128, 64, 32, 16, 8, 8];
const EVEN: [u64; PROCESSES] = [128; PROCESSES];

/// A thousand per second, two hundred at once.
fn thousand() -> Quota {
    Quota::per_second(1_000).and_then(|quota| quota.with_burst(200)).expect("in range")
}

fn shared(quota: Quota) -> DistributedQuota {
    DistributedQuota::new(quota, 8).expect("eight processes")
}

/// What one bucket admits in this time at most, all demand being there.
fn quota_over(nanos: u64, quota: Quota) -> f64 {
    nanos as f64 / quota.interval().as_nanos() as f64 + f64::from(quota.burst())
}

fn loaded(shares: [u64; PROCESSES], times: u64) -> [u64; PROCESSES] {
    shares.map(|share| share * times)
}

/// Runs 60 s; what was admitted over the quota of that time.
fn ratio(seed: u64, quota: DistributedQuota, demand: [u64; PROCESSES], health: fn(u64) -> Health) -> (f64, Tally) {
    let mut world = World::new(seed, quota, demand, health);
    world.run_until(60 * SECONDS);
    (world.tally.admitted.len() as f64 / quota_over(60 * SECONDS, quota.quota()), world.tally)
}

fn quick(_: u64) -> Health {
    Health::Answers(500 * MICROS)
}

fn slow(_: u64) -> Health {
    Health::Answers(300 * MILLIS)
}

/// Gone from the 20th second to the 40th.
fn refuses_for_a_while(now: u64) -> Health {
    if (20 * SECONDS..40 * SECONDS).contains(&now) { Health::Refuses } else { quick(now) }
}

fn hangs_for_a_while(now: u64) -> Health {
    if (20 * SECONDS..40 * SECONDS).contains(&now) { Health::Hangs } else { quick(now) }
}

#[test]
fn eight_processes_with_four_times_the_quota_of_demand_admit_the_quota() {
    for (shares, name) in [(SKEWED, "skewed"), (EVEN, "even")] {
        for health in [quick, slow] {
            for seed in 1..=3 {
                let (ratio, tally) = ratio(seed, shared(thousand()), loaded(shares, 4), health);

                println!("{name}, {:?}: {ratio:.4} of the quota, {} questions", health(0), tally.asked);
                assert!((0.98..=1.02).contains(&ratio), "{name}, {:?}, seed {seed}: {ratio}", health(0));
            }
        }
    }
}

#[test]
fn demand_below_the_quota_is_served_however_it_is_spread_and_whoever_is_asked() {
    // A burst covers what is regained in a round trip.
    let wide = thousand().with_burst(400).expect("in range");
    for (health, quota) in [(quick as fn(u64) -> Health, thousand()), (slow, wide)] {
        for seed in 1..=3 {
            // Nine tenths of the quota.
            let shares = SKEWED.map(|share| share * 9 / 10);
            let (_, tally) = ratio(seed, shared(quota), shares, health);

            let (first, later) = (tally.refused_in(0, 5 * SECONDS), tally.refused_in(5 * SECONDS, 60 * SECONDS));
            println!("{:?}: {first}, then {later} refused, {} questions", health(0), tally.asked);
            // A slow store takes a while to fill leases for so long a way, and some wait for it now and then.
            let most = if health(0) == quick(0) { (0, 0) } else { (900, 495) };
            assert!(first <= most.0 && later <= most.1, "{:?}, seed {seed}: {first}, {later}", health(0));
        }
    }
}

#[test]
fn with_even_demand_all_processes_get_the_same_and_with_skewed_demand_the_small_ones_get_theirs() {
    let (_, even) = ratio(1, shared(thousand()), loaded(EVEN, 4), quick);
    let of_each: Vec<_> = (0..PROCESSES).map(|process| even.admitted_of(process)).collect();
    let (_, skewed) = ratio(1, shared(thousand()), loaded(SKEWED, 4), quick);
    let of_skewed: Vec<_> = (0..PROCESSES).map(|process| skewed.admitted_of(process)).collect();

    println!("even: {of_each:?}, skewed: {of_skewed:?}");
    let (least, most) = (of_each.iter().min().unwrap(), of_each.iter().max().unwrap());
    assert!(*most as f64 / (*least as f64) < 1.2, "{of_each:?}");
    // 32 calls a second each for a minute.
    assert!(of_skewed[6] + of_skewed[7] > 2 * 32 * 60 / 2, "{of_skewed:?}");
}

#[test]
fn while_the_store_is_gone_each_process_admits_its_local_share_and_afterwards_all_share_again() {
    for (health, found_out) in
        [(refuses_for_a_while as fn(u64) -> Health, SECONDS / 5), (hangs_for_a_while, 2 * SECONDS)]
    {
        for seed in 1..=3 {
            let (ratio, tally) = ratio(seed, shared(thousand()), loaded(EVEN, 4), health);
            let gone = tally.admitted_in(20 * SECONDS + found_out, 40 * SECONDS);
            let back = tally.admitted_in(42 * SECONDS, 60 * SECONDS);

            let of_shares = gone as f64 / ((20 * SECONDS - found_out) as f64 / SECONDS as f64 * 1_000.0);
            println!("gone: {of_shares:.4} of the shares; back: {:.4}; in all {ratio:.4}", back as f64 / 18_000.0);
            assert!((0.98..=1.02).contains(&of_shares), "seed {seed}: {of_shares} of the local shares");
            assert!((0.98..=1.02).contains(&(back as f64 / 18_000.0)), "seed {seed}: {back} in 18 s");
            assert!((0.97..=1.02).contains(&ratio), "seed {seed}: {ratio} in all");
        }
    }
}

/// Whether a store that is there and gone by turns, for so many milliseconds each, is gone.
fn flaps(now: u64, there: u64, gone: u64) -> bool {
    now % ((there + gone) * MILLIS) >= there * MILLIS
}

#[test]
fn a_store_that_comes_and_goes_has_all_together_admit_little_more_than_the_quota() {
    type Flapping = (&'static str, f64, fn(u64) -> Health);
    let flapping: [Flapping; 6] = [
        (
            "there for 3 s, refuses for 0.3 s",
            1.02,
            |now| if flaps(now, 3_000, 300) { Health::Refuses } else { quick(now) },
        ),
        ("there for 3 s, hangs for 0.3 s", 1.02, |now| if flaps(now, 3_000, 300) { Health::Hangs } else { quick(now) }),
        (
            "there for 1 s, refuses for 1 s",
            1.03,
            |now| if flaps(now, 1_000, 1_000) { Health::Refuses } else { quick(now) },
        ),
        ("there for 1 s, hangs for 1 s", 1.02, |now| if flaps(now, 1_000, 1_000) { Health::Hangs } else { quick(now) }),
        (
            "there for 0.2 s, refuses for 1 s",
            1.06,
            |now| if flaps(now, 200, 1_000) { Health::Refuses } else { quick(now) },
        ),
        ("there for 0.2 s, hangs for 1 s", 1.06, |now| if flaps(now, 200, 1_000) { Health::Hangs } else { quick(now) }),
    ];
    for (name, most, health) in flapping {
        for (shares, demand, least) in [(SKEWED, "skewed", 0.7), (EVEN, "even", 0.95)] {
            for seed in 1..=3 {
                let (ratio, _) = ratio(seed, shared(thousand()), loaded(shares, 4), health);

                println!("{name}, {demand}: {ratio:.3} of the quota");
                assert!((least..=most).contains(&ratio), "{name}, {demand}, seed {seed}: {ratio}");
            }
        }
    }
}

#[test]
fn a_limiter_that_is_to_refuse_admits_nothing_while_the_store_is_gone() {
    let quota = shared(thousand()).with_if_gone(IfGone::Refuse);
    for health in [refuses_for_a_while as fn(u64) -> Health, hangs_for_a_while] {
        let (ratio, tally) = ratio(1, quota, loaded(EVEN, 4), health);

        assert_eq!(tally.admitted_in(21 * SECONDS, 40 * SECONDS), 0);
        assert!(tally.refused_in(21 * SECONDS, 40 * SECONDS) > 70_000);
        let back = tally.admitted_in(42 * SECONDS, 60 * SECONDS);
        assert!((0.98..=1.02).contains(&(back as f64 / 18_000.0)), "{back} in 18 s");
        assert!(ratio < 0.7, "{ratio}");
    }
}

#[test]
fn calls_dearer_than_a_local_share_go_on_by_it_at_its_rate_where_no_store_answers() {
    let share = shared(Quota::per_second(100).and_then(|quota| quota.with_burst(100)).expect("in range"));
    let limiter = DistributedGcra::new(share);
    let at = |millis: u64| Timestamp::from_nanos(millis * MILLIS);
    assert!(limiter.take(20, at(1)).is_err(), "the store will say");
    let need = limiter.ask(at(1)).expect("it needs something");
    limiter.failed(need, at(2));

    let admitted: u64 = (2..=60_000).map(|milli| u64::from(limiter.take(20, at(milli)).is_ok()) * 20).sum();
    let refused = limiter.take(20, at(60_000)).expect_err("its share is used up");

    // An eighth of the quota is 12.5 a second, and 12 at once.
    assert!((700..=770).contains(&admitted), "{admitted} in 60 s");
    let wait = refused.retry_after().expect("it says when");
    assert!(limiter.take(20, at(60_000).saturating_add(wait)).is_ok(), "{wait:?}");
}

#[test]
fn nobody_asks_while_nobody_calls_and_what_was_leased_has_gone_back() {
    let mut world = World::new(1, shared(thousand()), EVEN, quick);
    world.run_until(5 * SECONDS);
    world.demand = [0; PROCESSES];
    world.run_until(10 * SECONDS);
    let asked = world.tally.asked;

    world.run_until(60 * SECONDS);

    assert_eq!(world.tally.asked, asked);
    assert!(world.processes.iter().all(|process| process.leased() == 0 && process.look_at().is_none()));
    let answer = world.bucket.exchange(Need::new(0, 0, 0), world.now);
    assert_eq!(answer.full_in, Duration::ZERO);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| ratio(seed, shared(thousand()), SKEWED, quick).1.admitted;

    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

//! Two hundred servers, each behind a shedder of its own, and clients whose calls go to any of them.
#![expect(clippy::cast_precision_loss, reason = "counts of a simulation")]

use std::sync::LazyLock;

use seawall_simulation::{Clients, Figures, Network, Protection, Scenario, World, each, kind};

const SERVERS: u32 = 200;
const LOAD: f64 = 2.0;
/// Of each server.
const WORKERS: u32 = 16;

const SEED: u64 = 7;
static FLEET: LazyLock<Figures> = LazyLock::new(|| World::run(&overloaded(SERVERS, SEED)));

/// Three fifths of a second at twice the capacity: 50 clients with retries from their budgets, before this many servers.
fn overloaded(servers: u32, seed: u64) -> Scenario {
    let kind = kind("workers-exponential").expect("it is one of the kinds");
    let mut scenario = Scenario::steady(&kind, Protection::KneeQueue, LOAD, seed);
    scenario.length = 600_000_000;
    scenario.warm_up = 0;
    scenario.servers = servers;
    scenario.network = Network { delay: 200_000.0, jitter: 100_000.0, loss: 0.01 };
    scenario.clients = Clients { count: 50, attempts: 2, budget: true, ..Clients::open(&kind, LOAD) };
    scenario
}

#[test]
fn a_fleet_leaves_the_same_trace_when_it_is_run_again_and_another_with_another_seed() {
    let traces = each(&[SEED, SEED + 1], |seed| World::run(&overloaded(SERVERS, *seed)).trace);

    assert_eq!(traces[0], FLEET.trace);
    assert_ne!(traces[1], FLEET.trace);
}

#[test]
fn each_call_to_a_fleet_ends_once_and_each_attempt_at_one_server_or_on_the_way() {
    let figures = &*FLEET;

    let ended: u64 = figures.tenths.iter().map(|tenth| tenth.begun).sum();
    let reached: u64 = figures.servers.iter().map(|server| server.reached).sum();
    let refused: u64 = figures.servers.iter().map(|server| server.refused).sum();
    let lost = (figures.attempts - reached) as f64 / figures.attempts as f64;
    assert!(figures.begun > 180_000, "{}", figures.begun);
    assert_eq!((ended, figures.calls.begun), (figures.begun, figures.begun));
    assert_eq!(refused, figures.refused);
    assert!(figures.servers.iter().all(|server| server.reached == server.refused + server.done));
    assert!((lost - 0.01).abs() < 0.001, "{lost} instead of a hundredth was lost on the way");
}

#[test]
fn two_hundred_servers_answer_two_hundred_times_what_one_does() {
    let seeds: Vec<u64> = (1..=40).collect();
    let alone = each(&seeds, |seed| World::run(&overloaded(1, *seed)).calls.answered);

    let one = alone.iter().sum::<u64>() as f64 / alone.len() as f64;
    let each = FLEET.calls.answered as f64 / f64::from(SERVERS);
    assert!((each / one - 1.0).abs() < 0.03, "{each} calls answered per server, {one} by one that is alone");
}

#[test]
fn every_server_of_a_fleet_has_its_part_of_the_calls_and_a_limit_of_its_own() {
    let servers = &FLEET.servers;

    let mean = servers.iter().map(|server| server.reached).sum::<u64>() as f64 / f64::from(SERVERS);
    for server in servers {
        assert!((server.reached as f64 - mean).abs() < 5.0 * mean.sqrt(), "{server:?}, {mean} in the mean");
        assert!((WORKERS / 2..=4 * WORKERS).contains(&server.limit), "{server:?}");
    }
    assert!(servers.iter().any(|server| server.limit != servers[0].limit));
}

#[test]
fn servers_of_a_fleet_do_not_stand_still_together() {
    let mut scenario = overloaded(SERVERS, SEED);
    scenario.kind = kind("garbage-collection").expect("it is one of the kinds");

    let figures = World::run(&scenario);

    // But for the first, in which none does.
    let tenths = &figures.tenths[1..6];
    let mean = tenths.iter().map(|tenth| tenth.answered).sum::<u64>() as f64 / tenths.len() as f64;
    for tenth in tenths {
        assert!(tenth.answered as f64 > 0.85 * mean, "{tenth:?}, {mean} in the mean");
    }
}

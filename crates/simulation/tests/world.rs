//! The world itself: what it must not do, and small versions of the experiments against their bars.
#![expect(clippy::cast_precision_loss, reason = "counts of a simulation")]

use seawall_simulation::{
    Clients, Kind, Load, Network, Protection, Rejections, Scenario, World,
    experiments::{Case, Overload, Retries, critical, fair, measure, throttled},
    kind, kinds,
};

fn named(name: &str) -> Kind {
    kind(name).expect("it is one of the kinds")
}

/// Everything at once: a fleet, a network that loses, clients with retries, budgets, breakers and throttles.
fn busy(seed: u64) -> Scenario {
    let kind = named("workers-exponential");
    let mut scenario = Scenario::steady(&kind, Protection::KneeQueue, 1.5, seed);
    scenario.length = 2_000_000_000;
    scenario.servers = 8;
    scenario.network = Network { delay: 200_000.0, jitter: 100_000.0, loss: 0.01 };
    scenario.clients = Clients {
        count: 20,
        attempts: 3,
        budget: true,
        throttle: Some(2.0),
        breaker: Some(Rejections::AreNoFailures),
        deadlines: true,
        criticalities: [0.3, 0.2, 0.4, 0.1],
        tenants: vec![1.0; 10],
        ..Clients::open(&kind, 1.5)
    };
    scenario
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let trace = |seed| World::run(&busy(seed)).trace;

    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn every_call_ends_once_whatever_the_kind_and_the_protection() {
    for kind in kinds() {
        for protection in [Protection::KneeQueue, Protection::KneeCoDel, Protection::DropLate] {
            let mut scenario = Scenario::steady(&kind, protection, 2.0, 1);
            scenario.length /= 20;
            scenario.warm_up = 0;
            scenario.clients.attempts = 2;

            let figures = World::run(&scenario);

            let begun: u64 = figures.tenths.iter().map(|tenth| tenth.begun).sum();
            let due = 2.0 * kind.capacity() * scenario.length as f64;
            assert_eq!(figures.calls.begun, begun);
            assert!((begun as f64 - due).abs() < 6.0 * due.sqrt(), "{}: {begun} calls instead of {due}", kind.name);
        }
    }
}

#[test]
fn an_idle_server_answers_everybody_and_a_closed_loop_holds_itself_back() {
    let kind = named("processor-sharing");

    let idle = World::run(&Scenario::steady(&kind, Protection::KneeQueue, 0.1, 1));
    let mut closed = Scenario::steady(&kind, Protection::None, 1.0, 1);
    closed.clients.load = Load::Closed { users: 16, think: 10e6 };
    let closed = World::run(&closed);

    assert_eq!((idle.calls.part(), idle.refused), (1.0, 0));
    assert!(closed.calls.part() > 0.999, "{:?}", closed.calls);
}

#[test]
fn the_default_server_does_nearly_what_the_best_fixed_limit_does() {
    for name in ["workers-exponential", "processor-sharing", "one-worker", "capacity-halves"] {
        for load in [1.2, 5.0] {
            let case = Case { kind: named(name), load, seed: 501 };

            let row = measure(&case, case.best_fixed(), &[Protection::KneeQueue, Protection::None]);

            assert!(row.measured[0].goodput >= 0.93, "{name} at {load}: {row:?}");
            assert!(row.measured[1].goodput <= 0.6, "{name} at {load} without protection: {row:?}");
        }
    }
}

#[test]
fn the_default_server_is_itself_again_within_a_second_of_an_overload() {
    let overload = |protection, retries| {
        let kind = named("processor-sharing");
        Overload { kind, protection, base: 0.9, retries, breaker: None, seed: 501 }.run()
    };

    let naive = overload(Protection::KneeQueue, Retries::Naive);
    let budget = overload(Protection::KneeQueue, Retries::Budget);
    let none = overload(Protection::None, Retries::Naive);

    assert!(naive.seconds <= 1.0 && budget.seconds <= 1.0, "{naive:?} {budget:?}");
    assert!(none.seconds > 10.0, "{none:?}");
    assert!(budget.attempts <= 1.1 && naive.attempts > 1.5, "{} {}", budget.attempts, naive.attempts);
}

#[test]
fn only_a_limit_frees_a_lock_convoy_from_its_jam() {
    let overload = |protection| {
        let (kind, base, retries) = (named("lock-convoy"), 0.7, Retries::Budget);
        Overload { kind, protection, base, retries, breaker: None, seed: 501 }.run()
    };

    let (none, late, limit) =
        (overload(Protection::None), overload(Protection::DropLate), overload(Protection::KneeQueue));

    assert!(none.in_the_end < 0.001, "{none:?}");
    assert!((0.04..0.2).contains(&late.in_the_end), "{late:?}");
    assert!(limit.in_the_end > 0.97, "{limit:?}");
}

#[test]
fn a_throttle_spares_the_server_what_rejections_cost() {
    let results = throttled(&[10.0], &[0.0, 2.0], &[501]);

    for result in results {
        let expected = if result.k > 0.0 { 0.92..0.97 } else { 0.4..0.62 };
        assert!(expected.contains(&result.goodput), "{result:?}");
    }
}

#[test]
fn critical_calls_are_served_and_tenants_get_their_share() {
    let kinds = [named("workers-exponential"), named("processor-sharing")];

    for result in critical(&kinds, Protection::KneeQueue, &[501]) {
        assert!(result.lost() < 0.001, "{}: {:?}", result.kind.name, result.counts);
    }
    for result in fair(&kinds, Protection::KneeQueue, &[0.8, 1.2], &[501]) {
        assert!(result.mean_error <= 0.05, "{result:?}");
    }
}

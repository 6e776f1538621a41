//! The world against sums that can be done by hand.
#![expect(clippy::cast_precision_loss, reason = "counts of a simulation")]

use seawall_simulation::{
    Clients, Figures, Kind, Load, Network, Protection, Rejections, Scenario, TENTH, World,
    experiments::{Overload, Retries},
    kind,
};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: f64 = 1e6;

fn named(name: &str) -> Kind {
    kind(name).expect("it is one of the kinds")
}

/// A server that always has as many calls as its limit lets in, but for the moment until the next comes.
fn full(name: &str, limit: u32) -> (Scenario, Figures) {
    let mut scenario = Scenario::steady(&named(name), Protection::Fixed(limit), 30.0, 1);
    scenario.length /= 5;
    scenario.warm_up = 0;
    let figures = World::run(&scenario);
    (scenario, figures)
}

/// What it answers from one part of the run to another, over what its kind can do when it is well.
fn pace((scenario, figures): &(Scenario, Figures), from: f64, to: f64) -> f64 {
    let tenths = (scenario.length / TENTH) as f64;
    let at = |part: f64| (part * tenths).round();
    let nanos = (at(to) - at(from)) * TENTH as f64;
    let [from, to] = [from, to].map(|part| at(part) * TENTH as f64);
    figures.between(whole(from), whole(to)).answered as f64 / (nanos * scenario.kind.capacity())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of a run")]
fn whole(nanos: f64) -> u64 {
    nanos as u64
}

#[track_caller]
fn assert_near(measured: f64, due: f64, part: f64) {
    assert!((measured / due - 1.0).abs() < part, "{measured} instead of {due}");
}

#[test]
fn a_queue_before_one_worker_is_as_long_as_the_formula_says() {
    let figures = World::run(&Scenario::steady(&named("one-worker"), Protection::None, 0.5, 1));

    // 5 ms of work, half the time busy: twice that in the mean, and exponential.
    assert_near(figures.latency.mean(), 10.0 * MILLISECOND, 0.05);
    assert_near(figures.quantile(0.99), 10.0 * MILLISECOND * 100_f64.ln(), 0.1);
}

#[test]
fn a_full_server_does_what_its_discipline_leaves_of_its_capacity() {
    for (name, limit, due) in [
        ("workers-exponential", 8, 0.5),
        ("workers-exponential", 32, 1.0),
        ("processor-sharing", 4, 0.5),
        ("processor-sharing", 32, 1.0),
        // A fifth is lost at twice as many as there are cores: 1 / (1 + .25 × excess).
        ("lock-convoy", 16, 0.8),
        ("lock-convoy", 40, 0.5),
        // The third power of 64 over 80.
        ("thrashing", 64, 1.0),
        ("thrashing", 80, 0.512),
        ("batches", 48, 1.0),
        ("pipeline", 64, 1.0),
    ] {
        let measured = pace(&full(name, limit), 0.2, 1.0);
        assert!((measured / due - 1.0).abs() < 0.06, "{name} with {limit}: {measured} instead of {due}");
    }
}

#[test]
fn a_trouble_takes_what_it_says() {
    for (name, limit, from, to, due) in [
        ("capacity-halves", 16, 0.0, 0.5, 1.0),
        ("capacity-halves", 16, 0.5, 1.0, 0.5),
        ("capacity-doubles", 32, 0.0, 0.5, 1.0),
        ("capacity-doubles", 32, 0.5, 1.0, 2.0),
        // In twenty steps from a fifth to all of it.
        ("slow-start", 16, 0.0, 1.0 / 3.0, 0.58),
        ("slow-start", 16, 1.0 / 3.0, 1.0, 1.0),
        // 40 ms of 540.
        ("garbage-collection", 16, 0.0, 1.0, 0.926),
        ("periodic-stalls", 16, 0.0, 1.0, 1.0 - 20.0 * 0.2 / 7.5),
        ("cold-cache", 16, 0.0, 0.5, 1.0),
        // 870 calls and the work of 6,000 × (1 − e^(−870 / 2,000)) more are the 3,000 of half the run.
        ("cold-cache", 16, 0.5, 1.0, 870.0 / 3_000.0),
    ] {
        let measured = pace(&full(name, limit), from, to);
        assert!((measured / due - 1.0).abs() < 0.06, "{name} from {from} to {to}: {measured} instead of {due}");
    }
}

#[test]
fn the_network_delays_both_ways_and_loses_requests() {
    let kind = named("workers-deterministic");
    let mut scenario = Scenario::steady(&kind, Protection::None, 0.1, 1);
    scenario.length *= 4;
    scenario.network = Network { delay: 3.0 * MILLISECOND, jitter: 0.0, loss: 0.1 };

    let once = World::run(&scenario);
    scenario.clients.attempts = 2;
    let twice = World::run(&scenario);

    assert_near(once.quantile(0.5), 26.0 * MILLISECOND, 0.02);
    assert!((once.calls.part() - 0.9).abs() < 0.015, "{}", once.calls.part());
    assert!((twice.calls.part() - 0.99).abs() < 0.005, "{}", twice.calls.part());
    assert_near(twice.attempts as f64, 1.1 * twice.begun as f64, 0.01);
}

#[test]
fn who_is_refused_waits_for_half_of_50_and_of_100_ms_in_the_mean_before_the_next_attempts() {
    let mut scenario = Scenario::steady(&named("slow-workers"), Protection::Fixed(1), 1.0, 1);
    scenario.length = 10 * SECOND;
    scenario.warm_up = 0;
    let load = Load::Closed { users: 100, think: 25.0 * MILLISECOND };
    scenario.clients = Clients { count: 100, load, attempts: 3, ..scenario.clients };

    // What an attempt may take does not end the wait for the next.
    for timeout in [scenario.clients.timeout, 10_000_000] {
        scenario.clients.timeout = timeout;
        let figures = World::run(&scenario);

        // One of them has the only place: 99 users, 25 + 25 + 50 ms a call.
        assert_near(figures.begun as f64, 99.0 * 100.0, 0.03);
        assert_near(figures.attempts as f64, 3.0 * figures.begun as f64, 0.01);
    }
}

#[test]
fn users_who_think_call_as_often_as_answers_and_thoughts_let_them() {
    let mut scenario = Scenario::steady(&named("processor-sharing"), Protection::None, 1.0, 1);
    scenario.clients.load = Load::Closed { users: 4, think: 30.0 * MILLISECOND };

    let figures = World::run(&scenario);

    assert_near(figures.begun as f64, 4.0 * scenario.length as f64 / (40.0 * MILLISECOND), 0.03);
}

#[test]
fn calls_come_by_the_step_of_the_load_and_those_of_the_warm_up_are_not_counted() {
    let kind = named("workers-exponential");
    let mut scenario = Scenario::steady(&kind, Protection::KneeQueue, 1.0, 1);
    scenario.length = 12 * SECOND;
    scenario.warm_up = 4 * SECOND;
    scenario.clients.load = Load::Open(vec![(0, 0.5), (4 * SECOND, 2.0), (8 * SECOND, 0.1)]);

    let figures = World::run(&scenario);

    for (step, load) in [(0, 0.5), (1, 2.0), (2, 0.1)] {
        let begun = figures.between(step * 4 * SECOND, (step + 1) * 4 * SECOND).begun as f64;
        let due = load * kind.capacity() * 4.0 * SECOND as f64;
        assert!((begun - due).abs() < 4.0 * due.sqrt(), "{begun} calls instead of {due}");
    }
    assert_eq!(figures.calls, figures.between(4 * SECOND, 12 * SECOND));
}

#[test]
fn calls_begin_with_a_step_of_the_load_after_a_time_in_which_nobody_called() {
    let mut scenario = Scenario::steady(&named("workers-exponential"), Protection::KneeQueue, 1.0, 1);
    scenario.length = 3 * SECOND;
    scenario.clients.load = Load::Open(vec![(0, 0.0), (SECOND, 0.5), (2 * SECOND, 0.0)]);

    let figures = World::run(&scenario);

    assert_eq!(figures.between(0, SECOND).begun, 0);
    assert_near(figures.between(SECOND, SECOND + TENTH).begun as f64, 40.0, 0.4);
    assert_eq!(figures.between(2 * SECOND, 3 * SECOND).begun, 0);
}

#[test]
fn an_answer_that_comes_after_its_client_has_given_up_does_not_count() {
    let mut scenario = Scenario::steady(&named("workers-deterministic"), Protection::None, 0.5, 1);
    let answered = |timeout: f64, scenario: &mut Scenario| {
        scenario.clients.timeout = whole(timeout);
        World::run(scenario).calls.part()
    };

    let late = answered(19.9 * MILLISECOND, &mut scenario);
    let in_time = answered(20.1 * MILLISECOND, &mut scenario);

    assert!(late < 0.001 && in_time > 0.95, "{late} {in_time}");
}

#[test]
fn breakers_that_take_rejections_for_failures_keep_clients_away_long_after_an_overload() {
    let seconds = |rejections| {
        let (kind, protection) = (named("processor-sharing"), Protection::KneeQueue);
        let breaker = Some(rejections);
        Overload { kind, protection, base: 0.7, retries: Retries::Budget, breaker, seed: 501 }.run().seconds
    };

    let (fine, harmful) = (seconds(Rejections::AreNoFailures), seconds(Rejections::AreFailures));

    assert!(fine <= 1.0 && harmful >= 2.0, "{fine} {harmful}");
}

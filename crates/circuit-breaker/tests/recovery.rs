//! A server that is well again is called in full again, soon and for good: a thousand seeds at each rate.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{collections::VecDeque, time::Duration};

use seawall_circuit_breaker::{Breaker, BreakerConfig, BreakerTicket, Class, Outcome, State, Timestamp};
use seawall_core::{Entropy, SeededEntropy, unit_interval};

const MS: u64 = 1_000_000;
const SEEDS: u64 = 1_000;
/// How long an answer takes.
const LATENCY: u64 = 40 * MS;
/// Calls after the recovery that are looked at, so that high rates do not take all the time.
const CALLS: u64 = 3_000;
/// For so long after closing it is watched.
const WATCHED: u64 = 180_000 * MS;

/// What one run showed.
struct Run {
    /// From when the server was well until the circuit closed for good, beyond the open time that was under way; where
    /// the server became well in the middle of a round of probes that opened the circuit again, beyond that open time.
    beyond: Duration,
    /// How often it opened again after it had closed on the well server.
    flaps: u32,
    /// Whether a round opened it again although the server was well before the round had ended.
    failed_mid_round: bool,
}

struct Simulation {
    breaker: Breaker,
    chance: SeededEntropy,
    in_flight: VecDeque<(u64, BreakerTicket, bool)>,
}

impl Simulation {
    fn new(threshold: f64, seed: u64) -> Self {
        let config = BreakerConfig::builder().failure_ratio(threshold).seed(seed).build();
        Self {
            breaker: config.expect("valid settings").into(),
            chance: SeededEntropy::new(seed),
            in_flight: VecDeque::new(),
        }
    }

    fn draw(&self) -> f64 {
        unit_interval(self.chance.next_u64())
    }

    /// The answers that are due by now come in.
    fn answer(&mut self, now: u64) {
        while self.in_flight.front().is_some_and(|(end, ..)| *end <= now) {
            let Some((end, ticket, failed)) = self.in_flight.pop_front() else { break };
            let outcome = Outcome::Finished(if failed { Class::Failure } else { Class::Success });
            self.breaker.record(ticket, outcome, Duration::from_nanos(LATENCY), Timestamp::from_nanos(end));
        }
    }

    fn call(&mut self, now: u64, failing: f64) {
        self.answer(now);
        let failed = self.draw() < failing;
        if let Ok(ticket) = self.breaker.try_admit(Timestamp::from_nanos(now)) {
            self.in_flight.push_back((now + LATENCY, ticket, failed));
        }
    }

    /// How long until the next call that can change anything: none is let through while it is open.
    fn wait(&self, now: u64, gap: u64) -> u64 {
        if self.breaker.state() != State::Open {
            return gap;
        }
        let wait = self.breaker.snapshot(Timestamp::from_nanos(now)).retry_after.unwrap_or_default();
        gap.max(u64::try_from(wait.as_nanos()).unwrap_or(gap) / gap * gap)
    }
}

/// Down for 1 to 60 s, then well but for `background` errors.
fn run(per_second: u64, threshold: f64, background: f64, seed: u64) -> Run {
    let mut simulation = Simulation::new(threshold, seed);
    let gap = 1_000 * MS / per_second;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time below a minute")]
    let outage = (1_000.0 + simulation.draw() * 59_000.0) as u64 * MS;
    let mut now = 1_000 * MS;
    let well = now + outage;
    // Until all that was called while it was down has ended.
    while now < well + LATENCY || simulation.breaker.state() == State::Closed {
        simulation.call(now, if now < well { 1.0 } else { background });
        now += simulation.wait(now, gap).min(gap.max((well + LATENCY).saturating_sub(now) / gap * gap));
    }
    simulation.answer(now);
    let mut open_time = simulation.breaker.snapshot(Timestamp::from_nanos(now)).retry_after.unwrap_or_default();
    let (mut mid_round, mut failed_mid_round) = (simulation.breaker.state() == State::HalfOpen, false);
    let well = now;

    let (mut closed, mut flaps) = (None, 0);
    for _ in 0..CALLS {
        simulation.call(now, background);
        let state = simulation.breaker.state();
        if mid_round && state == State::Open {
            open_time = simulation.breaker.snapshot(Timestamp::from_nanos(now)).retry_after.unwrap_or_default();
            failed_mid_round = true;
        }
        mid_round &= state == State::HalfOpen;
        if state == State::Closed && closed.is_none() {
            closed = Some(now);
        } else if state != State::Closed && closed.is_some() {
            flaps += 1;
            closed = None;
        }
        if closed.is_some_and(|closed| now - closed > WATCHED) {
            break;
        }
        now += simulation.wait(now, gap);
    }
    let closed = closed.map_or(Duration::MAX, |closed| Duration::from_nanos(closed - well));
    Run { beyond: closed.saturating_sub(open_time), flaps, failed_mid_round }
}

/// The longest time beyond the open time, in how many of the runs that was more than two seconds, and in how many it
/// opened again after it had closed.
fn worst(threshold: f64, background: f64) -> (Duration, u32, u32) {
    let (mut longest, mut late, mut flapped, mut mid_round) = (Duration::ZERO, 0, 0, 0);
    for per_second in [10, 100, 1_000] {
        for seed in 0..SEEDS {
            let run = run(per_second, threshold, background, seed);
            longest = longest.max(run.beyond);
            let is_late = run.beyond > Duration::from_secs(2);
            late += u32::from(is_late);
            mid_round += u32::from(run.failed_mid_round);
            flapped += u32::from(run.flaps > 0);
        }
    }
    println!(
        "threshold {threshold}, background {background}: {longest:?}, {late} late, {flapped} flapped, {mid_round} \
         opened again by a round that had begun before the server was well"
    );
    (longest, late, flapped)
}

#[test]
fn a_healthy_server_is_back_in_full_within_two_seconds_of_the_open_time() {
    let (longest, late, flapped) = worst(0.5, 0.0);

    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!((late, flapped), (0, 0));
}

#[test]
fn background_errors_just_under_a_threshold_of_a_tenth_do_not_hold_it_open() {
    let (_, late, flapped) = worst(0.1, 0.08);

    assert_eq!((late, flapped), (0, 0));
}

#[test]
fn background_errors_just_under_a_threshold_of_a_half_do_not_hold_it_open() {
    let (longest, late, flapped) = worst(0.5, 0.45);

    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!((late, flapped), (0, 0));
}

//! A server that is well again is called in full again, soon and for good: a thousand seeds at each rate.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{collections::BTreeMap, time::Duration};

use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerConfigBuilder, BreakerTicket, Class, Outcome, State, Timestamp, Window,
};
use seawall_core::{Entropy, SeededEntropy, unit_interval};

const MS: u64 = 1_000_000;
const SEEDS: u64 = 1_000;
/// How long an answer takes.
const LATENCY: u64 = 40 * MS;
/// Calls after the recovery that are looked at, so that high rates do not take all the time.
const CALLS: u64 = 3_000;
/// So many seeds are watched for all of the time at any rate.
const SEEDS_WATCHED: u64 = 4;
/// For so long after closing it is watched.
const WATCHED: u64 = 180_000 * MS;

/// What ails the server before it is well.
#[derive(Copy, Clone)]
enum Fault {
    /// It fails as fast as it answers.
    Fails,
    /// It keeps calls, also those from before it was well, until a timeout cuts them after so long.
    Hangs(u64),
}

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
    fault: Fault,
    /// By when they end, and their number.
    in_flight: BTreeMap<(u64, u64), (BreakerTicket, Outcome)>,
    calls: u64,
}

impl Simulation {
    fn new(config: BreakerConfigBuilder, fault: Fault, seed: u64) -> Self {
        Self {
            breaker: config.seed(seed).build().expect("valid settings").into(),
            chance: SeededEntropy::new(seed),
            fault,
            in_flight: BTreeMap::new(),
            calls: 0,
        }
    }

    fn draw(&self) -> f64 {
        unit_interval(self.chance.next_u64())
    }

    /// The answers that are due by now come in, and timeouts fire.
    fn answer(&mut self, now: u64) {
        while let Some(call) = self.in_flight.first_entry().filter(|call| call.key().0 <= now) {
            let ((end, _), (ticket, outcome)) = call.remove_entry();
            self.breaker.record(ticket, outcome, Duration::from_nanos(LATENCY), Timestamp::from_nanos(end));
        }
    }

    /// Calls a server that is down, or well but for a share of failures.
    fn call(&mut self, now: u64, failing: Option<f64>) {
        self.answer(now);
        let failed = self.draw() < failing.unwrap_or(1.0);
        let (took, outcome) = match (failing, self.fault) {
            (None, Fault::Hangs(cut)) => (cut, Outcome::TimedOut),
            _ if failed => (LATENCY, Outcome::Finished(Class::Failure)),
            _ => (LATENCY, Outcome::Finished(Class::Success)),
        };
        if let Ok(ticket) = self.breaker.try_admit(Timestamp::from_nanos(now)) {
            self.calls += 1;
            self.in_flight.insert((now + took, self.calls), (ticket, outcome));
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
fn run(per_second: u64, config: &BreakerConfigBuilder, fault: Fault, background: f64, seed: u64) -> Run {
    let mut simulation = Simulation::new(config.clone(), fault, seed);
    let gap = 1_000 * MS / per_second;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time below a minute")]
    let outage = (1_000.0 + simulation.draw() * 59_000.0) as u64 * MS;
    // So long that the timeouts of a server that hangs open it.
    let outage = outage + if let Fault::Hangs(cut) = fault { 2 * cut } else { 0 };
    let mut now = 1_000 * MS;
    let well = now + outage;
    // Until what failed while it was down has ended; what hangs may go on.
    while now < well + LATENCY || simulation.breaker.state() == State::Closed {
        simulation.call(now, (now >= well).then_some(background));
        now += simulation.wait(now, gap).min(gap.max((well + LATENCY).saturating_sub(now) / gap * gap));
    }
    simulation.answer(now);
    let mut open_time = simulation.breaker.snapshot(Timestamp::from_nanos(now)).retry_after.unwrap_or_default();
    let (mut mid_round, mut failed_mid_round) = (simulation.breaker.state() == State::HalfOpen, false);
    let well = now;

    let (mut closed, mut flaps) = (None, 0);
    // After an open time, which takes one call, there are as many as the time to watch has.
    let calls = if seed < SEEDS_WATCHED { CALLS + WATCHED / gap } else { CALLS };
    for _ in 0..calls {
        simulation.call(now, Some(background));
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
fn worst(name: &str, config: &BreakerConfigBuilder, fault: Fault, background: f64) -> (Duration, u32, u32) {
    let (mut longest, mut late, mut flapped, mut mid_round) = (Duration::ZERO, 0, 0, 0);
    for per_second in [10, 100, 1_000] {
        for seed in 0..SEEDS {
            let run = run(per_second, config, fault, background, seed);
            longest = longest.max(run.beyond);
            let is_late = run.beyond > Duration::from_secs(2);
            late += u32::from(is_late);
            mid_round += u32::from(run.failed_mid_round);
            flapped += u32::from(run.flaps > 0);
        }
    }
    println!(
        "{name}, background {background}: {longest:?}, {late} late, {flapped} flapped, {mid_round} opened again by a round \
         that had begun before the server was well"
    );
    (longest, late, flapped)
}

fn threshold(ratio: f64) -> BreakerConfigBuilder {
    BreakerConfig::builder().failure_ratio(ratio)
}

#[test]
fn a_healthy_server_is_back_in_full_within_two_seconds_of_the_open_time() {
    let (longest, late, flapped) = worst("fails", &threshold(0.5), Fault::Fails, 0.0);

    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!((late, flapped), (0, 0));
}

#[test]
fn background_errors_just_under_a_threshold_of_a_tenth_do_not_hold_it_open() {
    let (_, late, flapped) = worst("fails, threshold .1", &threshold(0.1), Fault::Fails, 0.08);

    assert_eq!((late, flapped), (0, 0));
}

#[test]
fn background_errors_just_under_a_threshold_of_a_half_do_not_hold_it_open() {
    let (longest, late, flapped) = worst("fails", &threshold(0.5), Fault::Fails, 0.45);

    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!((late, flapped), (0, 0));
}

#[test]
fn a_server_that_hung_under_a_timeout_of_a_second_is_back_as_soon() {
    let (longest, late, flapped) = worst("hangs, cut after 1 s", &threshold(0.5), Fault::Hangs(1_000 * MS), 0.0);

    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!((late, flapped), (0, 0));
}

#[test]
fn a_server_that_hung_is_back_as_soon_where_it_is_known_what_is_slow() {
    let config = threshold(0.5).slow_after(Duration::from_secs(1));
    let (longest, late, flapped) = worst("hangs, slow after 1 s", &config, Fault::Hangs(10_000 * MS), 0.0);

    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!((late, flapped), (0, 0));
}

#[test]
fn a_server_that_hung_is_back_as_soon_also_where_nothing_else_is_known() {
    let (longest, late, flapped) = worst("hangs, cut after 10 s", &threshold(0.5), Fault::Hangs(10_000 * MS), 0.0);

    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!((late, flapped), (0, 0));
}

/// Fails a part of its calls for an hour: the share of the calls that were let through.
fn let_through(window: Window, per_second: u64, failing: f64) -> f64 {
    let mut simulation = Simulation::new(BreakerConfig::builder().window(window), Fault::Fails, per_second);
    let gap = 1_000 * MS / per_second;
    let calls = 3_600 * per_second;
    for call in 0..calls {
        simulation.call(1_000 * MS + call * gap, Some(failing));
    }
    #[expect(clippy::cast_precision_loss, reason = "some ten thousand")]
    let share = simulation.calls as f64 / calls as f64;
    println!("{window:?}: {failing} fail at {per_second} a second: {share:.2} let through");
    share
}

/// What one window of few calls does not show for sure, many do.
#[test]
fn a_dependency_that_fails_more_than_the_threshold_for_an_hour_is_not_called_as_if_it_were_well() {
    for window in [Window::Time(Duration::from_secs(10)), Window::Calls(100)] {
        for (failing, most) in [(0.6, 0.8), (0.7, 0.55), (0.8, 0.35), (0.9, 0.2)] {
            for per_second in [5, 10, 100] {
                let share = let_through(window, per_second, failing);
                assert!(share <= most, "{failing} at {per_second}");
            }
        }
    }
}

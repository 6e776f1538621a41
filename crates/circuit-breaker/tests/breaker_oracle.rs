//! The breaker against one that keeps every result and looks at all of them each time.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use proptest::prelude::*;
use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerTicket, Class, CountAs, Outcome, Recovery, State, Timestamp, Window,
};

const MS: u64 = 1_000_000;

#[derive(Clone, Debug)]
struct Settings {
    by_time: bool,
    size: u32,
    minimum: u32,
    failure_pct: u32,
    slow_pct: u32,
    in_a_row: Option<u32>,
    open_ms: u64,
    growth: bool,
    probes: u32,
    probe_age_ms: u64,
}

impl Settings {
    fn breaker(&self) -> Breaker {
        let size =
            if self.by_time { Window::Time(Duration::from_secs(self.size.into())) } else { Window::Calls(self.size) };
        let longest = if self.growth { self.open_ms * 4 } else { self.open_ms };
        let mut config = BreakerConfig::builder()
            .window(size)
            .min_calls(self.minimum)
            .failure_ratio(f64::from(self.failure_pct) / 100.0)
            .slow_ratio(f64::from(self.slow_pct) / 100.0)
            .slow_after(Duration::from_millis(SLOW_MS))
            .cancelled(CountAs::Failure)
            .cancelled_after(Duration::from_millis(CANCELLED_MS))
            .open_for(Duration::from_millis(self.open_ms))
            .max_open_for(Duration::from_millis(longest))
            .stable_for(Duration::from_millis(STABLE_MS))
            .jitter(0.0)
            .probes(self.probes)
            .probes_at_once(self.probes)
            .recovery(Recovery::ByRatio)
            .max_probe_age(Duration::from_millis(self.probe_age_ms));
        if let Some(failures) = self.in_a_row {
            config = config.consecutive_failures(failures);
        }
        config.build().expect("valid settings").into()
    }
}

const SLOW_MS: u64 = 100;
const CANCELLED_MS: u64 = 300;
const STABLE_MS: u64 = 2_000;

/// One result: in which second, whether it failed, whether it was slow.
type Result = (u64, bool, bool);

struct Oracle {
    settings: Settings,
    state: State,
    generation: u32,
    results: Vec<Result>,
    in_a_row: u32,
    until: u64,
    trips: u32,
    closed_at: Option<u64>,
    places: u32,
    probed_at: u64,
    given_up: u32,
}

impl Oracle {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Closed,
            generation: 0,
            results: Vec::new(),
            in_a_row: 0,
            until: 0,
            trips: 0,
            closed_at: None,
            places: 0,
            probed_at: 0,
            given_up: 0,
        }
    }

    fn go(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.results.clear();
        self.in_a_row = 0;
        self.places = 0;
        self.given_up = 0;
    }

    fn open(&mut self, now: u64) {
        if self.closed_at.is_some_and(|closed| now - closed >= STABLE_MS) {
            self.trips = 0;
        }
        self.closed_at = None;
        let factor = if self.settings.growth { 1 << self.trips.min(2) } else { 1 };
        self.trips += 1;
        self.until = now + self.settings.open_ms * factor;
        self.go(State::Open);
    }

    /// The results that count, as (all, failed, slow).
    fn figures(&self, now: u64) -> (u32, u32, u32) {
        let held: Vec<&Result> = match (self.state, self.settings.by_time) {
            (State::HalfOpen, _) => self.results.iter().collect(),
            (_, true) => {
                self.results.iter().filter(|(second, ..)| now / 1_000 - second < self.settings.size.into()).collect()
            }
            (_, false) => self.results.iter().rev().take(self.settings.size as usize).collect(),
        };
        let count = |is: fn(&Result) -> bool| u32::try_from(held.iter().filter(|held| is(held)).count()).unwrap_or(0);
        (count(|_| true), count(|result| result.1), count(|result| result.2))
    }

    fn too_bad(&self, (all, failed, slow): (u32, u32, u32)) -> bool {
        failed * 100 >= self.settings.failure_pct * all || slow * 100 >= self.settings.slow_pct * all
    }

    fn admit(&mut self, now: u64) -> bool {
        loop {
            match self.state {
                State::Open if now <= self.until => return false,
                State::Open => self.go(State::HalfOpen),
                State::HalfOpen if self.places + self.given_up < self.settings.probes => {
                    self.places += 1;
                    self.probed_at = now;
                    return true;
                }
                State::HalfOpen => {
                    let given_up = self.probed_at + self.settings.probe_age_ms;
                    if now < given_up {
                        return false;
                    }
                    let (all, failed, slow) = self.figures(now);
                    let hung = self.places - all;
                    if self.too_bad((all + hung, failed + hung, slow)) {
                        self.open(given_up);
                    } else {
                        self.go(State::Closed);
                        self.closed_at = Some(now);
                    }
                }
                _ => return true,
            }
        }
    }

    fn finish(&mut self, generation: u32, ended: Ended, latency: u64, now: u64) {
        if generation != self.generation {
            return;
        }
        let failed = match ended {
            Ended::Succeeded => false,
            Ended::Failed => true,
            Ended::Cancelled if latency >= CANCELLED_MS => true,
            Ended::Cancelled => {
                if self.state == State::HalfOpen {
                    self.places -= 1;
                    self.given_up += 1;
                    self.end_if_used_up(now);
                }
                return;
            }
        };
        self.results.push((now / 1_000, failed, latency > SLOW_MS));
        self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
        let figures = self.figures(now);
        let minimum = match (self.state, self.settings.by_time) {
            (State::HalfOpen, _) => self.settings.minimum.min(self.settings.probes),
            (_, true) => self.settings.minimum,
            (_, false) => self.settings.minimum.min(self.settings.size),
        };
        let in_a_row =
            self.state == State::Closed && self.settings.in_a_row.is_some_and(|limit| self.in_a_row >= limit);
        if in_a_row || figures.0 >= minimum && self.too_bad(figures) {
            self.open(now);
        } else if self.state == State::HalfOpen && figures.0 >= minimum {
            self.go(State::Closed);
            self.closed_at = Some(now);
        } else if self.state == State::HalfOpen {
            self.end_if_used_up(now);
        }
    }

    /// All places are used and all probes have ended: what results there are decide.
    fn end_if_used_up(&mut self, now: u64) {
        let figures = self.figures(now);
        if figures.0 < self.places || self.places + self.given_up < self.settings.probes {
            return;
        }
        if figures.0 == 0 || self.too_bad(figures) {
            self.open(now);
        } else {
            self.go(State::Closed);
            self.closed_at = Some(now);
        }
    }
}

#[derive(Copy, Clone, Debug)]
enum Ended {
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug)]
enum Op {
    Start,
    Finish(usize, Ended, u64),
    Pass(u64),
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        (any::<bool>(), 1_u32..12, 1_u32..8, prop_oneof![Just(10_u32), Just(50), Just(100)]),
        (prop_oneof![Just(30_u32), Just(100)], proptest::option::of(1_u32..5)),
        (0_u64..1_500, any::<bool>(), 1_u32..5, prop_oneof![Just(1_u64), Just(400), Just(5_000)]),
    )
        .prop_map(
            |((by_time, size, minimum, failure_pct), (slow_pct, in_a_row), (open_ms, growth, probes, probe_age_ms))| {
                Settings {
                    by_time,
                    size,
                    minimum,
                    failure_pct,
                    slow_pct,
                    in_a_row,
                    open_ms,
                    growth,
                    probes,
                    probe_age_ms,
                }
            },
        )
}

fn op() -> impl Strategy<Value = Op> {
    let ended = prop_oneof![6 => Just(Ended::Succeeded), 4 => Just(Ended::Failed), 2 => Just(Ended::Cancelled)];
    let latency = prop_oneof![6 => Just(1_u64), 1 => Just(SLOW_MS), 1 => Just(SLOW_MS + 1), 1 => Just(CANCELLED_MS)];
    prop_oneof![
        5 => Just(Op::Start),
        5 => (0_usize..8, ended, latency).prop_map(|(which, ended, latency)| Op::Finish(which, ended, latency)),
        2 => prop_oneof![6 => 0_u64..50, 3 => 0_u64..900, 1 => 0_u64..6_000].prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn decides_as_one_that_keeps_every_result(
        settings in settings(),
        ops in proptest::collection::vec(op(), 1..250),
    ) {
        let breaker = settings.breaker();
        let mut oracle = Oracle::new(settings);
        let mut in_flight: Vec<(BreakerTicket, u32)> = Vec::new();
        let mut now = 0;
        for op in ops {
            let at = Timestamp::from_nanos(now * MS);
            match op {
                Op::Pass(ms) => now += ms,
                Op::Start => {
                    let admitted = breaker.try_admit(at);
                    prop_assert_eq!(admitted.is_ok(), oracle.admit(now));
                    match admitted {
                        Ok(ticket) => in_flight.push((ticket, oracle.generation)),
                        Err(rejection) => {
                            let wait = (oracle.state == State::Open)
                                .then(|| Duration::from_nanos((oracle.until - now) * MS + 1));
                            prop_assert_eq!(rejection.retry_after(), wait);
                        }
                    }
                }
                Op::Finish(which, ended, latency) if !in_flight.is_empty() => {
                    let (ticket, generation) = in_flight.swap_remove(which % in_flight.len());
                    let outcome = match ended {
                        Ended::Succeeded => Outcome::Finished(Class::Success),
                        Ended::Failed => Outcome::Finished(Class::Failure),
                        Ended::Cancelled => Outcome::Cancelled,
                    };
                    breaker.record(ticket, outcome, Duration::from_millis(latency), at);
                    oracle.finish(generation, ended, latency, now);
                }
                Op::Finish(..) => {}
            }
            let snapshot = breaker.snapshot(Timestamp::from_nanos(now * MS));
            prop_assert_eq!(snapshot.state, oracle.state);
            if oracle.state != State::Open {
                let (all, failed, slow) = oracle.figures(now);
                let figures = snapshot.figures;
                prop_assert_eq!((figures.calls, figures.failures, figures.slow), (all.into(), failed.into(), slow.into()));
            }
        }
    }

    /// The wait that a rejection names is the shortest one that helps.
    #[test]
    fn one_nanosecond_less_than_retry_after_is_too_early(open_for in 0_u64..1_000_000_000_000, asked in 0_u64..1_000_000_000) {
        let breaker: Breaker = BreakerConfig::builder()
            .consecutive_failures(1)
            .open_for(Duration::from_nanos(open_for))
            .build()
            .expect("valid settings")
            .into();
        let start = Timestamp::from_nanos(7);
        let ticket = breaker.try_admit(start).expect("closed");
        breaker.record(ticket, Outcome::Panicked, Duration::ZERO, start);
        let mut now = start.saturating_add(Duration::from_nanos(asked));

        if let Err(rejection) = breaker.try_admit(now) {
            let wait = rejection.retry_after().expect("an open circuit knows when it is not");
            now = now.saturating_add(wait);
            prop_assert!(breaker.try_admit(now.saturating_sub(Duration::from_nanos(1))).is_err());
        }

        prop_assert!(breaker.try_admit(now).is_ok());
    }
}

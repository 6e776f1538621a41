use std::time::Duration;

use super::*;
use crate::{Probe, Window, WindowSize, word::Ended};

const SUCCESS: Outcome = Outcome::Finished(Class::Success);
const IGNORED: Outcome = Outcome::Finished(Class::Ignored);

/// Counts its windows; after the first it asks for a probe of one call.
struct Counting(u32);

impl LimitAlgorithm for Counting {
    fn limit(&self) -> f64 {
        10.0
    }

    fn window_size(&self) -> WindowSize {
        WindowSize { full: 2, enough: 2, at_most: Duration::ZERO }
    }

    fn update(&mut self, _: &Window) {
        self.0 = self.0.saturating_add(1);
    }

    fn probe(&self) -> Option<Probe> {
        (self.0 == 1).then_some(Probe { limit: 2, calls: 1 })
    }
}

fn end(limiter: &Limiter<Counting>, outcome: Outcome) {
    let passage = limiter.begin_anyway(1, Timestamp::ZERO);
    limiter.end(passage, outcome, || Timestamp::ZERO);
}

#[test]
fn of_two_calls_that_see_a_probe_of_one_the_second_is_a_call_as_any_other() {
    let limiter = Limiter::new(Counting(0));
    (0..2).for_each(|_| end(&limiter, SUCCESS));
    let seen = [(); 2].map(|()| limiter.word().enter_anyway(1).0);
    assert_eq!(seen.map(Seen::is_probing), [true; 2]);

    let [of_probe, usual] = seen.map(|seen| limiter.begin(seen, 1, Timestamp::ZERO));

    assert_eq!((of_probe.epoch(), usual.epoch()), (1, 0));
}

/// Keeps what windows of four say of the throughput, to the hundredth.
struct Doing(Vec<Option<f64>>);

impl LimitAlgorithm for Doing {
    fn limit(&self) -> f64 {
        100.0
    }

    fn window_size(&self) -> WindowSize {
        WindowSize { full: 4, enough: 4, at_most: Duration::ZERO }
    }

    fn update(&mut self, window: &Window) {
        self.0.push(window.throughput.map(|per_second| (100.0 * per_second).round() / 100.0));
    }
}

/// The throughput of the last of a few windows of calls one after the other that take 10 ms, each third one ended as `third`
/// says, each with others that end as soon as they came.
fn throughput(third: Outcome, at_once: &[Outcome]) -> Option<f64> {
    let limiter = Limiter::new(Doing(Vec::new()));
    let mut now = Timestamp::from_nanos(MILLISECOND);
    for outcome in [third, SUCCESS, SUCCESS].iter().cycle().take(99) {
        let start = now;
        now = now.saturating_add(Duration::from_millis(10));
        limiter.end(limiter.begin_anyway(1, start), *outcome, || now);
        for outcome in at_once {
            limiter.end(limiter.begin_anyway(1, now), *outcome, || now);
        }
    }
    limiter.inspect(|doing| doing.0.last().copied().flatten())
}

#[test]
fn calls_that_did_no_work_are_no_throughput() {
    let failed = Outcome::Finished(Class::Failure);
    assert_eq!(throughput(SUCCESS, &[]), Some(100.0));

    assert_eq!(throughput(SUCCESS, &[IGNORED; 5]), Some(100.0), "refused further in");
    assert_eq!(throughput(SUCCESS, &[failed, failed]), Some(100.0), "quick errors");
    assert!(throughput(Outcome::TimedOut, &[]).is_some_and(|useful| useful <= 75.0), "a third is cut");
}

/// Has no use for windows of less than a millisecond, and a limit of 100 that leaps to 200 after so many of them; keeps how
/// many samples each had.
struct Resting {
    windows: Vec<u32>,
    throughput: Option<f64>,
    leaps_after: usize,
}

/// 64,000 of them are less than a millisecond.
const QUICKLY: u64 = 10;
const MILLISECOND: u64 = 1_000_000;

impl LimitAlgorithm for Resting {
    fn limit(&self) -> f64 {
        if self.windows.len() < self.leaps_after { 100.0 } else { 200.0 }
    }

    fn window_size(&self) -> WindowSize {
        WindowSize { full: 1_000, enough: 1_000, at_most: Duration::from_secs(1) }
    }

    fn resting_window(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn update(&mut self, window: &Window) {
        self.windows.push(window.samples);
        self.throughput = window.throughput;
    }
}

/// A limiter, and calls one after the other that take no time.
struct Calls<A> {
    limiter: Limiter<A>,
    now: u64,
}

impl<A: LimitAlgorithm> Calls<A> {
    fn new(algorithm: A) -> Self {
        Self { limiter: Limiter::new(algorithm), now: 1_000 * MILLISECOND }
    }

    /// Makes so many, so far apart. How many were timed.
    fn make(&mut self, calls: u32, apart: u64) -> u32 {
        let timed = std::cell::Cell::new(0_u32);
        for _ in 0..calls {
            self.now = self.now.saturating_add(apart);
            let now = Timestamp::from_nanos(self.now);
            let seen = self.limiter.word().enter_anyway(1).0;
            let passage = self.limiter.begin_plainly(seen, 1, || now);
            self.limiter.end(passage, SUCCESS, || {
                timed.set(timed.get().saturating_add(1));
                now
            });
        }
        timed.get()
    }

    fn hold(&self, calls: u32) -> Vec<Passage> {
        (0..calls).map(|_| self.limiter.begin_exempt(1, Timestamp::ZERO)).collect()
    }
}

/// After as many quick calls as it takes to time the fewest.
fn at_rest() -> Calls<Resting> {
    let mut calls = Calls::new(Resting { windows: Vec::new(), throughput: None, leaps_after: usize::MAX });
    calls.make(200_000, QUICKLY);
    calls
}

fn windows(calls: &Calls<Resting>) -> Vec<u32> {
    calls.limiter.inspect(|resting| resting.windows.clone())
}

#[test]
fn of_quick_calls_of_which_few_are_under_way_one_in_64_is_timed_and_windows_are_as_full_as_ever() {
    let mut calls = at_rest();

    let timed = calls.make(64_000, QUICKLY);

    assert!((900..=1_100).contains(&timed), "{timed}");
    let windows = windows(&calls);
    assert!(windows.len() >= 8 && windows.iter().all(|samples| *samples == 1_000), "{windows:?}");
    assert_eq!(calls.limiter.inspect(|resting| resting.throughput), None, "nobody knows what the others did");
}

#[test]
fn no_more_are_left_out_than_it_takes_to_fill_a_window_in_its_time() {
    let mut calls = Calls::new(Resting { windows: Vec::new(), throughput: None, leaps_after: usize::MAX });
    calls.make(20_000, 20 * QUICKLY);

    // A thousand take 200 µs, and eight times as many more than a millisecond.
    let timed = calls.make(8_000, 20 * QUICKLY);

    assert!((900..=1_100).contains(&timed), "{timed}");
}

#[test]
fn from_half_of_the_limit_on_every_call_is_timed() {
    let mut calls = at_rest();
    let mut held = calls.hold(48);
    assert!(calls.make(640, QUICKLY) <= 25, "49 of 100 are under way");

    held.extend(calls.hold(1));

    assert_eq!(calls.make(640, QUICKLY), 640);
    assert_eq!(held.len(), 49);
}

#[test]
fn a_leap_out_of_rest_leaves_out_what_was_admitted_before_it() {
    let mut calls = at_rest();
    calls.limiter.adjust(|resting| resting.leaps_after = resting.windows.len() + 1);
    let before = windows(&calls).len();
    while windows(&calls).len() == before {
        calls.make(1, QUICKLY);
    }

    let _held = calls.hold(150);
    calls.make(1_000, QUICKLY);
    assert_eq!(windows(&calls).len(), before + 1);

    calls.make(200, QUICKLY);
    assert_eq!(windows(&calls).len(), before + 2);
}

#[test]
fn once_a_window_is_late_every_call_is_timed() {
    let mut calls = at_rest();

    calls.make(100, 10 * MILLISECOND);

    assert_eq!(calls.make(100, 10 * MILLISECOND), 100);
}

#[test]
fn where_windows_may_be_as_quick_as_they_like_or_the_clock_stands_still_every_call_is_timed() {
    let resting = Resting { windows: Vec::new(), throughput: None, leaps_after: usize::MAX };
    assert_eq!(Calls::new(resting).make(20_000, 0), 20_000);
    assert_eq!(Calls::new(crate::Fixed::new(100).unwrap()).make(20_000, QUICKLY), 20_000);
}

#[test]
fn of_calls_with_too_little_time_one_in_32_looks_and_of_those_whose_deadline_has_passed_none() {
    let limiter = Limiter::new(Counting(0));
    (0..2).for_each(|_| {
        let passage = limiter.begin_anyway(1, Timestamp::ZERO);
        limiter.end(passage, SUCCESS, || Timestamp::from_nanos(MILLISECOND));
    });
    let now = Timestamp::from_nanos(5);
    let looks = |left: u64| {
        let deadline = Timestamp::from_nanos(5_u64.saturating_add(left));
        (0..320).filter(|_| limiter.time_until(deadline, now) == Time::Look).count()
    };

    assert_eq!((looks(1), looks(0)), (10, 0));
    assert_eq!(limiter.time_until(Timestamp::from_nanos(4), now), Time::TooLittle);
    assert_eq!(limiter.time_until(Timestamp::from_nanos(5 + MILLISECOND), now), Time::Enough);
}

#[test]
fn an_outage_of_any_length_leaves_a_window_that_still_counts() {
    let limiter = Limiter::new(Counting(0));
    (0..Ended::HORIZON).for_each(|_| end(&limiter, IGNORED));

    (0..2).for_each(|_| end(&limiter, SUCCESS));

    assert_eq!(limiter.inspect(|counting| counting.0), 1);
}

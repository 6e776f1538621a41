use std::time::Duration;

use loom::{sync::Arc, thread};

use super::{windows::unpack, *};
use crate::{Probe, Window, WindowSize};

const SUCCESS: Outcome = Outcome::Finished(Class::Success);

/// A limit that is 4 from its first window on.
struct Leaping {
    first: f64,
    windows: u32,
    at_most: Duration,
    probe: Option<Probe>,
}

impl<A> Limiter<A> {
    /// As after windows that were filled too quickly.
    fn thin(&self) {
        self.marks.thinning.store(1 << 31, Relaxed);
    }
}

impl LimitAlgorithm for Leaping {
    fn limit(&self) -> f64 {
        if self.windows == 0 { self.first } else { 4.0 }
    }

    fn window_size(&self) -> WindowSize {
        WindowSize { full: 9, enough: 1, at_most: self.at_most }
    }

    fn update(&mut self, _: &Window) {
        self.windows = self.windows.saturating_add(1);
    }

    fn probe(&self) -> Option<Probe> {
        self.probe
    }

    fn probed(&mut self, _: Option<&Window>) {
        self.probe = None;
    }
}

fn leaping(first: f64, at_most: u64) -> Arc<Limiter<Leaping>> {
    let at_most = Duration::from_nanos(at_most);
    Arc::new(Limiter::new(Leaping { first, windows: 0, at_most, probe: None }))
}

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn enter(limiter: &Limiter<Leaping>) -> Passage {
    limiter.begin_anyway(1, Timestamp::ZERO)
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn two_calls_that_find_a_window_due_close_it_once_and_the_next_one_leaves_out_what_it_should() {
    check(|| {
        let limiter = leaping(2.0, 0);
        let (first, second) = (enter(&limiter), enter(&limiter));
        let other = Arc::clone(&limiter);
        let there = thread::spawn(move || other.end(first, SUCCESS, || at(0)));

        limiter.end(second, SUCCESS, || at(0));
        there.join().unwrap();

        assert_eq!(limiter.inspect(|leaping| leaping.windows), 1);
        // Four are left out; the one after them closes the next window, if none of the two has counted in it.
        for _ in 0..5 {
            limiter.end(enter(&limiter), SUCCESS, || at(0));
        }
        assert!(limiter.inspect(|leaping| leaping.windows) >= 2);
    });
}

#[test]
fn a_window_does_not_close_by_the_time_of_the_one_before() {
    check(|| {
        let limiter = leaping(4.0, 10);
        let (first, second) = (enter(&limiter), enter(&limiter));
        let other = Arc::clone(&limiter);
        let there = thread::spawn(move || other.end(first, SUCCESS, || at(10)));

        limiter.end(second, SUCCESS, || at(10));
        there.join().unwrap();

        assert_eq!(limiter.inspect(|leaping| leaping.windows), 1);
    });
}

#[test]
fn a_window_that_closes_as_half_of_the_limit_comes_into_use_leaves_out_what_it_should() {
    check(|| {
        let limiter = leaping(2.0, 0);
        limiter.thin();
        let ends = Passage::new(Timestamp::ZERO, 0, 1);
        let seen = limiter.word().enter_anyway(1).0;
        let other = Arc::clone(&limiter);
        let there = thread::spawn(move || other.end(ends, SUCCESS, || at(1)));

        assert!(limiter.is_timed(seen, 1));
        there.join().unwrap();

        assert_eq!(limiter.marks.thinning.load(Relaxed), 0);
        let (from, _) = unpack(limiter.marks.from_and_quiet.load(Relaxed));
        if limiter.inspect(|leaping| leaping.windows == 1) {
            assert_eq!(from.since(limiter.word().seen().ended()), 4);
        }
    });
}

#[test]
fn a_call_that_completes_a_probe_and_one_that_gives_it_up_agree_on_what_has_become_of_it() {
    check(|| {
        let limiter = leaping(2.0, 0);
        limiter.adjust(|leaping| leaping.probe = Some(Probe { limit: 1, calls: 1 }));
        limiter.end(enter(&limiter), SUCCESS, || at(0));
        let seen = limiter.word().enter_anyway(1).0;
        assert!(seen.is_probing());
        let later = Timestamp::from_nanos(2_000_000_000);
        let other = Arc::clone(&limiter);
        let joins = thread::spawn(move || other.begin(seen, 1, later));

        limiter.found_no_room(limiter.word().seen(), || later);
        let passage = joins.join().unwrap();

        let is_of_probe = passage.epoch() != 0;
        assert_eq!(limiter.inspect(|leaping| leaping.probe.is_some()), is_of_probe);
        let seen = limiter.word().seen();
        assert_eq!((seen.limit(), seen.is_probing(), seen.in_flight()), (4, false, 1));
        limiter.end(passage, SUCCESS, || later);
        assert!(limiter.inspect(|leaping| leaping.probe.is_none()));
    });
}

use seawall_core::{
    Timestamp, stripe_count,
    sync::{
        CachePadded,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    thread_stripe,
};

use crate::{figures::Figures, mark::Mark, seconds::Seconds, watch::Watch};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The results of the last seconds, per whole second of the clock: a result of second `s` counts while `now − s` is less
/// than the window's size.
///
/// Seconds of a later generation are moved ahead by more than the window, so what was counted before, or is counted late,
/// is out of sight without being wiped.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    seconds: u32,
    /// How far a generation moves the seconds ahead. A multiple of 8, so that 2²⁹ generations move them by a multiple of
    /// 2³² and both wrap together.
    stride: u32,
    /// Fast successes, by far the most, in a ring per core.
    good: Seconds,
    slow: Seconds,
    failed: Seconds,
    failed_slow: Seconds,
    watch: CachePadded<AtomicU64>,
}

impl TimeWindow {
    pub(crate) fn new(seconds: u32, stripes: Option<usize>) -> Self {
        let seconds = seconds.max(1);
        let shared = || Seconds::new(seconds, 1);
        Self {
            seconds,
            stride: seconds.next_multiple_of(8),
            good: Seconds::new(seconds, stripe_count(stripes)),
            slow: shared(),
            failed: shared(),
            failed_slow: shared(),
            watch: CachePadded::new(AtomicU64::new(Watch::NEW.bits())),
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "seconds wrap, see `tick::is_older`")]
    const fn tick(&self, generation: u32, at: Timestamp) -> u32 {
        let second = (at.as_nanos() / NANOS_PER_SECOND) as u32;
        second.wrapping_add(generation.wrapping_mul(self.stride))
    }

    /// Counts a fast success. Says whether it could have brought a ratio to its threshold: only by completing the
    /// minimum, or because other successes have left with an old second. So while something bad is in the window, it is
    /// time to [`check`](Self::check) until the minimum is there, and then once per second.
    pub(crate) fn record_good(&self, generation: u32, at: Timestamp) -> bool {
        let tick = self.tick(generation, at);
        self.good.add(thread_stripe(), tick);
        self.is_to_check(tick)
    }

    /// The same where nothing is in the way, which is nearly always: `None` when something was and nothing is counted.
    #[inline]
    pub(crate) fn try_record_good(&self, stripe: usize, generation: u32, at: Timestamp) -> Option<bool> {
        let tick = self.tick(generation, at);
        if self.good.try_add(stripe, tick) { Some(self.is_to_check(tick)) } else { None }
    }

    #[inline]
    fn is_to_check(&self, tick: u32) -> bool {
        // SeqCst: see `Seconds::add`.
        let watch = Watch::of(self.watch.load(SeqCst));
        watch.checked != tick && tick.wrapping_sub(watch.bad) < self.seconds
    }

    /// Counts a result that failed or was slow. Returns the sums.
    pub(crate) fn record_bad(&self, generation: u32, mark: Mark, at: Timestamp, minimum: u64) -> Figures {
        let tick = self.tick(generation, at);
        let results = match mark {
            Mark::Failed => &self.failed,
            Mark::FailedSlow => &self.failed_slow,
            Mark::Good | Mark::Slow => &self.slow,
        };
        results.add(0, tick);
        self.note(|watch| watch.with_bad(tick));
        self.check(generation, at, minimum)
    }

    /// The sums, of which a ratio may be taken.
    pub(crate) fn check(&self, generation: u32, at: Timestamp, minimum: u64) -> Figures {
        let tick = self.tick(generation, at);
        // SeqCst: partners are this fence in other threads, and the compare-exchange in `Seconds::add`.
        fence(SeqCst);
        let figures = self.sums(|results| results.quick_sum(tick));
        // Below the minimum the next success may complete it, so it has to look again.
        if figures.calls >= minimum {
            self.note(|watch| watch.with_checked(tick));
        }
        figures
    }

    fn note(&self, change: impl Fn(Watch) -> Watch) {
        let mut seen = self.watch.load(Relaxed);
        loop {
            let next = change(Watch::of(seen)).bits();
            if next == seen {
                return;
            }
            // Relaxed: the fence in `check` follows.
            match self.watch.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    #[inline]
    fn sums(&self, sum: impl Fn(&Seconds) -> u64) -> Figures {
        let (good, slow) = (sum(&self.good), sum(&self.slow));
        let (failed, both) = (sum(&self.failed), sum(&self.failed_slow));
        Figures {
            calls: good.saturating_add(slow).saturating_add(failed).saturating_add(both),
            failures: failed.saturating_add(both),
            slow: slow.saturating_add(both),
        }
    }

    /// What the window holds at `at`.
    pub(crate) fn figures(&self, generation: u32, at: Timestamp) -> Figures {
        let tick = self.tick(generation, at);
        self.sums(|results| results.sum(tick))
    }
}

#[cfg(all(test, not(seawall_loom)))]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = NANOS_PER_SECOND;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn record(window: &TimeWindow, generation: u32, mark: Mark, at: Timestamp, minimum: u64) -> Option<Figures> {
        if mark == Mark::Good {
            window.record_good(generation, at).then(|| window.check(generation, at, minimum))
        } else {
            Some(window.record_bad(generation, mark, at, minimum))
        }
    }

    /// All results ever, and the seconds that they are of.
    #[derive(Default)]
    struct Oracle {
        results: Vec<(u64, Mark)>,
    }

    impl Oracle {
        fn figures(&self, seconds: u64, now: Timestamp) -> Figures {
            let now = now.as_nanos() / SECOND;
            let held = || self.results.iter().filter(|(second, _)| now - second < seconds);
            let count = |is: fn(Mark) -> bool| held().filter(|(_, mark)| is(*mark)).count() as u64;
            Figures { calls: count(|_| true), failures: count(Mark::is_failed), slow: count(Mark::is_slow) }
        }
    }

    fn mark() -> impl Strategy<Value = Mark> {
        prop_oneof![10 => Just(Mark::Good), 3 => Just(Mark::Failed), 1 => Just(Mark::Slow), 1 => Just(Mark::FailedSlow)]
    }

    fn gap() -> impl Strategy<Value = u64> {
        prop_oneof![8 => 0..SECOND / 2, 2 => 0..4 * SECOND, 1 => 0..40 * SECOND]
    }

    proptest! {
        // More than 10⁵ results in all.
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        /// Whenever the oracle's figures could open a circuit that the figures before could not, the window gives them.
        #[test]
        fn gives_the_figures_of_the_oracle_whenever_they_could_open(
            seconds in 1_u32..20,
            minimum in 1_u64..12,
            half in 1_u64..4,
            start in prop_oneof![Just(0), Just((u64::from(u32::MAX) - 3) * SECOND), Just((1 << 31) * SECOND)],
            steps in proptest::collection::vec((gap(), mark()), 1..200),
        ) {
            let window = TimeWindow::new(seconds, Some(2));
            let mut oracle = Oracle::default();
            let opens = |figures: &Figures| {
                figures.calls >= minimum && (figures.failures * 4 >= figures.calls * half || figures.slow * 2 >= figures.calls)
            };
            let mut now = start;
            for (gap, mark) in steps {
                now += gap;
                oracle.results.push((now / SECOND, mark));
                let expected = oracle.figures(seconds.into(), at(now));
                let given = record(&window, 0, mark, at(now), minimum);
                prop_assert_eq!(window.figures(0, at(now)), expected);
                prop_assert!(given.is_none_or(|given| given == expected));
                prop_assert!(given.is_some() || !opens(&expected), "{:?} went unseen", expected);
                if opens(&expected) {
                    // It would have opened: what follows begins with an empty window.
                    return Ok(());
                }
            }
        }
    }

    #[test]
    fn a_result_counts_until_its_second_is_the_window_s_size_ago() {
        let window = TimeWindow::new(10, None);
        record(&window, 0, Mark::Failed, at(SECOND - 1), 1);

        assert_eq!(window.figures(0, at(10 * SECOND - 1)).failures, 1);
        assert_eq!(window.figures(0, at(10 * SECOND)).failures, 0);
    }

    #[test]
    fn a_late_result_is_dropped_and_never_turns_its_bucket_back() {
        let window = TimeWindow::new(4, Some(1));
        for mark in [Mark::Good, Mark::Failed] {
            record(&window, 0, mark, at(4 * SECOND), 1);
        }

        for mark in [Mark::Good, Mark::Failed, Mark::FailedSlow] {
            record(&window, 0, mark, at(0), 1);
        }

        assert_eq!(window.figures(0, at(4 * SECOND)), Figures { calls: 2, failures: 1, slow: 0 });
    }

    #[test]
    fn a_stamp_that_trails_by_nanoseconds_counts_in_its_own_second() {
        let window = TimeWindow::new(4, Some(1));
        record(&window, 0, Mark::Failed, at(SECOND), 1);

        record(&window, 0, Mark::Failed, at(SECOND - 1), 1);

        assert_eq!(window.figures(0, at(SECOND)).failures, 2);
    }

    #[test]
    fn a_generation_sees_nothing_of_the_one_before_nor_of_its_late_results() {
        let last = u32::MAX >> 3;
        for (before, after) in [(0, 1), (5, 8), (last, 0)] {
            let window = TimeWindow::new(10, Some(1));
            record(&window, before, Mark::Failed, at(7 * SECOND), 1);
            record(&window, after, Mark::Failed, at(7 * SECOND), 1);

            record(&window, before, Mark::FailedSlow, at(7 * SECOND), 1);
            record(&window, before, Mark::Good, at(8 * SECOND), 1);

            assert_eq!(window.figures(after, at(8 * SECOND)), Figures { calls: 1, failures: 1, slow: 0 });
        }
    }

    #[test]
    fn while_nothing_bad_is_in_the_window_no_success_looks_at_the_sums() {
        let window = TimeWindow::new(2, None);
        record(&window, 0, Mark::Failed, at(SECOND), 1);

        assert!(window.record_good(0, at(2 * SECOND)));
        assert!(!window.record_good(0, at(3 * SECOND)));
    }

    #[test]
    fn a_jump_of_the_clock_to_its_end_neither_panics_nor_keeps_what_was() {
        let window = TimeWindow::new(3_600, Some(1));
        record(&window, 0, Mark::Failed, Timestamp::ZERO, 1);

        record(&window, 0, Mark::Failed, Timestamp::MAX, 1);

        assert_eq!(window.figures(0, Timestamp::MAX).failures, 1);
        assert_eq!(window.figures(0, Timestamp::MAX.saturating_sub(Duration::from_secs(3_600))).failures, 0);
    }

    #[test]
    fn threads_on_their_own_stripes_lose_nothing() {
        let window = TimeWindow::new(10, Some(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for call in 0..1_000_u64 {
                        let mark = if call % 10 == 0 { Mark::Failed } else { Mark::Good };
                        record(&window, 0, mark, at(call * SECOND / 200), 1_000_000);
                    }
                });
            }
        });

        assert_eq!(window.figures(0, at(5 * SECOND)), Figures { calls: 4_000, failures: 400, slow: 0 });
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn of_two_bad_results_at_once_one_sees_both() {
        loom::model(|| {
            let window = Arc::new(TimeWindow::new(1, Some(1)));
            let other = Arc::clone(&window);
            let there = thread::spawn(move || other.record_bad(0, Mark::Failed, Timestamp::ZERO, 2));

            let here = window.record_bad(0, Mark::FailedSlow, Timestamp::ZERO, 2);
            let there = there.join().unwrap();

            let both = Figures { calls: 2, failures: 2, slow: 1 };
            assert!(here == both || there == both);
        });
    }

    #[test]
    fn a_late_result_never_turns_a_bucket_back() {
        loom::model(|| {
            let window = Arc::new(TimeWindow::new(1, Some(1)));
            let other = Arc::clone(&window);
            let late = thread::spawn(move || other.record_bad(0, Mark::Failed, Timestamp::ZERO, 1));

            let second = Timestamp::from_nanos(NANOS_PER_SECOND);
            window.record_bad(0, Mark::Failed, second, 1);
            late.join().unwrap();

            assert_eq!(window.figures(0, second), Figures { calls: 1, failures: 1, slow: 0 });
        });
    }

    #[test]
    fn a_late_result_never_comes_into_the_next_generation() {
        loom::model(|| {
            let window = Arc::new(TimeWindow::new(1, Some(1)));
            let other = Arc::clone(&window);
            let late = thread::spawn(move || other.record_bad(0, Mark::Failed, Timestamp::ZERO, 1));

            window.record_bad(1, Mark::Slow, Timestamp::ZERO, 1);
            late.join().unwrap();

            assert_eq!(window.figures(1, Timestamp::ZERO), Figures { calls: 1, failures: 0, slow: 1 });
        });
    }
}

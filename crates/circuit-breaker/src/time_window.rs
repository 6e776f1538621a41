use seawall_core::{
    Stripes, Timestamp,
    sync::{
        CachePadded,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
};

use crate::{figures::Figures, mark::Mark};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The results of the last seconds, in one bucket per whole second of the clock: a result of second `s` counts while
/// `now − s` is less than the window's size.
///
/// Each bucket says itself which second it is of, so nothing ever rotates the ring: who finds an older second in a
/// bucket replaces it, who finds a newer one came too late and is dropped. Seconds of a later generation are moved ahead
/// by more than the window, so what was counted before, or is counted late, is out of sight without being wiped.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    seconds: u32,
    mask: u32,
    /// How far a generation moves the seconds ahead. A multiple of 8, so that 2²⁹ generations move them by a multiple of
    /// 2³² and both wrap together.
    stride: u32,
    /// Fast successes, by far the most, in a ring per core.
    good: Stripes<Box<[AtomicU64]>>,
    bad: Bad,
}

#[derive(Debug)]
struct Bad {
    slow: Box<[AtomicU64]>,
    failed: Box<[AtomicU64]>,
    failed_slow: Box<[AtomicU64]>,
    /// The last second with a bad result, and the last one in which a success looked at the sums.
    watch: CachePadded<AtomicU64>,
}

/// A count and the second that it is of.
#[derive(Copy, Clone)]
struct Bucket {
    tick: u32,
    count: u32,
}

impl Bucket {
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    const fn of(bits: u64) -> Self {
        Self { tick: (bits >> 32) as u32, count: bits as u32 }
    }

    const fn bits(self) -> u64 {
        ((self.tick as u64) << 32) | self.count as u64
    }

    /// One more in second `tick`; `None` when the bucket is full, or has gone on to a later one.
    #[inline]
    const fn plus_one(bits: u64, tick: u32) -> Option<u64> {
        let bucket = Self::of(bits);
        if bucket.tick == tick {
            // The count is in the low half.
            if bucket.count == u32::MAX { None } else { Some(bits.wrapping_add(1)) }
        } else if bucket.count == 0 || is_older(bucket.tick, tick) {
            Some(Self { tick, count: 1 }.bits())
        } else {
            None
        }
    }
}

/// The two halves of [`Bad::watch`].
#[derive(Copy, Clone)]
struct Watch {
    bad: u32,
    checked: u32,
}

impl Watch {
    /// Nothing bad yet: older than any second.
    const NEW: Self = Self { bad: u32::MAX, checked: u32::MAX };

    const fn with_bad(self, tick: u32) -> Self {
        if self.bad == Self::NEW.bad && self.checked == Self::NEW.checked {
            Self { bad: tick, checked: tick.wrapping_sub(1) }
        } else if is_older(self.bad, tick) {
            Self { bad: tick, ..self }
        } else {
            self
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    const fn of(bits: u64) -> Self {
        Self { bad: (bits >> 32) as u32, checked: bits as u32 }
    }

    const fn bits(self) -> u64 {
        ((self.bad as u64) << 32) | self.checked as u64
    }
}

/// Seconds wrap after 136 years; one is older than another that it trails by less than half of that.
const fn is_older(tick: u32, than: u32) -> bool {
    let behind = than.wrapping_sub(tick);
    behind != 0 && behind < 1 << 31
}

fn ring(length: u32) -> Box<[AtomicU64]> {
    (0..length).map(|_| AtomicU64::new(0)).collect()
}

#[inline]
fn add(ring: &[AtomicU64], slot: u32, tick: u32) {
    let Some(cell) = ring.get(slot as usize) else { return };
    let mut seen = cell.load(Relaxed);
    while let Some(next) = Bucket::plus_one(seen, tick) {
        // SeqCst: partner is the fence in `record`. Of a success here and a bad result there that come at the same time,
        // at least one sees the other, so the call that completes the minimum never goes unnoticed.
        match cell.compare_exchange_weak(seen, next, SeqCst, Relaxed) {
            Ok(_) => return,
            Err(newer) => seen = newer,
        }
    }
}

impl TimeWindow {
    pub(crate) fn new(seconds: u32, stripes: Option<usize>) -> Self {
        let slots = seconds.max(1).next_power_of_two();
        let good = match stripes {
            Some(count) => Stripes::with_count(count, || ring(slots)),
            None => Stripes::new(|| ring(slots)),
        };
        Self {
            seconds: seconds.max(1),
            mask: slots.saturating_sub(1),
            stride: seconds.max(1).next_multiple_of(8),
            good,
            bad: Bad {
                slow: ring(slots),
                failed: ring(slots),
                failed_slow: ring(slots),
                watch: CachePadded::new(AtomicU64::new(Watch::NEW.bits())),
            },
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "seconds wrap, see is_older")]
    const fn tick(&self, generation: u32, at: Timestamp) -> u32 {
        let second = (at.as_nanos() / NANOS_PER_SECOND) as u32;
        second.wrapping_add(generation.wrapping_mul(self.stride))
    }

    #[inline]
    const fn holds(&self, now: u32, tick: u32) -> bool {
        now.wrapping_sub(tick) < self.seconds
    }

    /// Counts a fast success. Says whether it could have brought a ratio to its threshold: only by completing the
    /// minimum, or because other successes have left with an old second. So while something bad is in the window, it is
    /// time to [`check`](Self::check) until the minimum is there, and then once per second.
    #[inline]
    pub(crate) fn record_good(&self, generation: u32, at: Timestamp) -> bool {
        let tick = self.tick(generation, at);
        add(self.good.mine(), tick & self.mask, tick);
        // SeqCst: see `add`.
        let watch = Watch::of(self.bad.watch.load(SeqCst));
        self.holds(tick, watch.bad) && watch.checked != tick
    }

    /// Counts a result that failed or was slow. Returns the sums.
    pub(crate) fn record_bad(&self, generation: u32, mark: Mark, at: Timestamp, minimum: u64) -> Figures {
        let tick = self.tick(generation, at);
        let ring = match mark {
            Mark::Failed => &self.bad.failed,
            Mark::FailedSlow => &self.bad.failed_slow,
            Mark::Good | Mark::Slow => &self.bad.slow,
        };
        add(ring, tick & self.mask, tick);
        self.note(|watch| watch.with_bad(tick));
        self.check(generation, at, minimum)
    }

    /// The sums, of which a ratio may be taken.
    pub(crate) fn check(&self, generation: u32, at: Timestamp, minimum: u64) -> Figures {
        let tick = self.tick(generation, at);
        // SeqCst: partners are this fence in other threads, and the compare-exchange in `add`.
        fence(SeqCst);
        let figures = self.sum(tick);
        // Below the minimum the next success may complete it, so it has to look again.
        if figures.calls >= minimum {
            self.note(|watch| Watch { checked: tick, ..watch });
        }
        figures
    }

    fn note(&self, change: impl Fn(Watch) -> Watch) {
        let mut seen = self.bad.watch.load(Relaxed);
        loop {
            let next = change(Watch::of(seen)).bits();
            if next == seen {
                return;
            }
            // Relaxed: the fence in `check` follows.
            match self.bad.watch.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    fn count(&self, ring: &[AtomicU64], now: u32) -> u64 {
        ring.iter()
            .map(|cell| Bucket::of(cell.load(Relaxed)))
            .filter(|bucket| self.holds(now, bucket.tick))
            .map(|bucket| u64::from(bucket.count))
            .fold(0, u64::saturating_add)
    }

    fn sum(&self, now: u32) -> Figures {
        let good = self.good.iter().map(|ring| self.count(ring, now)).fold(0, u64::saturating_add);
        let slow = self.count(&self.bad.slow, now);
        let failed = self.count(&self.bad.failed, now);
        let both = self.count(&self.bad.failed_slow, now);
        Figures {
            calls: good.saturating_add(slow).saturating_add(failed).saturating_add(both),
            failures: failed.saturating_add(both),
            slow: slow.saturating_add(both),
        }
    }

    /// What the window holds at `at`.
    pub(crate) fn figures(&self, generation: u32, at: Timestamp) -> Figures {
        self.sum(self.tick(generation, at))
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

use seawall_core::sync::{
    CachePadded,
    atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use crate::{figures::Figures, mark::Mark};

/// The last N results, exactly, also while many threads record.
///
/// A ring of results, and a head: how many there were, and how many of the last N failed or were slow. A result is first
/// put into its slot and then taken into the head, by whoever gets there; a thread that stops in between holds nobody
/// up, as the next one finishes its step for it. So results have one order, and the head is always right for a prefix of
/// it. The ring is longer than the window: the result that leaves is still in its slot while the head moves.
///
/// While all of the last N are fast successes, another one changes nothing: it writes nothing at all.
#[derive(Debug)]
pub(crate) struct CountWindow {
    calls: u32,
    mask: u32,
    slots: Box<[AtomicU64]>,
    head: CachePadded<AtomicU64>,
    /// The index at which this generation began.
    base: CachePadded<AtomicU32>,
}

const FAILED: u64 = 1;
const SLOW: u64 = 2;

/// The index of a result, and whether it failed or was slow.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    const fn new(index: u32, mark: Mark) -> Self {
        let failed = if mark.is_failed() { FAILED } else { 0 };
        let slow = if mark.is_slow() { SLOW } else { 0 };
        Self(((index as u64) << 32) | failed | slow)
    }

    const fn index(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn failed(self) -> u16 {
        (self.0 & FAILED != 0) as u16
    }

    const fn slow(self) -> u16 {
        (self.0 & SLOW != 0) as u16
    }
}

/// The next index, and the bad ones among the last N results.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Head {
    index: u32,
    failures: u16,
    slow: u16,
}

impl Head {
    #[expect(clippy::cast_possible_truncation, reason = "three parts of a word")]
    const fn of(bits: u64) -> Self {
        Self { index: (bits >> 32) as u32, failures: (bits >> 16) as u16, slow: bits as u16 }
    }

    const fn bits(self) -> u64 {
        ((self.index as u64) << 32) | ((self.failures as u64) << 16) | self.slow as u64
    }

    const fn is_all_good(self) -> bool {
        self.failures == 0 && self.slow == 0
    }

    /// One result further: `entering` comes in, `leaving` goes.
    const fn advanced(self, entering: Slot, leaving: Option<Slot>) -> Self {
        let (failed, slow) = match leaving {
            Some(slot) => (slot.failed(), slot.slow()),
            None => (0, 0),
        };
        Self {
            index: self.index.wrapping_add(1),
            failures: self.failures.saturating_add(entering.failed()).saturating_sub(failed),
            slow: self.slow.saturating_add(entering.slow()).saturating_sub(slow),
        }
    }
}

impl CountWindow {
    /// A window of `calls` results, 1 to 65,535.
    pub(crate) fn new(calls: u32) -> Self {
        let calls = calls.clamp(1, u32::from(u16::MAX));
        let slots = calls.saturating_add(1).next_power_of_two();
        Self {
            calls,
            mask: slots.saturating_sub(1),
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            // Far enough from the zeros in the slots that none of them looks like a result.
            head: CachePadded::new(AtomicU64::new(Head { index: 1 << 31, failures: 0, slow: 0 }.bits())),
            base: CachePadded::new(AtomicU32::new(1 << 31)),
        }
    }

    /// How many results the window holds when it is full.
    pub(crate) const fn calls(&self) -> u32 {
        self.calls
    }

    /// Whether a fast success would change nothing.
    #[inline]
    pub(crate) fn is_full_of_good(&self) -> bool {
        let head = Head::of(self.head.load(Relaxed));
        head.is_all_good() && self.total(head) == self.calls
    }

    #[inline]
    fn total(&self, head: Head) -> u32 {
        head.index.wrapping_sub(self.base.load(Relaxed)).min(self.calls)
    }

    fn figures_of(&self, head: Head) -> Figures {
        Figures { calls: self.total(head).into(), failures: head.failures.into(), slow: head.slow.into() }
    }

    /// Counts one result and returns what the window then holds, unless `is_current` says that the generation of the
    /// result has passed.
    pub(crate) fn record(&self, mark: Mark, is_current: impl Fn() -> bool) -> Option<Figures> {
        loop {
            // Acquire: partner is the release in `restart`; who sees the head of a new generation also sees, in
            // `is_current`, that the old one has passed.
            let seen = self.head.load(Acquire);
            if !is_current() {
                return None;
            }
            let head = Head::of(seen);
            let cell = self.slots.get((head.index & self.mask) as usize)?;
            // Acquire and AcqRel: partners are each other, for the slot of a thread that is to be helped.
            let current = Slot(cell.load(Acquire));
            let mine = Slot::new(head.index, mark);
            let placed =
                current.index() != head.index && cell.compare_exchange(current.0, mine.0, AcqRel, Relaxed).is_ok();
            if placed {
                let after = self.advance(head, mine)?;
                return Some(self.figures_of(after));
            }
            let theirs = Slot(cell.load(Acquire));
            if theirs.index() == head.index {
                self.advance(head, theirs);
            }
        }
    }

    /// Takes `entering` into the head. If somebody else did it first the result is the same.
    fn advance(&self, head: Head, entering: Slot) -> Option<Head> {
        let oldest = head.index.wrapping_sub(self.calls);
        let cell = self.slots.get((oldest & self.mask) as usize)?;
        // Acquire: partner is the exchange that put it there.
        let leaving = Some(Slot(cell.load(Acquire))).filter(|slot| slot.index() == oldest);
        let next = head.advanced(entering, leaving);
        // AcqRel: partner is the load in `record`.
        if self.head.compare_exchange(head.bits(), next.bits(), AcqRel, Relaxed).is_ok() {
            self.move_base(next);
        }
        Some(next)
    }

    /// Keeps the distance to the base small, so that it never wraps.
    fn move_base(&self, head: Head) {
        let base = self.base.load(Relaxed);
        // A restart may have moved the base itself: then it is ahead of this head, or the exchange fails.
        if (1 << 30..1 << 31).contains(&head.index.wrapping_sub(base)) {
            let moved = head.index.wrapping_sub(self.calls);
            let _ = self.base.compare_exchange(base, moved, Relaxed, Relaxed);
        }
    }

    /// Empties the window, by going so far ahead that no result in the ring is near.
    pub(crate) fn restart(&self) {
        let mut seen = self.head.load(Relaxed);
        loop {
            let index = Head::of(seen).index.wrapping_add(self.calls).wrapping_add(1);
            let next = Head { index, failures: 0, slow: 0 }.bits();
            // AcqRel: partner is the load in `record`.
            match self.head.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => {
                    self.base.store(index, Release);
                    return;
                }
                Err(newer) => seen = newer,
            }
        }
    }

    /// What the window holds.
    pub(crate) fn figures(&self) -> Figures {
        self.figures_of(Head::of(self.head.load(Acquire)))
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// The last results, kept by hand.
    struct Oracle {
        calls: usize,
        results: VecDeque<Mark>,
    }

    impl Oracle {
        fn record(&mut self, mark: Mark) -> Figures {
            self.results.push_back(mark);
            if self.results.len() > self.calls {
                self.results.pop_front();
            }
            self.figures()
        }

        fn figures(&self) -> Figures {
            let count = |is: fn(Mark) -> bool| self.results.iter().filter(|mark| is(**mark)).count() as u64;
            Figures { calls: count(|_| true), failures: count(Mark::is_failed), slow: count(Mark::is_slow) }
        }
    }

    fn result() -> impl Strategy<Value = Option<Mark>> {
        prop_oneof![
            20 => Just(Some(Mark::Good)),
            6 => Just(Some(Mark::Failed)),
            3 => Just(Some(Mark::Slow)),
            3 => Just(Some(Mark::FailedSlow)),
            1 => Just(None),
        ]
    }

    proptest! {
        // More than 10⁵ results in all.
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// `None` empties both.
        #[test]
        fn holds_exactly_the_last_results(calls in 1_u32..40, results in proptest::collection::vec(result(), 1..400)) {
            let window = CountWindow::new(calls);
            let mut oracle = Oracle { calls: calls as usize, results: VecDeque::new() };
            for result in results {
                if let Some(mark) = result {
                    let expected = oracle.record(mark);
                    if mark == Mark::Good && window.is_full_of_good() {
                        prop_assert_eq!(expected, Figures { calls: calls.into(), failures: 0, slow: 0 });
                    } else {
                        prop_assert_eq!(window.record(mark, || true), Some(expected));
                    }
                } else {
                    window.restart();
                    oracle.results.clear();
                }
                prop_assert_eq!(window.figures(), oracle.figures());
            }
        }
    }

    #[test]
    fn a_result_of_a_generation_that_has_passed_is_dropped() {
        let window = CountWindow::new(3);

        assert_eq!(window.record(Mark::Failed, || false), None);

        assert_eq!(window.figures(), Figures::default());
    }

    #[test]
    fn indices_wrap_and_the_base_follows() {
        let window = CountWindow::new(3);
        let near = u32::MAX - 5;
        window.head.store(Head { index: near, failures: 0, slow: 0 }.bits(), Relaxed);
        window.base.store(near.wrapping_sub(1 << 30), Relaxed);

        for expected in [1, 2, 3, 3, 3, 3, 3, 3, 3, 3] {
            let figures = window.record(Mark::Failed, || true);
            assert_eq!(figures, Some(Figures { calls: 3, failures: expected, slow: 0 }));
        }

        assert_eq!(window.base.load(Relaxed), near - 2);
    }

    #[test]
    fn threads_lose_no_result_and_count_none_twice() {
        let window = CountWindow::new(1_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let window = &window;
                scope.spawn(move || {
                    for call in 0..250 {
                        let mark = if (call + thread) % 5 == 0 { Mark::FailedSlow } else { Mark::Good };
                        window.record(mark, || true);
                    }
                });
            }
        });

        assert_eq!(window.figures(), Figures { calls: 1_000, failures: 200, slow: 200 });

        for _ in 0..1_000 {
            window.record(Mark::Good, || true);
        }
        assert!(window.is_full_of_good());
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    /// Whoever comes last sees what is then in the window.
    #[test]
    fn two_results_in_a_window_of_two_are_both_counted_and_one_of_them_sees_both() {
        loom::model(|| {
            let window = Arc::new(CountWindow::new(2));
            let other = Arc::clone(&window);
            let there = thread::spawn(move || other.record(Mark::Failed, || true).unwrap());

            let here = window.record(Mark::FailedSlow, || true).unwrap();
            let there = there.join().unwrap();

            let both = Figures { calls: 2, failures: 2, slow: 1 };
            assert_eq!(window.figures(), both);
            assert!(here == both || there == both);
        });
    }

    #[test]
    fn in_a_window_of_one_the_last_result_is_the_only_one() {
        loom::model(|| {
            let window = Arc::new(CountWindow::new(1));
            window.record(Mark::Failed, || true);
            let other = Arc::clone(&window);
            let there = thread::spawn(move || other.record(Mark::Good, || true).unwrap());

            let here = window.record(Mark::Slow, || true).unwrap();
            let there = there.join().unwrap();

            let (good, slow) = (Figures { calls: 1, failures: 0, slow: 0 }, Figures { calls: 1, failures: 0, slow: 1 });
            assert_eq!((here, there), (slow, good));
            assert!([good, slow].contains(&window.figures()));
        });
    }

    #[test]
    fn a_late_result_never_comes_into_the_next_generation() {
        loom::model(|| {
            let window = Arc::new(CountWindow::new(1));
            let generation = Arc::new(AtomicU32::new(0));
            let late = {
                let (window, generation) = (Arc::clone(&window), Arc::clone(&generation));
                thread::spawn(move || {
                    window.record(Mark::Failed, || generation.load(Acquire) == 0);
                })
            };

            // As a change of state does it: the old generation has passed before the window is emptied for the next.
            generation.store(1, Release);
            window.restart();
            generation.store(2, Release);
            let ours = window.record(Mark::Good, || true);
            late.join().unwrap();

            let good = Figures { calls: 1, failures: 0, slow: 0 };
            assert_eq!((ours, window.figures()), (Some(good), good));
        });
    }
}

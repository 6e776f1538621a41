use seawall_core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use crate::tick::Tally;

/// Bytes to a line: a pair of cache lines, as processors fetch them. Rings never share one.
const LINE: usize = 128;
/// Words to a line; the model checker's are larger, and the fewer the better.
const WORDS: usize = if cfg!(seawall_loom) { 1 } else { LINE / size_of::<u64>() };

/// In place of a sum that nobody has made yet, or that a half word cannot hold.
const UNKNOWN: u32 = u32::MAX;

/// Counts per second of the clock, in several rings side by side.
///
/// Each word says itself which second it is of, so nothing ever rotates a ring: who finds an older second in a word
/// replaces it, who finds a newer one came too late and is dropped.
#[derive(Debug)]
pub(crate) struct Seconds {
    /// The rings one after the other, from the first line's edge on.
    words: Box<[AtomicU64]>,
    edge: usize,
    /// Words to a ring are 2 to this power.
    shift: u32,
    /// Rings less one, in words.
    rings: usize,
    slots: u32,
    /// How many seconds it holds.
    length: u32,
    /// What the seconds before its own came to: a sum within one second need not look at them again. Written once per
    /// second, so it may stand beside what every call reads.
    earlier: AtomicU64,
}

impl Seconds {
    /// `rings` rings that hold the last `seconds` seconds. The number of rings is rounded up to a power of two.
    pub(crate) fn new(seconds: u32, rings: usize) -> Self {
        let rings = rings.max(1).next_power_of_two();
        let slots = (seconds as usize).next_power_of_two().max(WORDS);
        let words: Box<[AtomicU64]> =
            (0..rings.saturating_mul(slots).saturating_add(WORDS)).map(|_| AtomicU64::new(0)).collect();
        Self {
            edge: words.as_ptr().align_offset(LINE).min(WORDS),
            words,
            shift: slots.trailing_zeros(),
            rings: rings.saturating_sub(1).saturating_mul(slots),
            slots: u32::try_from(slots).unwrap_or(u32::MAX).saturating_sub(1),
            length: seconds,
            earlier: AtomicU64::new(Tally { tick: 0, count: UNKNOWN }.bits()),
        }
    }

    /// The word of second `tick` in a ring. Rings beyond the last wrap around.
    #[inline]
    fn word(&self, ring: usize, tick: u32) -> Option<&AtomicU64> {
        let ring = (ring << self.shift) & self.rings;
        self.words.get((ring | (tick & self.slots) as usize).wrapping_add(self.edge))
    }

    /// One more in second `tick`.
    pub(crate) fn add(&self, ring: usize, tick: u32) {
        let Some(word) = self.word(ring, tick) else { return };
        let mut seen = word.load(Relaxed);
        while let Some(next) = Tally::plus_one(seen, tick) {
            // SeqCst: partner is the fence in `TimeWindow::check`. Of a success here and a bad result there that come at
            // the same time, at least one sees the other, so the call that completes the minimum never goes unnoticed.
            match word.compare_exchange_weak(seen, next, SeqCst, Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    /// The same, if nothing is in the way: the word is of this second, and nobody else is at it.
    #[inline]
    pub(crate) fn try_add(&self, ring: usize, tick: u32) -> bool {
        let Some(word) = self.word(ring, tick) else { return false };
        let seen = word.load(Relaxed);
        // SeqCst: see `add`.
        Tally::next_in(seen, tick).is_some_and(|next| word.compare_exchange(seen, next, SeqCst, Relaxed).is_ok())
    }

    /// What one ring holds of second `tick`.
    #[inline]
    fn count(&self, ring: usize, tick: u32) -> u64 {
        let seen = self.word(ring, tick).map_or(Tally { tick, count: 0 }, |word| Tally::of(word.load(Relaxed)));
        if seen.tick == tick { seen.count.into() } else { 0 }
    }

    /// What all rings hold of second `tick`.
    #[inline]
    fn second(&self, tick: u32) -> u64 {
        (0..=self.rings >> self.shift).map(|ring| self.count(ring, tick)).fold(0, u64::saturating_add)
    }

    /// What all rings hold as of second `now`.
    pub(crate) fn sum(&self, now: u32) -> u64 {
        self.sum_earlier(now).saturating_add(self.second(now))
    }

    fn sum_earlier(&self, now: u32) -> u64 {
        (1..self.length).map(|back| self.second(now.wrapping_sub(back))).fold(0, u64::saturating_add)
    }

    /// The same, looking at the seconds before only once per second. A result that comes in for one of them later in
    /// this second is missed until the next.
    #[inline]
    pub(crate) fn quick_sum(&self, now: u32) -> u64 {
        let seen = Tally::of(self.earlier.load(Relaxed));
        let earlier = if seen.tick == now && seen.count != UNKNOWN { seen.count.into() } else { self.look_again(now) };
        earlier.saturating_add(self.second(now))
    }

    /// Looks at all seconds before `now`, for what follows in this one.
    #[cold]
    #[inline(never)]
    fn look_again(&self, now: u32) -> u64 {
        let sum = self.sum_earlier(now);
        // Relaxed: who reads another second here looks for itself.
        self.earlier.store(Tally { tick: now, count: u32::try_from(sum).unwrap_or(UNKNOWN) }.bits(), Relaxed);
        sum
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn rings_are_summed_and_wrap_around_their_number() {
        let seconds = Seconds::new(3, 2);

        for ring in 0..5 {
            seconds.add(ring, 7);
        }

        assert_eq!((seconds.sum(7), seconds.sum(9), seconds.sum(10)), (5, 5, 0));
    }

    #[test]
    fn a_quick_sum_looks_at_the_seconds_before_once_and_at_its_own_each_time() {
        let seconds = Seconds::new(4, 1);
        seconds.add(0, 6);
        assert_eq!(seconds.quick_sum(7), 1);

        seconds.add(0, 7);
        seconds.add(0, 6);

        assert_eq!((seconds.quick_sum(7), seconds.sum(7), seconds.quick_sum(8)), (2, 3, 3));
        seconds.look_again(7);
        assert_eq!(seconds.quick_sum(7), 3);
    }

    #[test]
    fn no_two_rings_share_a_line_of_128_bytes() {
        let seconds = Seconds::new(10, 4);
        let lines: Vec<usize> =
            (0..4).filter_map(|ring| seconds.word(ring, 0)).map(|word| std::ptr::from_ref(word).addr() / 128).collect();

        assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{lines:?}");
    }

    #[test]
    fn an_hour_fits() {
        let seconds = Seconds::new(3_600, 1);
        for tick in 0..3_600 {
            seconds.add(0, tick);
        }

        assert_eq!((seconds.sum(3_599), seconds.sum(3_600)), (3_600, 3_599));
    }
}

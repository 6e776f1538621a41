use seawall_core::sync::{
    CachePadded,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// How many calls failed one after the other, in one generation.
#[derive(Debug, Default)]
pub(crate) struct Streak {
    /// Generation and length, half a word each. Relaxed throughout: the word guards no other memory.
    word: CachePadded<AtomicU64>,
}

/// Generations wrap at 2²⁹; one is newer than another that it leads by less than half of that.
const GENERATIONS: u32 = 1 << 29;

#[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
const fn halves(bits: u64) -> (u32, u32) {
    ((bits >> 32) as u32, bits as u32)
}

const fn word(generation: u32, length: u32) -> u64 {
    ((generation as u64) << 32) | length as u64
}

const fn is_newer(generation: u32, than: u32) -> bool {
    let ahead = generation.wrapping_sub(than) % GENERATIONS;
    ahead != 0 && ahead < GENERATIONS / 2
}

impl Streak {
    /// A call that did not fail: the next failure is the first again.
    #[inline]
    pub(crate) fn end(&self, generation: u32) {
        let seen = self.word.load(Relaxed);
        if halves(seen).1 != 0 {
            self.replace(generation, |_| 0);
        }
    }

    /// A call that failed. Returns how many that makes.
    pub(crate) fn extend(&self, generation: u32) -> u32 {
        self.replace(generation, |length| length.saturating_add(1))
    }

    fn replace(&self, generation: u32, change: impl Fn(u32) -> u32) -> u32 {
        let mut seen = self.word.load(Relaxed);
        loop {
            let (theirs, length) = halves(seen);
            // Late: the streak is of a generation that came after.
            if is_newer(theirs, generation) {
                return 0;
            }
            let next = change(if theirs == generation { length } else { 0 });
            match self.word.compare_exchange_weak(seen, word(generation, next), Relaxed, Relaxed) {
                Ok(_) => return next,
                Err(newer) => seen = newer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_failures_since_the_last_success_of_its_generation_only() {
        let streak = Streak::default();
        assert_eq!((streak.extend(0), streak.extend(0)), (1, 2));

        streak.end(0);
        assert_eq!(streak.extend(0), 1);

        assert_eq!(streak.extend(3), 1);
        assert_eq!(streak.extend(0), 0);
        streak.end(0);
        assert_eq!(streak.extend(3), 2);
    }

    #[test]
    fn one_that_leads_by_half_of_all_is_not_newer() {
        assert!(is_newer(GENERATIONS / 2 - 1, 0) && !is_newer(GENERATIONS / 2, 0) && !is_newer(7, 7));
    }

    #[test]
    fn the_generation_after_the_last_is_newer() {
        let streak = Streak::default();
        streak.extend(GENERATIONS - 1);

        assert_eq!(streak.extend(0), 1);
        assert_eq!(streak.extend(GENERATIONS - 1), 0);
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn two_failures_that_meet_are_two_in_a_row_and_one_of_them_sees_both() {
        loom::model(|| {
            let streak = Arc::new(Streak::default());
            let other = Arc::clone(&streak);
            let there = thread::spawn(move || other.extend(0));

            let here = streak.extend(0);

            assert_eq!(here.max(there.join().unwrap()), 2);
        });
    }

    #[test]
    fn a_late_success_never_ends_a_streak_of_the_next_generation() {
        loom::model(|| {
            let streak = Arc::new(Streak::default());
            streak.extend(0);
            let other = Arc::clone(&streak);
            let late = thread::spawn(move || other.end(0));

            let lengths = [streak.extend(1), streak.extend(1)];
            late.join().unwrap();

            assert_eq!((lengths, streak.extend(1)), ([1, 2], 3));
        });
    }
}

/// Ticks wrap after 136 years of seconds; one is older than another that it trails by less than half of that.
pub(crate) const fn is_older(tick: u32, than: u32) -> bool {
    let behind = than.wrapping_sub(tick);
    behind != 0 && behind < 1 << 31
}

/// A count and the second that it is of, half a word each.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) tick: u32,
    pub(crate) count: u32,
}

impl Tally {
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    pub(crate) const fn of(bits: u64) -> Self {
        Self { tick: (bits >> 32) as u32, count: bits as u32 }
    }

    pub(crate) const fn bits(self) -> u64 {
        ((self.tick as u64) << 32) | self.count as u64
    }

    /// One more in second `tick`; `None` when the count is full, or the word has gone on to a later second.
    pub(crate) const fn plus_one(bits: u64, tick: u32) -> Option<u64> {
        let seen = Self::of(bits);
        if seen.tick == tick {
            Self::next_in(bits, tick)
        } else if seen.count == 0 || is_older(seen.tick, tick) {
            Some(Self { tick, count: 1 }.bits())
        } else {
            None
        }
    }

    /// One more, if the word is of second `tick` already and not full.
    #[inline]
    pub(crate) const fn next_in(bits: u64, tick: u32) -> Option<u64> {
        // Below 2³² when the word is of this second: then it is its count, in the low half.
        let count = bits.wrapping_sub((tick as u64) << 32);
        if count < u32::MAX as u64 { Some(bits.wrapping_add(1)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_trails_by_half_of_all_is_not_older() {
        assert!(is_older(0, (1 << 31) - 1) && !is_older(0, 1 << 31) && !is_older(7, 7));
    }

    #[test]
    fn a_tally_counts_in_its_second_begins_in_a_later_one_and_never_turns_back() {
        let seven = Tally { tick: 7, count: 2 }.bits();

        assert_eq!(Tally::plus_one(seven, 7).map(Tally::of), Some(Tally { tick: 7, count: 3 }));
        assert_eq!(Tally::plus_one(seven, 9).map(Tally::of), Some(Tally { tick: 9, count: 1 }));
        assert_eq!(Tally::plus_one(seven, 6), None);
    }

    #[test]
    fn a_full_tally_takes_no_more_and_its_second_is_left_alone() {
        for tick in [0, 7, u32::MAX] {
            assert_eq!(Tally::plus_one(Tally { tick, count: u32::MAX }.bits(), tick), None);
            assert_eq!(
                Tally::plus_one(Tally { tick, count: u32::MAX }.bits(), tick.wrapping_add(1)).map(Tally::of),
                Some(Tally { tick: tick.wrapping_add(1), count: 1 })
            );
        }
    }

    #[test]
    fn an_empty_tally_takes_any_second() {
        for tick in [0, 1, 1 << 31, u32::MAX] {
            assert_eq!(Tally::plus_one(0, tick).map(Tally::of), Some(Tally { tick, count: 1 }));
        }
    }
}

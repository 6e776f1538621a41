use crate::tick::is_older;

/// When successes have to look at the sums of a window: the last second with a bad result, and the last one in which
/// somebody looked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) bad: u32,
    pub(crate) checked: u32,
}

impl Watch {
    /// Nothing bad yet: older than any second.
    pub(crate) const NEW: Self = Self { bad: u32::MAX, checked: u32::MAX };

    /// With a bad result in second `tick`.
    pub(crate) const fn with_bad(self, tick: u32) -> Self {
        if self.bad == Self::NEW.bad && self.checked == Self::NEW.checked {
            Self { bad: tick, checked: tick.wrapping_sub(1) }
        } else if is_older(self.bad, tick) {
            Self { bad: tick, ..self }
        } else {
            self
        }
    }

    /// Looked at in second `tick`.
    pub(crate) const fn with_checked(self, tick: u32) -> Self {
        Self { checked: tick, ..self }
    }

    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    pub(crate) const fn of(bits: u64) -> Self {
        Self { bad: (bits >> 32) as u32, checked: bits as u32 }
    }

    pub(crate) const fn bits(self) -> u64 {
        ((self.bad as u64) << 32) | self.checked as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_result_is_seen_in_whatever_second_it_comes() {
        for tick in [0, 1, 1 << 31, u32::MAX - 1] {
            let watch = Watch::NEW.with_bad(tick);

            assert_eq!((watch.bad, watch.checked == tick), (tick, false));
        }
    }

    #[test]
    fn only_one_without_anything_in_it_is_new() {
        for watch in [Watch { bad: 5, checked: u32::MAX }, Watch { bad: u32::MAX, checked: 5 }] {
            assert_eq!(watch.with_bad(9).checked, watch.checked);
        }
    }

    #[test]
    fn a_late_bad_result_does_not_turn_it_back() {
        let watch = Watch::NEW.with_bad(9).with_checked(9);

        assert_eq!(watch.with_bad(8), watch);
        assert_eq!(Watch::of(watch.with_bad(10).bits()), Watch { bad: 10, checked: 9 });
    }
}

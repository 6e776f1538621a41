use crate::{figures::Figures, mark::Mark, state::State};

/// The whole state in 64 bits, so that one compare-exchange decides.
///
/// From the low end: 3 bits of state, 29 of generation, and four counters of 8 bits that only half-open uses: places
/// taken, results, failures, slow calls. State and generation together are the [`Word::tag`]; each change of state takes
/// the next generation, so a ticket of an earlier one is told by its tag.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

const STATE_BITS: u32 = 3;
const STATE_MASK: u32 = (1 << STATE_BITS) - 1;
const GENERATION_MASK: u32 = u32::MAX >> STATE_BITS;

const PLACES: u32 = 32;
const RESULTS: u32 = 40;
const FAILURES: u32 = 48;
const SLOW: u32 = 56;
const COUNTER_MASK: u64 = 0xFF;
/// Of a closed word, which has no use for the counters.
const RAMPING: u64 = 1 << PLACES;

const OPEN: u32 = 1;
const HALF_OPEN: u32 = 2;
const FORCED_OPEN: u32 = 3;
const FORCED_CLOSED: u32 = 4;
const DISABLED: u32 = 5;
const UNTRACKED: u32 = 7;

/// State and generation of the moment at which a call was admitted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

impl Tag {
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) const fn state(self) -> State {
        Word(self.0 as u64).state()
    }

    /// Of a call that goes through although it should not have: no word ever has it.
    pub(crate) const UNTRACKED: Self = Self(UNTRACKED);

    /// The generation, for windows that tell theirs from earlier ones.
    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        self.0 >> STATE_BITS
    }
}

impl Word {
    /// Closed, in the first generation.
    pub(crate) const NEW: Self = Self(0);

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the tag is the low half")]
    pub(crate) const fn tag(self) -> Tag {
        Tag(self.0 as u32)
    }

    /// Closed, and no longer on the ramp: what nearly every call asks.
    #[inline]
    pub(crate) const fn admits_all(self) -> bool {
        self.0 & (RAMPING | STATE_MASK as u64) == 0
    }

    /// Open until its time is over.
    #[inline]
    pub(crate) const fn is_open(self) -> bool {
        self.tag().0 & STATE_MASK == OPEN
    }

    /// Open until somebody says otherwise.
    #[inline]
    pub(crate) const fn is_forced_open(self) -> bool {
        self.tag().0 & STATE_MASK == FORCED_OPEN
    }

    /// Closed, and only a share of the calls is admitted.
    pub(crate) const fn is_ramping(self) -> bool {
        self.is_closed() && self.0 & RAMPING != 0
    }

    /// The same, of the same generation, at the foot of the ramp.
    pub(crate) const fn with_ramp(self) -> Self {
        Self(self.0 | RAMPING)
    }

    /// The same, of the same generation, at the top of the ramp.
    pub(crate) const fn without_ramp(self) -> Self {
        Self(self.0 & !RAMPING)
    }

    /// Closed, on the ramp or not.
    #[inline]
    pub(crate) const fn is_closed(self) -> bool {
        self.tag().0 & STATE_MASK == 0
    }

    pub(crate) const fn state(self) -> State {
        match self.tag().0 & STATE_MASK {
            OPEN => State::Open,
            HALF_OPEN => State::HalfOpen,
            FORCED_OPEN => State::ForcedOpen,
            FORCED_CLOSED => State::ForcedClosed,
            DISABLED => State::Disabled,
            _ => State::Closed,
        }
    }

    /// `state` in the next generation, without counts. Generations wrap after half a billion changes.
    pub(crate) const fn next(self, state: State) -> Self {
        let code = match state {
            State::Closed => 0,
            State::Open => OPEN,
            State::HalfOpen => HALF_OPEN,
            State::ForcedOpen => FORCED_OPEN,
            State::ForcedClosed => FORCED_CLOSED,
            State::Disabled => DISABLED,
        };
        let generation = self.tag().generation().wrapping_add(1) & GENERATION_MASK;
        Self(((generation << STATE_BITS) | code) as u64)
    }

    pub(crate) const fn places(self) -> u64 {
        (self.0 >> PLACES) & COUNTER_MASK
    }

    pub(crate) const fn results(self) -> u64 {
        (self.0 >> RESULTS) & COUNTER_MASK
    }

    /// Probes that have not ended.
    pub(crate) const fn outstanding(self) -> u64 {
        self.places().saturating_sub(self.results())
    }

    /// What the probes of this round have shown.
    pub(crate) const fn figures(self) -> Figures {
        Figures {
            calls: self.results(),
            failures: (self.0 >> FAILURES) & COUNTER_MASK,
            slow: (self.0 >> SLOW) & COUNTER_MASK,
        }
    }

    /// One more probe, if no more than `at_once`, and no more than 255 in all, are then under way.
    pub(crate) const fn with_place(self, at_once: u64) -> Option<Self> {
        if self.places() < COUNTER_MASK && self.outstanding() < at_once {
            Some(Self(self.0.wrapping_add(1 << PLACES)))
        } else {
            None
        }
    }

    /// A probe that ended without a result gives its place back.
    pub(crate) const fn without_place(self) -> Self {
        if self.outstanding() == 0 { self } else { Self(self.0.wrapping_sub(1 << PLACES)) }
    }

    /// A probe that ended with a result keeps its place.
    pub(crate) const fn with_result(self, mark: Mark) -> Self {
        if self.outstanding() == 0 {
            return self;
        }
        let mut bits = self.0.wrapping_add(1 << RESULTS);
        if mark.is_failed() {
            bits = bits.wrapping_add(1 << FAILURES);
        }
        if mark.is_slow() {
            bits = bits.wrapping_add(1 << SLOW);
        }
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_the_word_and_takes_the_next_generation() {
        let mut word = Word::NEW;
        for (generation, state) in (1..).zip(State::ALL) {
            word = word.next(state);

            assert_eq!((word.state(), word.tag().generation()), (state, generation));
        }
    }

    #[test]
    fn counters_stay_in_their_eight_bits_at_255_probes() {
        let mut word = Word::NEW.next(State::HalfOpen);
        let tag = word.tag();
        for _ in 0..255 {
            word = word.with_place(255).unwrap();
        }
        assert_eq!(word.with_place(255), None);
        for _ in 0..300 {
            word = word.with_result(Mark::FailedSlow);
        }

        assert_eq!(word.tag(), tag);
        assert_eq!(word.figures(), Figures { calls: 255, failures: 255, slow: 255 });
        assert_eq!(word.without_place(), word);
    }

    #[test]
    fn the_generation_wraps_without_touching_the_state() {
        let last = Word(u64::from(u32::MAX) & !u64::from(STATE_MASK));

        let next = last.next(State::Open);

        assert_eq!((next.state(), next.tag().generation()), (State::Open, 0));
    }
}

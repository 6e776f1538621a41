use seawall_core::{Outcome, Timestamp, sync::atomic::Ordering::Relaxed};

use crate::{
    breaker::{Breaker, SUCCESS},
    figures::Figures,
    mark::Mark,
    results::Results,
    state::State,
    ticket::BreakerTicket,
    transitions::Missing,
    word::{Tag, Word},
};

/// What becomes of the calls that were admitted.
impl Breaker {
    /// What nearly every call ends in, kept short.
    #[inline]
    pub(crate) fn count_success(&self, ticket: &BreakerTicket, now: impl FnOnce() -> Timestamp) {
        let plain = self.settings.are_plain();
        match &self.results {
            Results::Time(window) => {
                let at = now();
                if !plain && self.count_slow(ticket, at) {
                    return;
                }
                if window.record_good(ticket.tag.generation(), at) {
                    self.check_after_success(ticket.tag, at);
                }
            }
            Results::Calls(window) if plain && window.is_full_of_good() => {}
            Results::Calls(_) => {
                let at = now();
                self.count(Word::of(ticket.tag), SUCCESS, at.nanos_since(ticket.start), at);
            }
        }
    }

    /// Counts a success if it was slow, and says whether it was. Either way it ends a row of failures.
    fn count_slow(&self, ticket: &BreakerTicket, at: Timestamp) -> bool {
        let slow = self.settings.is_slow(at.nanos_since(ticket.start));
        if slow {
            self.count_closed(ticket.tag, Mark::Slow, at);
        } else if self.settings.consecutive_failures() != 0 {
            self.streak.end(ticket.tag.generation());
        }
        slow
    }

    #[cold]
    pub(crate) fn count_late(&self) {
        self.counters.late.fetch_add(1, Relaxed);
    }

    /// Counts a call of the state and generation of `word`.
    #[inline(never)]
    pub(crate) fn count(&self, word: Word, outcome: Outcome, latency: u64, at: Timestamp) {
        let mark = self.settings.mark(outcome, latency);
        if !word.is_closed() {
            self.count_unclosed(word, mark, at);
        } else if let Some(mark) = mark {
            self.count_closed(word.tag(), mark, at);
        }
    }

    #[inline(never)]
    fn count_closed(&self, tag: Tag, mark: Mark, at: Timestamp) {
        let minimum = self.results.minimum(self.settings.min_calls());
        let current = || self.word().tag() == tag;
        if let Some(figures) = self.results.record(tag, mark, at, minimum, current) {
            self.open_if_due(tag, &figures, minimum, at);
        }
        let limit = self.settings.consecutive_failures();
        if limit == 0 {
            return;
        }
        if mark.is_failed() {
            self.count_failure_in_a_row(tag, limit, at);
        } else {
            self.streak.end(tag.generation());
        }
    }

    /// A success has completed the minimum, perhaps, or let the first look be taken in a new second.
    #[cold]
    fn check_after_success(&self, tag: Tag, at: Timestamp) {
        let minimum = self.results.minimum(self.settings.min_calls());
        if let Some(figures) = self.results.check(tag, at, minimum) {
            self.open_if_due(tag, &figures, minimum, at);
        }
    }

    fn open_if_due(&self, tag: Tag, figures: &Figures, minimum: u64, at: Timestamp) {
        if figures.calls >= minimum {
            if let Some(cause) = self.settings.judge(figures) {
                self.open(tag, cause, *figures, at);
            }
        }
    }

    #[cold]
    fn count_unclosed(&self, word: Word, mark: Option<Mark>, at: Timestamp) {
        match (word.state(), mark) {
            (State::HalfOpen, Some(mark)) => self.count_probe(word, mark, at),
            (State::HalfOpen, None) => self.change_round(word, Word::without_place),
            (State::Disabled, Some(mark)) => {
                let tag = word.tag();
                self.results.record(tag, mark, at, u64::MAX, || self.word().tag() == tag);
            }
            _ => {}
        }
    }

    fn count_probe(&self, word: Word, mark: Mark, at: Timestamp) {
        self.change_round(word, |word| word.with_result(mark));
        self.settle_round(word.tag(), Missing::AreAwaited, at);
    }

    /// Changes the counters of the round that `word` is in, if it is still under way.
    fn change_round(&self, mut word: Word, change: impl Fn(Word) -> Word) {
        let tag = word.tag();
        while let Err(newer) = self.exchange(word, change(word)) {
            if newer.tag() != tag {
                self.count_late();
                return;
            }
            word = newer;
        }
    }
}

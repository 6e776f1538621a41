#![expect(clippy::inline_always, reason = "out of line, the end of a call would save registers around the clock")]

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
    /// Whether a success that was admitted as `tag` would change nothing. Needs no clock.
    #[inline(always)]
    pub(crate) fn counts_for_nothing(&self, tag: Tag) -> bool {
        self.member.window.is_full_of_good() && self.is_closed_since(tag)
    }

    #[inline]
    fn is_closed_since(&self, tag: Tag) -> bool {
        let word = self.word();
        word.tag() == tag && word.is_closed()
    }

    /// Counts a success of which nobody asks how long it took: what nearly every call ends in. Says whether it is time to look
    /// at the sums; nothing when something was in the way and nothing is counted. Calls nothing.
    #[inline(never)]
    pub(crate) fn try_count(&self, stripe: usize, tag: Tag, at: Timestamp) -> Option<bool> {
        match &self.member.window {
            Results::Time(window) if self.is_closed_since(tag) => window.try_record_good(stripe, tag.generation(), at),
            _ => None,
        }
    }

    /// A call that ended in any other way, or whose latency matters; or a success that is `counted`, after which it is time to
    /// look at the sums.
    #[inline(never)]
    #[expect(clippy::needless_pass_by_value, reason = "two words that stay in registers")]
    pub(crate) fn finish_otherwise(&self, ticket: BreakerTicket, outcome: Outcome, at: Timestamp, counted: bool) {
        if counted {
            self.check_after_success(ticket.tag, at);
            return;
        }
        if ticket.tag == Tag::UNTRACKED {
            return;
        }
        let word = self.word();
        if word.tag() != ticket.tag {
            self.count_late();
            return;
        }
        let latency = at.nanos_since(ticket.start);
        if word.is_closed() && outcome == SUCCESS && !self.settings.is_slow(latency) {
            if self.settings.consecutive_failures() != 0 {
                self.streak.end(ticket.tag.generation());
            }
            self.count_good(ticket.tag, at);
        } else {
            self.count(word, outcome, latency, at);
        }
    }

    /// A success that was not slow.
    fn count_good(&self, tag: Tag, at: Timestamp) {
        match &self.member.window {
            Results::Time(window) => {
                if window.record_good(tag.generation(), at) {
                    self.check_after_success(tag, at);
                }
            }
            Results::Calls(window) if window.is_full_of_good() => {}
            Results::Calls(_) => self.count_closed(tag, Mark::Good, at),
        }
    }

    #[cold]
    pub(crate) fn count_late(&self) {
        self.counters.late.fetch_add(1, Relaxed);
    }

    /// Counts a call of the state and generation of `word`.
    pub(crate) fn count(&self, word: Word, outcome: Outcome, latency: u64, at: Timestamp) {
        let mark = self.settings.mark(outcome, latency);
        if !word.is_closed() {
            self.count_unclosed(word, outcome, mark, at);
        } else if let Some(mark) = mark {
            self.count_closed(word.tag(), mark, at);
        }
    }

    #[inline(never)]
    fn count_closed(&self, tag: Tag, mark: Mark, at: Timestamp) {
        let minimum = self.member.window.minimum(self.settings.min_calls());
        let current = || self.word().tag() == tag;
        if let Some(figures) = self.member.window.record(tag, mark, at, minimum, current) {
            self.open_if_due(tag, &figures, minimum, at);
            if let Some(cause) = self.peers.as_ref().and_then(|peers| peers.judge(&figures, at)) {
                self.open(tag, cause, figures, at);
            }
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
    #[inline(never)]
    fn check_after_success(&self, tag: Tag, at: Timestamp) {
        let minimum = self.member.window.minimum(self.settings.min_calls());
        if let Some(figures) = self.member.window.check(tag, at, minimum) {
            self.open_if_due(tag, &figures, minimum, at);
        }
    }

    fn open_if_due(&self, tag: Tag, figures: &Figures, minimum: u64, at: Timestamp) {
        if figures.calls < minimum {
            return;
        }
        let cause = self.settings.judge(figures);
        if at.as_nanos() < self.hot.wary_until.load(Relaxed) {
            if self.settings.is_near(figures) {
                // It is wary until nothing has looked like an outage for so long.
                self.hot.wary_until.fetch_max(at.as_nanos().saturating_add(self.settings.stable_for()), Relaxed);
            }
            if !self.settings.is_clear(figures, minimum) {
                return;
            }
        }
        if let Some(cause) = cause {
            self.open(tag, cause, *figures, at);
        }
    }

    #[cold]
    fn count_unclosed(&self, word: Word, outcome: Outcome, mark: Option<Mark>, at: Timestamp) {
        match (word.state(), mark) {
            (State::HalfOpen, Some(mark)) => self.count_probe(word, mark, at),
            (State::HalfOpen, None) => {
                let given_up = matches!(outcome, Outcome::Cancelled | Outcome::DeadlineExceeded)
                    && self.settings.counts_cancelled();
                if given_up {
                    // Before its place is free, so that no other call takes it.
                    self.hot.given_up.add(word.tag());
                }
                self.change_round(word, Word::without_place);
                if given_up {
                    self.settle_round(word.tag(), Missing::AreAwaited, at);
                }
            }
            (State::Disabled, Some(mark)) => {
                let tag = word.tag();
                self.member.window.record(tag, mark, at, u64::MAX, || self.word().tag() == tag);
            }
            _ => {}
        }
    }

    fn count_probe(&self, word: Word, mark: Mark, at: Timestamp) {
        let mark = if self.settings.counts_successes() { mark.without_doubling() } else { mark };
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

#![expect(clippy::inline_always, reason = "out of line, the end of a call would save registers around the clock")]

use seawall_core::{Outcome, Timestamp, sync::atomic::Ordering::Relaxed};

use crate::{
    breaker::{Breaker, SUCCESS},
    config::Window,
    evidence::Evidence,
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
        if mark != Mark::Good && matches!(self.member.window, Results::Calls(_)) {
            self.hot.bad_at.store(at.as_nanos(), Relaxed);
        }
        if let Some(figures) = self.member.window.record(tag, mark, at, minimum, current) {
            self.open_if_due(tag, &figures, minimum, Some(mark), at);
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
            self.open_if_due(tag, &figures, minimum, None, at);
        }
    }

    /// Opens when `figures`, of which the last result is `mark` if that is known, are above a threshold, and clearly so while
    /// it is wary.
    fn open_if_due(&self, tag: Tag, figures: &Figures, minimum: u64, mark: Option<Mark>, at: Timestamp) {
        if figures.calls < minimum {
            return;
        }
        let cause = self.settings.judge(figures);
        if at.as_nanos() < self.hot.wary_until.load(Relaxed) {
            let is_near = self.settings.is_near(figures);
            if is_near {
                // It is wary until nothing has looked like an outage for so long.
                self.hot.wary_until.fetch_max(at.as_nanos().saturating_add(self.settings.stable_for()), Relaxed);
            } else {
                self.clear_evidence(at);
            }
            let is_enough = is_near && self.weigh(figures, mark, at);
            if !is_enough && !self.settings.is_clear(figures, minimum) {
                return;
            }
        }
        if let Some(cause) = cause {
            self.open(tag, cause, *figures, at);
        }
    }

    /// Whether all that came since it closed is clearly above a threshold, though this window is not. A window over time is
    /// added once in its length, one of calls result by result.
    fn weigh(&self, figures: &Figures, mark: Option<Mark>, at: Timestamp) -> bool {
        let added = match (&self.member.window, mark) {
            (Results::Calls(_), Some(mark)) => {
                Figures { calls: 1, failures: mark.is_failed().into(), slow: mark.is_slow().into() }
            }
            (Results::Calls(_), None) => return false,
            (Results::Time(_), _) => *figures,
        };
        let next = self.evidence_due(at);
        let [of_failures, of_slow] = &self.hot.evidence;
        let add = |evidence: &Evidence, bad, threshold: f64| {
            threshold <= 1.0 && evidence.is_due(at.as_nanos(), next) && evidence.add(bad, added.calls, threshold)
        };
        let [failure_ratio, slow_ratio] = self.settings.ratios();
        let failing = add(of_failures, added.failures, failure_ratio);
        add(of_slow, added.slow, slow_ratio) || failing
    }

    pub(crate) fn clear_evidence(&self, at: Timestamp) {
        let due = self.evidence_due(at);
        self.hot.evidence.iter().for_each(|evidence| evidence.clear(due));
    }

    /// When a window that begins at `at` is over.
    fn evidence_due(&self, at: Timestamp) -> u64 {
        match self.config_window {
            Window::Time(length) => at.saturating_add(length).as_nanos(),
            Window::Calls(_) => 0,
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

use std::time::Duration;

use seawall_core::{
    Timestamp,
    sync::atomic::Ordering::{Relaxed, Release},
};

use crate::{
    breaker::Breaker,
    change::{Cause, Change},
    figures::Figures,
    hooks,
    ledger::Ledger,
    settings::Verdict,
    state::State,
    word::{Tag, Word},
};

/// A change that is decided, but not made.
pub(crate) struct Step {
    pub(crate) to: State,
    pub(crate) cause: Cause,
    pub(crate) figures: Figures,
    pub(crate) at: Timestamp,
    /// The open time in nanoseconds, when it opens.
    pub(crate) wait: Option<u64>,
}

/// What becomes of probes that have not ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// They may still end: a late answer is better than none.
    AreAwaited,
    /// A call wants a place, so those that are too old count as failed.
    MayBeGivenUp,
}

const FOR_EVER: u64 = u64::MAX;

fn nanos(time: Duration) -> u64 {
    Timestamp::ZERO.saturating_add(time).as_nanos()
}

impl Breaker {
    /// Opens, if the circuit is still closed in the generation whose results say so.
    #[cold]
    pub(crate) fn open(&self, tag: Tag, cause: Cause, figures: Figures, at: Timestamp) {
        if self.is_for_strangers {
            return;
        }
        let mut ledger = self.ledger.get();
        let word = self.word();
        if word.tag() != tag {
            return;
        }
        if self.settings.is_tested() && at.as_nanos() < self.hot.wary_until.load(Relaxed) {
            ledger.schedule.was_not_well();
        }
        let wait = Some(ledger.schedule.next(at));
        self.change(&mut ledger, word, &Step { to: State::Open, cause, figures, at, wait });
        drop(ledger);
        self.tell();
    }

    #[cold]
    pub(crate) fn count_failure_in_a_row(&self, tag: Tag, limit: u32, at: Timestamp) {
        let failures = self.streak.extend(tag.generation());
        if failures >= limit {
            self.open(tag, Cause::ConsecutiveFailures { failures }, self.member.window.figures(tag, at), at);
        }
    }

    /// From open to half-open, as the open time is over. Returns what the word is then.
    #[cold]
    pub(crate) fn begin_probing(&self, tag: Tag, at: Timestamp) -> Word {
        let mut ledger = self.ledger.get();
        let word = self.word();
        // Somebody was faster, or the open time was extended.
        if word.tag() != tag || at.as_nanos() <= self.hot.until.load(Relaxed) {
            return word;
        }
        let next = word.next(State::HalfOpen).tag();
        self.hot.given_up.start(next);
        self.hot.hanging.start(next);
        let step = Step { to: State::HalfOpen, cause: Cause::WaitOver, figures: Figures::default(), at, wait: None };
        let word = self.change(&mut ledger, word, &step);
        drop(ledger);
        self.tell();
        word
    }

    /// Ends the round of probes of `tag` if its results suffice.
    #[cold]
    pub(crate) fn settle_round(&self, tag: Tag, missing: Missing, at: Timestamp) {
        let word = self.word();
        if word.tag() != tag || self.verdict(word, missing, at).is_none() {
            return;
        }
        let mut ledger = self.ledger.get();
        let word = self.word();
        // Results may have come in since.
        let verdict = self.verdict(word, missing, at).filter(|_| word.tag() == tag);
        let Some((verdict, figures, at)) = verdict else { return };
        // Somebody has opened it by hand; what one stranger's host answers opens it for no other.
        let verdict = if self.is_for_strangers { Verdict::Close } else { verdict };
        let step = match verdict {
            Verdict::Close => {
                ledger.schedule.closed(at);
                self.hot.closed_at.store(at.as_nanos(), Relaxed);
                let wary_until = at.as_nanos().saturating_add(self.settings.stable_for());
                self.hot.wary_until.store(wary_until, Relaxed);
                self.clear_evidence(at);
                Step { to: State::Closed, cause: Cause::ProbesSucceeded, figures, at, wait: None }
            }
            Verdict::Open(cause) => {
                let wait = Some(ledger.schedule.next(at));
                Step { to: State::Open, cause, figures, at, wait }
            }
        };
        self.change(&mut ledger, word, &step);
        drop(ledger);
        self.tell();
    }

    /// What a half-open word says, on which figures and as of when.
    pub(crate) fn verdict(&self, word: Word, missing: Missing, at: Timestamp) -> Option<(Verdict, Figures, Timestamp)> {
        let figures = word.figures();
        if let Some(verdict) = self.settings.judge_round(&figures) {
            return Some((verdict, figures, at));
        }
        if word.outstanding() == 0 && self.is_used_up(word) {
            return Some((self.settings.judge_used_up(&figures), figures, at));
        }
        if missing == Missing::AreAwaited {
            return None;
        }
        let given_up = self.given_up_at();
        let full = self.with_place(word).is_none();
        if !full || word.outstanding() == 0 || at < given_up || given_up == Timestamp::MAX {
            return None;
        }
        let figures = Figures {
            calls: figures.calls.saturating_add(word.outstanding()),
            failures: figures.failures.saturating_add(word.outstanding()),
            slow: figures.slow,
        };
        // The open time begins when the probes were given up, not when somebody came and saw it.
        match self.settings.judge_given_up(&figures) {
            Verdict::Close => Some((Verdict::Close, figures, at)),
            Verdict::Open(_) => Some((Verdict::Open(Cause::ProbesHung), figures, given_up)),
        }
    }

    /// The other side asks to be left alone for `wait` nanoseconds.
    #[cold]
    pub(crate) fn push_back(&self, tag: Tag, wait: u64, at: Timestamp) {
        self.open_for(Cause::Pushback, Some(wait), at, |word| !self.is_for_strangers && word.tag() == tag);
    }

    /// A single answer, to a call of `tag`, was enough.
    #[cold]
    pub(crate) fn open_for_answer(&self, tag: Tag, wait: Option<Duration>, at: Timestamp) {
        self.open_for(Cause::Tripped, wait.map(nanos).filter(|wait| *wait != 0), at, |word| {
            !self.is_for_strangers && word.tag() == tag
        });
    }

    /// Somebody says that a single result was enough.
    #[cold]
    pub(crate) fn open_by_hand(&self, wait: Option<Duration>, at: Timestamp) {
        self.open_for(Cause::Tripped, wait.map(nanos), at, |_| true);
    }

    /// Opens what is closed or half-open, and `may` be opened, for `wait` nanoseconds or the next open time. Extends what
    /// is open.
    fn open_for(&self, cause: Cause, wait: Option<u64>, at: Timestamp, may: impl Fn(Word) -> bool) {
        let mut ledger = self.ledger.get();
        let word = self.word();
        match word.state() {
            State::Open => {
                let until = at.as_nanos().saturating_add(wait.unwrap_or(0));
                self.hot.until.fetch_max(until, Relaxed);
            }
            State::Closed | State::HalfOpen if may(word) => {
                let figures = self.figures_of(word, at);
                let wait = Some(wait.unwrap_or_else(|| ledger.schedule.next(at)));
                self.change(&mut ledger, word, &Step { to: State::Open, cause, figures, at, wait });
            }
            _ => {}
        }
        drop(ledger);
        self.tell();
    }

    /// What the state of `word` is judged by.
    pub(crate) fn figures_of(&self, word: Word, at: Timestamp) -> Figures {
        match word.state() {
            State::HalfOpen => word.figures(),
            _ => self.member.window.figures(word.tag(), at),
        }
    }

    /// Makes a change and writes it down. The ledger is locked, so the state and the generation of `word` still hold;
    /// what probes add to its counters from here on is of an earlier generation.
    pub(crate) fn change(&self, ledger: &mut Ledger, word: Word, step: &Step) -> Word {
        let counts = |state| matches!(state, State::Closed | State::Disabled);
        let mut next = word.next(step.to);
        if counts(word.state()) && counts(step.to) {
            // The old generation has to pass before its window is emptied for the next, or a late result would come in.
            let between = word.next(State::ForcedClosed);
            // Release: partner is `Breaker::word`.
            self.hot.word.store(between.bits(), Release);
            next = between.next(step.to);
        }
        let open_for = step.wait.filter(|wait| *wait != FOR_EVER).map(Duration::from_nanos);
        if let Some(wait) = step.wait {
            self.hot.until.store(step.at.as_nanos().saturating_add(wait), Relaxed);
        }
        if counts(step.to) {
            self.member.window.restart();
        }
        if step.cause == Cause::ProbesSucceeded && self.settings.ramp() != 0 {
            next = next.with_ramp();
        }
        // Release: partner is `Breaker::word`; publishes the open time and the empty window. A swap, so that this and an
        // exchange elsewhere come one after the other also in the eyes of the model checker.
        self.hot.word.swap(next.bits(), Release);
        self.member.moves_to(next.tag());
        let counted = self.counters.counted();
        let change = Change {
            from: word.state(),
            to: step.to,
            at: step.at,
            cause: step.cause,
            figures: step.figures,
            open_for,
            outage: None,
        };
        ledger.write(change, counted);
        next
    }

    /// Tells the hooks, outside the lock.
    pub(crate) fn tell(&self) {
        loop {
            let Some((change, hooks)) = self.ledger.get().hooks.begin() else { return };
            hooks::tell(&change, &hooks);
            self.ledger.get().hooks.end();
        }
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;
    use crate::config::BreakerConfig;

    /// What a call finds that was overtaken on the way to the lock.
    #[test]
    fn probing_begins_after_the_last_nanosecond_of_the_open_time_and_only_in_the_state_that_was_seen() {
        let breaker = Breaker::from(BreakerConfig::default());
        let closed = breaker.word().tag();
        breaker.trip(Some(Duration::from_nanos(10)), Timestamp::ZERO);
        let open = breaker.word().tag();
        let begin = |tag, at| breaker.begin_probing(tag, Timestamp::from_nanos(at)).state();

        assert_eq!((begin(open, 10), begin(closed, 11)), (State::Open, State::Open));
        assert_eq!(begin(open, 11), State::HalfOpen);
    }
}

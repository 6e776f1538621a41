use std::time::Duration;

use seawall_core::{Pattern, Reason, Rejection, Timestamp, sync::atomic::Ordering::Relaxed};

use crate::{
    breaker::Breaker,
    ramp,
    state::State,
    ticket::BreakerTicket,
    transitions::Missing,
    word::{Tag, Word},
};

pub(crate) const REJECTION: Rejection = Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen);

/// What becomes of calls that ask while not all are let through.
impl Breaker {
    #[inline(never)]
    pub(crate) fn admit_unclosed(&self, word: Word, at: Timestamp) -> Result<BreakerTicket, Rejection> {
        // What nearly every call comes to that finds the circuit open, ahead of all else.
        if word.is_open() {
            let until = self.hot.until.load(Relaxed);
            if at.as_nanos() <= until && self.refuses_plainly() {
                return Err(wait_until(REJECTION, at, until));
            }
        }
        self.admit_by_state(word, at)
    }

    #[inline(never)]
    fn admit_by_state(&self, mut word: Word, at: Timestamp) -> Result<BreakerTicket, Rejection> {
        loop {
            match word.state() {
                State::Closed if word.is_ramping() && !self.is_up_the_ramp(word, at) => return self.refuse(REJECTION),
                State::Closed | State::Disabled | State::ForcedClosed => {
                    return Ok(BreakerTicket { tag: word.tag(), start: at });
                }
                State::ForcedOpen => return self.refuse(REJECTION),
                State::Open => {
                    let until = self.hot.until.load(Relaxed);
                    if at.as_nanos() <= until {
                        return self.refuse(wait_until(REJECTION, at, until));
                    }
                    word = self.begin_probing(word.tag(), at);
                }
                State::HalfOpen => {
                    if let Some(ticket) = self.take_place(word, at) {
                        return Ok(ticket);
                    }
                    let seen = word;
                    self.settle_round(word.tag(), Missing::MayBeGivenUp, at);
                    word = self.word();
                    if word.tag() == seen.tag() && self.with_place(word).is_none() {
                        return self.refuse(REJECTION);
                    }
                }
            }
        }
    }

    /// Counts a refusal of which nothing else is to be said; `false` when there is.
    #[inline]
    pub(crate) fn refuses_plainly(&self) -> bool {
        match self.counters.rejections.assigned() {
            Some(mine) if self.settings.enforces_all() => {
                mine.fetch_add(1, Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Refuses, or lets through as if there were no breaker when this refusal is not to be enforced.
    fn refuse(&self, rejection: Rejection) -> Result<BreakerTicket, Rejection> {
        if !self.settings.enforces_all() && self.is_spared() {
            return Ok(BreakerTicket { tag: Tag::UNTRACKED, start: Timestamp::MAX });
        }
        self.count_refusal();
        Err(rejection)
    }

    pub(crate) fn count_refusal(&self) {
        self.counters.rejections.mine().fetch_add(1, Relaxed);
    }

    /// What everybody is refused with who finds `word`, which stays as it is.
    pub(crate) fn foresee(&self, word: Word, now: impl FnOnce() -> Timestamp) -> Option<Rejection> {
        if !self.settings.enforces_all() {
            return None;
        }
        match word.state() {
            State::ForcedOpen => Some(REJECTION),
            State::Open => {
                let (at, until) = (now(), self.hot.until.load(Relaxed));
                (at.as_nanos() <= until).then(|| wait_until(REJECTION, at, until))
            }
            State::HalfOpen if self.with_place(word).is_none() => {
                self.verdict(word, Missing::MayBeGivenUp, now()).is_none().then_some(REJECTION)
            }
            _ => None,
        }
    }

    #[cold]
    fn is_spared(&self) -> bool {
        let spared = !ramp::is_among(self.draw(), self.settings.enforce());
        self.counters.spared.fetch_add(u64::from(spared), Relaxed);
        spared
    }

    /// Whether this call is among those that are admitted so long after closing. The first after the ramp ends it.
    fn is_up_the_ramp(&self, word: Word, at: Timestamp) -> bool {
        let share = self.share_up_the_ramp(at);
        if share >= 1.0 {
            // Whoever else changes the word has ended the ramp too.
            let _ = self.exchange(word, word.without_ramp());
            return true;
        }
        ramp::is_among(self.draw(), share)
    }

    pub(crate) fn share_up_the_ramp(&self, at: Timestamp) -> f64 {
        let closed_at = Timestamp::from_nanos(self.hot.closed_at.load(Relaxed));
        ramp::share(at.nanos_since(closed_at), self.settings.ramp())
    }

    fn draw(&self) -> u64 {
        self.hot.draw.fetch_add(ramp::STEP, Relaxed)
    }

    pub(crate) fn with_place(&self, word: Word) -> Option<Word> {
        word.with_place(self.settings.probes(), self.settings.probes_at_once())
    }

    /// A place in the round of probes that `word` is in, if there is one.
    fn take_place(&self, mut word: Word, at: Timestamp) -> Option<BreakerTicket> {
        let tag = word.tag();
        loop {
            let next = self.with_place(word)?;
            // Before the place is taken, so that who finds all places taken never sees too old a stamp.
            self.hot.probed_at.fetch_max(at.as_nanos(), Relaxed);
            match self.exchange(word, next) {
                Ok(()) => {
                    self.counters.probes.fetch_add(1, Relaxed);
                    return Some(BreakerTicket { tag, start: at });
                }
                Err(newer) if newer.tag() == tag => word = newer,
                Err(_) => return None,
            }
        }
    }
}

/// The wait until the first nanosecond after `until`, when a call will be let through.
#[inline]
fn wait_until(rejection: Rejection, at: Timestamp, until: u64) -> Rejection {
    if until == u64::MAX {
        return rejection;
    }
    let wait = until.saturating_add(1).saturating_sub(at.as_nanos());
    rejection.with_retry_after(Duration::from_nanos(wait))
}

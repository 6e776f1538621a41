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

/// For so long one probe after the other is waited for that does not end: a second, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// What becomes of calls that ask while not all are let through.
impl Breaker {
    /// What becomes of a call that does not find the circuit closed; `stripe` is that of its thread.
    #[cold]
    #[inline(never)]
    pub(crate) fn admit_unclosed(&self, word: Word, at: Timestamp, stripe: usize) -> Result<BreakerTicket, Rejection> {
        // What nearly every call comes to that finds the circuit open, ahead of all else. It calls nothing, so it saves nothing.
        if word.is_open() {
            let until = self.hot.until.load(Relaxed);
            if at.as_nanos() <= until && self.refuses_plainly(stripe) {
                return Err(wait_until(REJECTION, at, until));
            }
        }
        self.admit_by_state(word, at)
    }

    #[cold]
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
    pub(crate) fn refuses_plainly(&self, stripe: usize) -> bool {
        match self.counters.rejections.of(stripe) {
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
                let at = now();
                let waits = self.with_place_beside(word, at).is_none()
                    && self.verdict(word, Missing::MayBeGivenUp, at).is_none();
                waits.then_some(REJECTION)
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
        let at_once = self.settings.probes_at_once().saturating_add(self.hot.hanging.count(word.tag()));
        if self.is_used_up(word) { None } else { word.with_place(at_once) }
    }

    /// A place beside probes that hang: where none has ended nor been sent for [`PATIENCE`], one more is sent. It is answered if
    /// only the others hang, as those do that were sent before the other side was well.
    fn with_place_beside(&self, word: Word, at: Timestamp) -> Option<Word> {
        let probed_at = self.hot.probed_at.load(Relaxed);
        let last = probed_at.max(self.hot.probed_beside_at.load(Relaxed));
        let due = at.as_nanos() >= last.saturating_add(PATIENCE)
            && at.as_nanos() < probed_at.saturating_add(self.settings.max_probe_age());
        if due && !self.is_used_up(word) { word.with_place(u64::MAX) } else { None }
    }

    /// When those probes that have not ended are too old to wait for.
    pub(crate) fn given_up_at(&self) -> Timestamp {
        let (probed_at, beside) = (self.hot.probed_at.load(Relaxed), self.hot.probed_beside_at.load(Relaxed));
        let given_up = probed_at.saturating_add(self.settings.max_probe_age());
        // Nor is one of them judged by those beside it before its own time.
        let beside = if beside > probed_at { beside.saturating_add(PATIENCE) } else { 0 };
        Timestamp::from_nanos(given_up.max(beside))
    }

    /// Whether as many calls as there may be probes have passed in this round, and not given their places back.
    pub(crate) fn is_used_up(&self, word: Word) -> bool {
        word.places().saturating_add(self.hot.given_up.count(word.tag())) >= self.settings.probes()
    }

    /// A place in the round of probes that `word` is in, if there is one.
    fn take_place(&self, mut word: Word, at: Timestamp) -> Option<BreakerTicket> {
        let tag = word.tag();
        loop {
            let regular = self.with_place(word);
            let (next, stamp) = match regular {
                Some(next) => (next, &self.hot.probed_at),
                None => (self.with_place_beside(word, at)?, &self.hot.probed_beside_at),
            };
            // Before the place is taken, so that who finds all places taken never sees too old a stamp.
            stamp.fetch_max(at.as_nanos(), Relaxed);
            match self.exchange(word, next) {
                Ok(()) => {
                    if regular.is_none() {
                        let hanging = next.outstanding().saturating_sub(self.settings.probes_at_once());
                        self.hot.hanging.raise(tag, hanging);
                    }
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

use std::time::Duration;

use seawall_core::{Admission, CallContext, Criticality, Gate, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp};

use crate::{
    Knee, LimitAlgorithm, LoadShedderConfig, Passage, config::DEFAULT_RETRY_AFTER, limiter::Limiter, word::Seen,
};

/// Admits calls while those under way are below a limit that follows the server, and refuses the rest at once.
///
/// The count and the limit are one word, moved by compare-exchange, so the limit is exact. Latencies are summed in
/// stripes and looked at once per window; a call takes no lock, unless it is one of the few that a probe follows.
///
/// | criticality | is refused when so many are under way |
/// |---|---|
/// | sheddable | ⅘ of the limit |
/// | degraded | ⁹⁄₁₀ of the limit |
/// | default | the limit |
/// | critical | 1⅒ of the limit, at least one more than the limit |
///
/// A call that succeeded is a latency sample; one that failed is, if it took longer than the mean, since errors are often
/// quick; one that timed out or was dropped is a sample of at least the mean and its age; one that a layer further in
/// refused, or to which the other side said that it has too much to do, is none.
#[derive(Debug)]
pub struct LoadShedder<A = Knee> {
    limiter: Limiter<A>,
    retry_after: Duration,
}

impl LoadShedder {
    /// A shedder with a [`Knee`] limit.
    pub fn new(config: LoadShedderConfig) -> Self {
        Self { limiter: Limiter::new(Knee::new(config.range())), retry_after: config.retry_after() }
    }
}

impl<A: LimitAlgorithm> LoadShedder<A> {
    /// A shedder whose limit follows another algorithm.
    pub fn with_algorithm(algorithm: A) -> Self {
        Self { limiter: Limiter::new(algorithm), retry_after: DEFAULT_RETRY_AFTER }
    }

    /// The limit in force; lowered for a moment while a probe runs.
    pub fn limit(&self) -> u32 {
        self.limiter.word().seen().limit()
    }

    /// How many calls are under way.
    pub fn in_flight(&self) -> u32 {
        self.limiter.word().seen().in_flight()
    }

    /// Looks at the algorithm.
    pub fn inspect<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        self.limiter.inspect(look)
    }

    /// Changes the algorithm's settings while calls are under way; the new limit is in force at once.
    pub fn adjust<R>(&self, change: impl FnOnce(&mut A) -> R) -> R {
        self.limiter.adjust(change)
    }

    #[cold]
    fn refuse(&self, seen: Seen, now: impl FnOnce() -> Timestamp) -> Rejection {
        if seen.in_flight() < seen.limit() {
            self.limiter.note_pressed(seen);
        }
        self.limiter.found_no_room(seen, now);
        Rejection::new(Pattern::LoadShedder, Reason::Overloaded).with_retry_after(self.retry_after)
    }
}

impl From<LoadShedderConfig> for LoadShedder {
    fn from(config: LoadShedderConfig) -> Self {
        Self::new(config)
    }
}

impl<A: LimitAlgorithm> Gate for LoadShedder<A> {
    type Ticket = Passage;
    type Wait = NoWait;

    #[inline]
    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<Passage> {
        let criticality = context().criticality;
        match self.limiter.word().enter(|limit| share(criticality, limit)) {
            Ok(seen) => Admission::Admitted(self.limiter.begin(seen, now())),
            Err(seen) => Admission::Refused(self.refuse(seen, now)),
        }
    }

    #[expect(clippy::inline_always, reason = "one path with the layers around it: 14 instructions less")]
    #[inline(always)]
    fn finish(&self, passage: Passage, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        self.limiter.end(&passage, outcome, now());
    }

    /// Whether nothing is under way.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.in_flight() == 0
    }
}

/// How much of the limit calls of a criticality may fill.
#[inline]
const fn share(criticality: Criticality, limit: u32) -> u32 {
    let tenth = limit / 10;
    match criticality {
        Criticality::Default => limit,
        Criticality::Critical => limit.saturating_add(if tenth == 0 { 1 } else { tenth }),
        Criticality::Degraded => limit.saturating_sub(tenth),
        Criticality::Sheddable => limit.saturating_sub(limit / 5),
    }
}

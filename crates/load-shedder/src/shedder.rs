use seawall_core::{
    Admission, CallContext, Criticality, Enforcement, Entropy, Gate, NoWait, Outcome, Reason, Rejection, ThreadEntropy,
    Timestamp,
};

use crate::{
    Knee, LimitAlgorithm, LimitCut, LoadShedderConfig, Passage, ShedderFigures,
    config::DEFAULT_RETRY_AFTER,
    limiter::{Limiter, Time},
    refusals::Refusals,
    word::{MAX_COST, Plain, Seen},
};

/// Admits calls while those under way are below a limit that follows the server, and refuses the rest at once.
///
/// The count and the limit are one word, moved by compare-exchange, so the limit is exact. Latencies are summed in
/// stripes and looked at once per window; a call takes no lock, unless it is one of the few that a probe follows.
///
/// | criticality | is refused when so much is under way |
/// |---|---|
/// | sheddable | ⅘ of the limit |
/// | degraded | ⁹⁄₁₀ of the limit |
/// | default | the limit |
/// | critical | 1⅒ of the limit, at least one more than the limit |
///
/// A call takes as much of the limit as it costs, 65,535 at most; one that costs more than the limit goes when it is alone. One whose
/// deadline leaves less time than the mean of the last window is refused. An exempt one goes in whatever the load, is counted and teaches nothing.
///
/// A call that succeeded is a latency sample; one that failed is, if it took longer than the mean, since errors are often
/// quick; one that timed out or was dropped is a sample of at least the mean and its age; one that a layer further in
/// refused, or to which the other side said that it has too much to do, is none.
///
/// Where the algorithm has [no use for windows that come so quickly](LimitAlgorithm::resting_window), and less than half of
/// the limit is under way, one call in up to 64 is timed; the others are counted and read no clock.
#[derive(Debug)]
pub struct LoadShedder<A = Knee, R = ThreadEntropy> {
    limiter: Limiter<A>,
    refusals: Refusals<R>,
}

impl LoadShedder {
    /// A shedder with a [`Knee`] limit.
    pub fn new(config: LoadShedderConfig) -> Self {
        let refusals = Refusals::new(config.retry_after(), ThreadEntropy);
        Self { limiter: Limiter::new(Knee::new(config.range())), refusals }
    }
}

impl<A: LimitAlgorithm> LoadShedder<A> {
    /// A shedder whose limit follows another algorithm.
    pub fn with_algorithm(algorithm: A) -> Self {
        Self { limiter: Limiter::new(algorithm), refusals: Refusals::new(DEFAULT_RETRY_AFTER, ThreadEntropy) }
    }
}

impl<A: LimitAlgorithm, R: Entropy> LoadShedder<A, R> {
    /// With another source of the random words that spread [`Rejection::retry_after`].
    pub fn with_entropy<S: Entropy>(self, entropy: S) -> LoadShedder<A, S> {
        LoadShedder { refusals: self.refusals.with_entropy(entropy), limiter: self.limiter }
    }

    /// The limit in force; lowered for a moment while a probe runs.
    pub fn limit(&self) -> u32 {
        self.limiter.word().seen().limit()
    }

    /// How much is under way: the cost of all calls, 1 each by default.
    pub fn in_flight(&self) -> u32 {
        self.limiter.word().seen().in_flight()
    }

    /// What it is at now.
    pub fn figures(&self) -> ShedderFigures {
        ShedderFigures::of(&self.limiter, &self.refusals)
    }

    /// Tells `told` from here on, as it happens, of each cut of the limit by more than a fifth: for a trace, an alarm. It runs in
    /// the end of a call, and must not block.
    pub fn on_cut(&self, told: impl Fn(&LimitCut) + Send + Sync + 'static) {
        self.limiter.cut_watchers().add(told);
    }

    /// Looks at the algorithm, which no other thread changes meanwhile. `look` must not ask the same shedder to look or adjust:
    /// it would wait for itself.
    pub fn inspect<T>(&self, look: impl FnOnce(&A) -> T) -> T {
        self.limiter.inspect(look)
    }

    /// Changes the algorithm's settings while calls are under way; the new limit is in force at once. `change`
    /// must not ask the same shedder to look or adjust.
    pub fn adjust<T>(&self, change: impl FnOnce(&mut A) -> T) -> T {
        self.limiter.adjust(change)
    }

    /// Whether it refuses, or only counts what it would refuse, or refuses a part of that. Default: it refuses. Calls that are
    /// let through count among those under way and teach what they take.
    pub fn enforce(&self, enforcement: Enforcement) {
        self.refusals.set(enforcement);
    }

    /// The same for those alone whose deadline is too close, until [`LoadShedder::enforce`] says something for all: in the dark
    /// first, as callers may set deadlines that they do not mean.
    pub fn enforce_deadlines(&self, enforcement: Enforcement) {
        self.refusals.set_for_deadlines(enforcement);
    }

    /// How many calls it would have refused, had all been enforced.
    pub fn would_have_refused(&self) -> u64 {
        self.refusals.would_have_refused()
    }

    /// How many of them for their deadline.
    pub fn would_have_refused_for_deadlines(&self) -> u64 {
        self.refusals.would_have_refused_for_deadlines()
    }

    /// Refuses all calls below a criticality, whatever the limit: for what the process feels otherwise, as
    /// Pressure says. Default: [`Criticality::Sheddable`], which refuses none.
    pub fn shed_below(&self, floor: Criticality) {
        self.limiter.word().set_floor(floor as u32);
    }

    /// The general way in.
    #[inline(never)]
    fn admit_otherwise(
        &self,
        deadline: Timestamp,
        criticality: Criticality,
        cost: u32,
        exempt: bool,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Passage, Rejection> {
        if exempt {
            return Ok(self.limiter.begin_exempt(cost, now()));
        }
        match self.limiter.word().enter(cost, |seen| share(criticality, seen)) {
            Ok(seen) => {
                let now = now();
                let passage = self.limiter.begin(seen, cost, now);
                match self.limiter.time_until(deadline, now) {
                    Time::Enough => Ok(passage),
                    Time::Look => Ok(passage.looking()),
                    Time::TooLittle => self.too_late(passage, criticality),
                }
            }
            Err(seen) => self.refuse_otherwise(seen, criticality, cost, now),
        }
    }

    /// The usual case by itself, for a call that says nothing of itself while no probe gathers: a refusal costs no more than it must.
    #[cold]
    fn refuse(&self, seen: Seen, cost: u32, now: impl FnOnce() -> Timestamp) -> Result<Passage, Rejection> {
        if seen.in_flight() < seen.limit() || !self.refusals.enforces_all() {
            return self.refuse_otherwise(seen, Criticality::Default, cost, now);
        }
        Err(self.refusals.rejection(Reason::Overloaded, Criticality::Default))
    }

    #[inline(never)]
    fn refuse_otherwise(
        &self,
        seen: Seen,
        criticality: Criticality,
        cost: u32,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Passage, Rejection> {
        if seen.in_flight() < seen.limit() {
            self.limiter.note_pressed(seen);
        }
        if self.refusals.lets_through(Reason::Overloaded) {
            return Ok(self.limiter.begin_anyway(cost, now()));
        }
        self.limiter.found_no_room(seen, now);
        Err(self.refusals.rejection(Reason::Overloaded, criticality))
    }

    /// A call that was let in has too little time left: it goes out again.
    #[cold]
    fn too_late(&self, passage: Passage, criticality: Criticality) -> Result<Passage, Rejection> {
        if self.refusals.lets_through(Reason::DeadlineTooClose) {
            return Ok(passage);
        }
        self.limiter.never_began(passage);
        Err(self.refusals.rejection(Reason::DeadlineTooClose, criticality))
    }
}

impl From<LoadShedderConfig> for LoadShedder {
    fn from(config: LoadShedderConfig) -> Self {
        Self::new(config)
    }
}

impl<A: LimitAlgorithm, R: Entropy> Gate for LoadShedder<A, R> {
    type Ticket = Passage;
    type Wait = NoWait;

    #[expect(clippy::inline_always, reason = "one path with the layers around it: 20 instructions and 5 ns less")]
    #[inline(always)]
    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<Passage> {
        let context = context();
        let CallContext { criticality, cost, exempt, .. } = context;
        // Not as an option, of which two registers would have to be kept.
        let deadline = context.deadline.unwrap_or(Timestamp::MAX);
        let cost = cost.min(MAX_COST);
        let plain = if criticality == Criticality::Default && deadline == Timestamp::MAX && !exempt {
            self.limiter.word().enter_plainly(cost)
        } else {
            Plain::NotToBeSaid
        };
        // By way of a result, so that what is built here is nowhere where something else can write it.
        let otherwise = match plain {
            Plain::Entered(seen) => return Admission::Admitted(self.limiter.begin_plainly(seen, cost, now)),
            Plain::NoRoom(seen) => self.refuse(seen, cost, now),
            Plain::NotToBeSaid => self.admit_otherwise(deadline, criticality, cost, exempt, now),
        };
        match otherwise {
            Ok(passage) => Admission::Admitted(passage),
            Err(rejection) => Admission::Refused(rejection),
        }
    }

    #[expect(clippy::inline_always, reason = "one path with the layers around it: 14 instructions less")]
    #[inline(always)]
    fn finish(&self, passage: Passage, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        self.limiter.end(passage, outcome, now);
    }

    /// Whether nothing is under way.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.in_flight() == 0
    }
}

/// How much of the limit calls of a criticality may fill; nothing when such calls are shed.
#[inline]
pub(crate) const fn share(criticality: Criticality, seen: Seen) -> u32 {
    let limit = seen.limit();
    if (criticality as u32) < seen.floor() {
        return 0;
    }
    let tenth = limit / 10;
    match criticality {
        Criticality::Default => limit,
        Criticality::Critical => limit.saturating_add(if tenth == 0 { 1 } else { tenth }),
        Criticality::Degraded => limit.saturating_sub(tenth),
        Criticality::Sheddable => limit.saturating_sub(limit / 5),
    }
}

use std::{collections::HashMap, fmt};

use seawall_core::{
    Admission, CallContext, Criticality, Enforcement, Entropy, Gate, MonotonicClock, Outcome, Reason, Rejection,
    ThreadEntropy, Timer, Timestamp, sync::Arc,
};

use crate::{
    Knee, LimitAlgorithm, LimitCut, LoadShedderError, Passage, QueueingShedderConfig, ShedderFigures, ShedderWait,
    limiter::Time,
    line::{InLine, Joined, Line},
    refusals::Refusals,
    word::MAX_COST,
};

const MAX_WEIGHT: u32 = 1_000;

/// A [`LoadShedder`](crate::LoadShedder) before which calls may queue for a moment: a burst is served, an overload is
/// still shed within milliseconds.
///
/// - A call that finds no room waits up to 20 ms; up to 5 ms once the queue of its criticality has not been empty for
///   20 ms; one of a tenant that is told apart up to 500 ms or three times the latency of a call, and up to 5 ms or a quarter
///   of that latency once that tenant's queue has not been empty for twice as long; a critical one up to 500 ms, and then no
///   less than twice the latency of a call. Calls that take longer than 3 s count as if they took 3 s. It never waits past its deadline, and is refused, on arrival or when its turn
///   comes, when less time is left than a call takes (the mean of the last window).
/// - Room goes to the most critical call that waits; among equals to the tenant that has been given least for its weight; of its calls to
///   the oldest, or under overload to the newest, which still has time to be answered. Critical calls may go a tenth above
///   the limit.
/// - The queue is bounded: when it is full, the oldest of the least critical makes room for a call that is as critical, of
///   the tenant that waits most.
/// - A waiter that leaves frees its place in constant time. While there is room nobody queues and no lock is taken.
/// - A call takes as much of the limit as it costs; an exempt one goes in whatever the load, and teaches nothing.
///
/// The wait sleeps on `T`, which must follow the clock of the layer's environment. The default needs the feature
/// `tokio`.
///
/// ```
/// use seawall_load_shedder::{QueueingShedderConfig, QueueingLoadShedderLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = QueueingLoadShedderLayer::new(QueueingShedderConfig::default());
/// assert_eq!(layer.run(async { Ok::<_, std::io::Error>(1) }).await?, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// Ben Maurer, "Fail at Scale", ACM Queue 13(8), 2015: controlled delay and adaptive LIFO.
pub struct QueueingLoadShedder<A = Knee, T = MonotonicClock, R = ThreadEntropy> {
    line: Arc<Line<A>>,
    timer: T,
    refusals: Refusals<R>,
}

impl<T: Timer> QueueingLoadShedder<Knee, T> {
    /// A shedder with a [`Knee`] limit whose waiters sleep on `timer`.
    pub fn new(config: QueueingShedderConfig, timer: T) -> Self {
        Self::with_algorithm(Knee::new(config.range()), config, timer)
    }
}

impl<A: LimitAlgorithm, T: Timer> QueueingLoadShedder<A, T> {
    /// A shedder whose limit follows another algorithm; the configuration's range is not used.
    pub fn with_algorithm(algorithm: A, config: QueueingShedderConfig, timer: T) -> Self {
        let refusals = Refusals::new(config.retry_after(), ThreadEntropy);
        let line = Line::new(algorithm, config.discipline(), config.max_queued(), Arc::clone(refusals.for_deadlines()));
        Self { line: Arc::new(line), timer, refusals }
    }
}

impl<A: LimitAlgorithm, T: Timer, R: Entropy> QueueingLoadShedder<A, T, R> {
    /// With another source of the random words that spread [`Rejection::retry_after`](crate::Rejection::retry_after).
    pub fn with_entropy<S: Entropy>(self, entropy: S) -> QueueingLoadShedder<A, T, S> {
        QueueingLoadShedder { line: self.line, timer: self.timer, refusals: self.refusals.with_entropy(entropy) }
    }

    /// The limit in force; lowered for a moment while a probe runs.
    pub fn limit(&self) -> u32 {
        self.line.limiter().word().seen().limit()
    }

    /// How much is under way: the cost of all calls, 1 each by default.
    pub fn in_flight(&self) -> u32 {
        self.line.limiter().word().seen().in_flight()
    }

    /// How many calls wait.
    pub fn queued(&self) -> usize {
        self.line.queued()
    }

    /// What it is at now.
    pub fn figures(&self) -> ShedderFigures {
        let (queued, oldest) = self.line.queue();
        ShedderFigures::of(self.line.limiter(), &self.refusals).with_queue(queued, oldest, self.timer.now())
    }

    /// Tells `told` from here on, as it happens, of each cut of the limit by more than a fifth: for a trace, an alarm. It runs in
    /// the end of a call, and must not block.
    pub fn on_cut(&self, told: impl Fn(&LimitCut) + Send + Sync + 'static) {
        self.line.limiter().cut_watchers().add(told);
    }

    /// Looks at the algorithm, which no other thread changes meanwhile. `look` must not ask the same shedder to look or adjust:
    /// it would wait for itself.
    pub fn inspect<V>(&self, look: impl FnOnce(&A) -> V) -> V {
        self.line.limiter().inspect(look)
    }

    /// Changes the algorithm's settings while calls are under way; the new limit is in force at once, also for those who
    /// wait. `change` must not ask the same shedder to look or adjust.
    pub fn adjust<V>(&self, change: impl FnOnce(&mut A) -> V) -> V {
        let result = self.line.limiter().adjust(change);
        self.line.hand_off(self.timer.now());
        result
    }

    /// Whether it refuses and lets wait, or only counts what it would refuse or let wait, or does so to a part of that. Default:
    /// it refuses. Calls that are let through count among those under way and teach what they take.
    pub fn enforce(&self, enforcement: Enforcement) {
        self.refusals.set(enforcement);
    }

    /// The same for those alone whose deadline is too close on arrival, until [`QueueingLoadShedder::enforce`] says something for
    /// all: in the dark first, as callers may set deadlines that they do not mean.
    pub fn enforce_deadlines(&self, enforcement: Enforcement) {
        self.refusals.set_for_deadlines(enforcement);
    }

    /// How many calls it would have refused or let wait, had all been enforced. One that is late and finds no room counts twice.
    pub fn would_have_refused(&self) -> u64 {
        self.refusals.would_have_refused()
    }

    /// How many of them for their deadline.
    pub fn would_have_refused_for_deadlines(&self) -> u64 {
        self.refusals.would_have_refused_for_deadlines()
    }

    /// What the shares of these tenants are worth while more wait than there is room for, of those who are as critical: of
    /// two who both want more, one of weight 2 has twice what one of weight 1 has. Takes the place of all weights set before,
    /// also while calls wait. Allowed: 1 to 1,000. Default 1 for every tenant.
    ///
    /// # Errors
    /// [`LoadShedderError::Weight`] outside that range; nothing is changed.
    ///
    /// # Examples
    /// ```
    /// use seawall_core::VirtualClock;
    /// use seawall_load_shedder::{QueueingLoadShedder, QueueingShedderConfig};
    ///
    /// let shedder = QueueingLoadShedder::new(QueueingShedderConfig::default(), VirtualClock::new());
    /// assert!(shedder.set_weights([(7, 3), (8, 1)]).is_ok());
    /// assert!(shedder.set_weights([(7, 0)]).is_err());
    /// ```
    pub fn set_weights(&self, weights: impl IntoIterator<Item = (u64, u32)>) -> Result<(), LoadShedderError> {
        let allowed = |(tenant, weight)| match weight {
            1..=MAX_WEIGHT => Ok((tenant, weight)),
            _ => Err(LoadShedderError::Weight { tenant, weight }),
        };
        self.line.set_weights(&weights.into_iter().map(allowed).collect::<Result<HashMap<_, _>, _>>()?.into());
        Ok(())
    }

    /// Refuses all calls below a criticality, whatever the limit: for what the process feels otherwise, as
    /// Pressure says. Those who wait go on waiting. Default: [`Criticality::Sheddable`], which
    /// refuses none.
    pub fn shed_below(&self, floor: Criticality) {
        self.line.limiter().word().set_floor(floor as u32);
    }

    /// Goes in at once; where there is a rejection it is not to wait either.
    #[inline]
    fn enter(&self, context: &mut CallContext, now: Timestamp) -> Result<Passage, Option<Rejection>> {
        context.cost = context.cost.min(MAX_COST);
        if context.exempt {
            return Ok(self.line.limiter().begin_exempt(context.cost, now));
        }
        let until = |deadline| self.line.limiter().time_until(deadline, now);
        let time = context.deadline.map_or(Time::Enough, until);
        if time == Time::TooLittle && !self.refusals.lets_through(Reason::DeadlineTooClose) {
            return Err(Some(self.refusals.rejection(Reason::DeadlineTooClose, context.criticality)));
        }
        if let Ok(seen) = self.line.limiter().word().enter_if_nobody_waits(context.cost, context.criticality as u32) {
            let passage = self.line.begin(seen, context.cost, now);
            return Ok(if time == Time::Look { passage.looking() } else { passage });
        }
        if time != Time::Enough {
            // It goes in whatever its deadline: it is not asked for it again when its turn comes.
            context.deadline = None;
        }
        Err(None)
    }

    #[cold]
    fn queue_up(&self, context: &CallContext, now: Timestamp) -> Admission<Passage, ShedderWait<A, T>> {
        if self.refusals.lets_through(Reason::Overloaded) {
            return Admission::Admitted(self.line.limiter().begin_anyway(context.cost, now));
        }
        match self.line.join(context, now) {
            Joined::Served(passage) => Admission::Admitted(passage),
            Joined::Refused(reason) => Admission::Refused(self.refusals.rejection(reason, context.criticality)),
            Joined::Waiting { place, until } => {
                let in_line = InLine::new(Arc::clone(&self.line), place, self.timer.clone());
                let until = until.min(context.deadline.unwrap_or(Timestamp::MAX));
                Admission::Queued(ShedderWait::new(
                    in_line,
                    until,
                    self.refusals.rejection(Reason::Overloaded, context.criticality),
                ))
            }
        }
    }
}

impl<T: Timer + Default> From<QueueingShedderConfig> for QueueingLoadShedder<Knee, T> {
    fn from(config: QueueingShedderConfig) -> Self {
        Self::new(config, T::default())
    }
}

impl<A: LimitAlgorithm, T: Timer, R: Entropy> Gate for QueueingLoadShedder<A, T, R> {
    type Ticket = Passage;
    type Wait = ShedderWait<A, T>;

    #[inline]
    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Passage, ShedderWait<A, T>> {
        let (mut context, now) = (context(), now());
        match self.enter(&mut context, now) {
            Ok(passage) => Admission::Admitted(passage),
            Err(Some(rejection)) => Admission::Refused(rejection),
            Err(None) => self.queue_up(&context, now),
        }
    }

    fn admit_at_once(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Option<Passage> {
        self.enter(&mut context(), now()).ok()
    }

    #[inline]
    fn finish(&self, passage: Passage, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        let now = now();
        self.line.limiter().end(passage, outcome, || now);
        self.line.hand_off_if_somebody_waits(now);
    }

    /// Whether nothing is under way.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.in_flight() == 0
    }
}

impl<A, T, R> fmt::Debug for QueueingLoadShedder<A, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueingLoadShedder").finish_non_exhaustive()
    }
}

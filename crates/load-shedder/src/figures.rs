use std::time::Duration;

use seawall_core::{Criticality, Timestamp};

use crate::{LimitAlgorithm, limiter::Limiter, refusals::Refusals};

/// What a shedder is at, at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ShedderFigures {
    /// The [steady limit](LimitAlgorithm::steady_limit).
    pub limit: f64,
    /// The one in force: it sways about that one, and is lower while a probe gathers.
    pub limit_in_force: u32,
    /// How much is under way.
    pub in_flight: u32,
    /// The latency without queueing, where the algorithm measures one and has.
    pub base_latency: Option<Duration>,
    /// What a call took in the last window; nothing before the first.
    pub latency: Option<Duration>,
    /// What is refused whatever the limit: all below it.
    pub floor: Criticality,
    /// How many wait; 0 where nobody may.
    pub queued: usize,
    /// How long the one waits that has waited longest.
    pub oldest_wait: Option<Duration>,
    /// How many calls would have been refused, had that been enforced.
    pub would_have_refused: u64,
    /// How many of them for their deadline.
    pub would_have_refused_for_deadlines: u64,
}

const FLOORS: [Criticality; 4] =
    [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical];

impl ShedderFigures {
    pub(crate) fn of<A: LimitAlgorithm, R: seawall_core::Entropy>(
        limiter: &Limiter<A>,
        refusals: &Refusals<R>,
    ) -> Self {
        let seen = limiter.word().seen();
        let (limit, base_latency) = limiter.inspect(|algorithm| (algorithm.steady_limit(), algorithm.base_latency()));
        Self {
            limit,
            limit_in_force: seen.limit(),
            in_flight: seen.in_flight(),
            base_latency,
            latency: Some(Duration::from_nanos(limiter.typical())).filter(|latency| !latency.is_zero()),
            floor: FLOORS.get(seen.floor() as usize).copied().unwrap_or_default(),
            queued: 0,
            oldest_wait: None,
            would_have_refused: refusals.would_have_refused(),
            would_have_refused_for_deadlines: refusals.would_have_refused_for_deadlines(),
        }
    }

    pub(crate) fn with_queue(mut self, queued: usize, oldest: Option<Timestamp>, now: Timestamp) -> Self {
        self.queued = queued;
        self.oldest_wait = oldest.map(|since| now.since(since));
        self
    }
}

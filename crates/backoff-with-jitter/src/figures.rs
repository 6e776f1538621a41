use seawall_core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Stopped;

/// What a retry layer has done so far: read it on a scrape. Nothing here is written while calls succeed at first.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryFigures {
    /// Attempts beyond the first.
    pub retries: u64,
    /// Calls that succeeded after a retry.
    pub recovered: u64,
    /// Calls that failed with all attempts used up.
    pub out_of_attempts: u64,
    /// Calls not repeated because the other side may have acted on them.
    pub not_idempotent: u64,
    /// Calls not repeated because their request was not kept.
    pub not_replayable: u64,
    /// Calls not repeated because the other side, or an open breaker, says not to come back in time.
    pub pushed_back: u64,
    /// Calls not repeated because the next attempt would start at or after the deadline.
    pub deadline: u64,
    /// Calls not repeated because the budget was used up.
    pub out_of_budget: u64,
    /// Calls not repeated because a retry further in has given up on them.
    pub exhausted: u64,
}

/// Counters behind [`RetryFigures`]. Relaxed: each counts for itself.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    retries: AtomicU64,
    recovered: AtomicU64,
    out_of_attempts: AtomicU64,
    not_idempotent: AtomicU64,
    not_replayable: AtomicU64,
    pushed_back: AtomicU64,
    deadline: AtomicU64,
    out_of_budget: AtomicU64,
    exhausted: AtomicU64,
}

impl Tally {
    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn recovery(&self) {
        self.recovered.fetch_add(1, Relaxed);
    }

    pub(crate) fn stop(&self, stopped: Stopped) {
        let counter = match stopped {
            Stopped::Final => return,
            Stopped::Attempts => &self.out_of_attempts,
            Stopped::NotIdempotent => &self.not_idempotent,
            Stopped::NotReplayable => &self.not_replayable,
            Stopped::Pushback => &self.pushed_back,
            Stopped::Deadline => &self.deadline,
            Stopped::Budget => &self.out_of_budget,
            Stopped::Exhausted => &self.exhausted,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn figures(&self) -> RetryFigures {
        RetryFigures {
            retries: self.retries.load(Relaxed),
            recovered: self.recovered.load(Relaxed),
            out_of_attempts: self.out_of_attempts.load(Relaxed),
            not_idempotent: self.not_idempotent.load(Relaxed),
            not_replayable: self.not_replayable.load(Relaxed),
            pushed_back: self.pushed_back.load(Relaxed),
            deadline: self.deadline.load(Relaxed),
            out_of_budget: self.out_of_budget.load(Relaxed),
            exhausted: self.exhausted.load(Relaxed),
        }
    }
}

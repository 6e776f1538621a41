use seawall_core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a fallback layer has done so far: read it on a scrape. Nothing here is written while the service answers.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackFigures {
    /// Calls that an alternative answered.
    pub degraded: u64,
    /// Calls for which every alternative failed, or had nothing to say.
    pub unanswered: u64,
}

/// Counters behind [`FallbackFigures`]. Relaxed: each counts for itself.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    degraded: AtomicU64,
    unanswered: AtomicU64,
}

impl Tally {
    pub(crate) fn degraded(&self) {
        self.degraded.fetch_add(1, Relaxed);
    }

    pub(crate) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    pub(crate) fn figures(&self) -> FallbackFigures {
        FallbackFigures { degraded: self.degraded.load(Relaxed), unanswered: self.unanswered.load(Relaxed) }
    }
}

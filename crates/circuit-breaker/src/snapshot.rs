use std::time::Duration;

use seawall_core::{Timestamp, sync::atomic::Ordering::Relaxed};

use crate::{
    breaker::Breaker,
    change::{Change, Outage},
    figures::Figures,
    state::State,
};

/// Where a breaker stands, in figures.
#[derive(Copy, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// What it is judged by: the round of probes in half-open, the window otherwise.
    pub figures: Figures,
    /// How long a call would have to wait; `None` when none is refused, or nobody knows.
    pub retry_after: Option<Duration>,
    /// The last change and its reason; `None` before the first.
    pub last_change: Option<Change>,
    /// The outage that is under way.
    pub outage: Option<Outage>,
    /// How often it has opened.
    pub openings: u64,
    /// How many calls it has refused.
    pub rejections: u64,
    /// How many calls it has let through to probe.
    pub probes: u64,
    /// How many results came too late to count.
    pub late: u64,
}

impl Breaker {
    /// Where it stands at `now`. Takes the lock of changes, so it is for scrapes and pages, not for every call.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let ledger = self.ledger.get();
        let word = self.word();
        let counted = self.counters.counted();
        let until = self.hot.until.load(Relaxed);
        let open = word.state() == State::Open && until != u64::MAX && now.as_nanos() <= until;
        Snapshot {
            state: word.state(),
            figures: self.figures_of(word, now),
            retry_after: open.then(|| Duration::from_nanos(until.saturating_add(1).saturating_sub(now.as_nanos()))),
            last_change: ledger.last,
            outage: ledger.outage(now, counted),
            openings: ledger.openings,
            rejections: counted.rejections,
            probes: counted.probes,
            late: counted.late,
        }
    }
}

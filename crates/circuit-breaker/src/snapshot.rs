use std::time::Duration;

use seawall_core::{Timestamp, sync::atomic::Ordering::Relaxed};

use crate::{
    breaker::Breaker,
    change::{Cause, Change, Outage},
    figures::Figures,
    ramp,
    state::State,
    word::Word,
};

/// Where a breaker stands, in figures.
#[derive(Copy, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// What it is judged by: the round of probes in half-open, the window otherwise. Each change of the state begins anew, so
    /// right after opening these are zero, and what made it open is in [`Snapshot::last_change`].
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
    /// How many calls it would have refused, had that been enforced.
    pub spared: u64,
    /// The share of the calls that is admitted: below 1 after closing with a ramp, 0 while none is.
    pub admitted_share: f64,
    /// The share of failures in the window; `None` while there are too few results to judge by.
    pub failure_ratio: Option<f64>,
    /// The share of slow calls in the window; `None` while there are too few results to judge by.
    pub slow_ratio: Option<f64>,
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
        let figures = self.figures_of(word, now);
        let judged = figures.calls >= self.member.window.minimum(self.settings.min_calls());
        Snapshot {
            state: word.state(),
            figures,
            retry_after: open.then(|| Duration::from_nanos(until.saturating_add(1).saturating_sub(now.as_nanos()))),
            last_change: ledger.last,
            outage: ledger.outage(now, counted),
            openings: ledger.openings,
            rejections: counted.rejections,
            spared: self.counters.spared.load(Relaxed),
            admitted_share: self.admitted_share(word, now),
            failure_ratio: judged.then(|| figures.failure_ratio()).flatten(),
            slow_ratio: judged.then(|| figures.slow_ratio()).flatten(),
            probes: counted.probes,
            late: counted.late,
        }
    }

    fn admitted_share(&self, word: Word, now: Timestamp) -> f64 {
        match word.state() {
            State::Open | State::ForcedOpen | State::HalfOpen => 0.0,
            _ if word.is_ramping() => {
                let closed_at = Timestamp::from_nanos(self.hot.closed_at.load(Relaxed));
                ramp::share(now.nanos_since(closed_at), self.settings.ramp())
            }
            _ => 1.0,
        }
    }
}

impl Snapshot {
    /// Since when it is in this state; `None` when it has been from the beginning.
    pub fn since(&self) -> Option<Timestamp> {
        self.last_change.map(|change| change.at)
    }

    /// Why it is in this state; `None` when it has been from the beginning.
    pub fn cause(&self) -> Option<Cause> {
        self.last_change.map(|change| change.cause)
    }
}

use std::sync::Arc;

use seawall_core::Timestamp;

use crate::{
    builder::BreakerConfigBuilder,
    change::{Cause, Change, Outage},
    hooks::Hooks,
    schedule::Schedule,
    state::State,
};

/// What only a change of state touches, behind a lock that no call takes while the circuit is closed.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) schedule: Schedule,
    pub(crate) hooks: Hooks,
    pub(crate) last: Option<Change>,
    pub(crate) openings: u64,
    outage: Option<Begun>,
}

/// An outage that has not ended, and where the counters stood when it began.
#[derive(Copy, Clone, Debug)]
struct Begun {
    at: Timestamp,
    cause: Cause,
    reopenings: u32,
    counted: Counted,
}

/// How far the breaker's counters have come since it was made.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) probes: u64,
    pub(crate) rejections: u64,
    pub(crate) late: u64,
}

impl Ledger {
    pub(crate) fn new(config: &BreakerConfigBuilder, seed: u64) -> Self {
        let mut hooks = Hooks::default();
        if let Some(hook) = &config.hook {
            hooks.add(Arc::clone(hook));
        }
        Self { schedule: Schedule::new(config, seed), hooks, last: None, openings: 0, outage: None }
    }

    /// The outage that is under way.
    pub(crate) fn outage(&self, at: Timestamp, counted: Counted) -> Option<Outage> {
        self.outage.map(|begun| Outage {
            began: begun.at,
            length: at.since(begun.at),
            cause: begun.cause,
            probes: counted.probes.saturating_sub(begun.counted.probes),
            rejections: counted.rejections.saturating_sub(begun.counted.rejections),
            late: counted.late.saturating_sub(begun.counted.late),
            reopenings: begun.reopenings,
        })
    }

    /// Writes a change down; adds the outage that it ends.
    pub(crate) fn write(&mut self, mut change: Change, counted: Counted) {
        match change.to {
            State::Open | State::ForcedOpen => self.opened(&change, counted),
            State::HalfOpen => {}
            State::Closed | State::ForcedClosed | State::Disabled => {
                change.outage = self.outage(change.at, counted);
                self.outage = None;
            }
        }
        self.last = Some(change);
        self.hooks.push(change);
    }

    fn opened(&mut self, change: &Change, counted: Counted) {
        self.openings = self.openings.saturating_add(1);
        match &mut self.outage {
            Some(outage) => outage.reopenings = outage.reopenings.saturating_add(1),
            none => *none = Some(Begun { at: change.at, cause: change.cause, reopenings: 0, counted }),
        }
    }
}

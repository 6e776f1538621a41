use seawall_core::{
    Stripes,
    sync::{
        CachePadded,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::ledger::Counted;

/// What happens between changes of state. Relaxed: each counts for itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rejections: Stripes<AtomicU64>,
    /// Calls that would have been refused, were it enforced.
    pub(crate) spared: AtomicU64,
    pub(crate) late: CachePadded<AtomicU64>,
    pub(crate) probes: AtomicU64,
}

impl Counters {
    pub(crate) fn counted(&self) -> Counted {
        Counted {
            probes: self.probes.load(Relaxed),
            rejections: self.rejections.iter().map(|stripe| stripe.load(Relaxed)).fold(0, u64::wrapping_add),
            late: self.late.load(Relaxed),
        }
    }
}

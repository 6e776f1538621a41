use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use seawall_core::{Class, Observer, Outcome, Rejection};

/// How many calls ended in each way.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Booked {
    /// Answered, and not as a failure.
    pub returned: usize,
    /// Answered with a failure.
    pub failed: usize,
    /// Cut by a timeout.
    pub timed_out: usize,
    /// Dropped by the caller, or at the caller's deadline.
    pub dropped: usize,
    /// Panicked.
    pub panicked: usize,
    /// Refused by the layer.
    pub rejected: usize,
}

impl Booked {
    /// All of them.
    pub const fn total(&self) -> usize {
        self.returned
            .saturating_add(self.failed)
            .saturating_add(self.timed_out)
            .saturating_add(self.dropped)
            .saturating_add(self.panicked)
            .saturating_add(self.rejected)
    }
}

/// An observer that counts. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    returned: AtomicUsize,
    failed: AtomicUsize,
    timed_out: AtomicUsize,
    dropped: AtomicUsize,
    panicked: AtomicUsize,
    rejected: AtomicUsize,
}

impl Recorder {
    /// What has been counted so far.
    pub fn booked(&self) -> Booked {
        let counts = &*self.counts;
        Booked {
            returned: counts.returned.load(SeqCst),
            failed: counts.failed.load(SeqCst),
            timed_out: counts.timed_out.load(SeqCst),
            dropped: counts.dropped.load(SeqCst),
            panicked: counts.panicked.load(SeqCst),
            rejected: counts.rejected.load(SeqCst),
        }
    }
}

impl Observer for Recorder {
    const PER_CALL: bool = true;

    fn on_reject(&self, _: &Rejection) {
        self.counts.rejected.fetch_add(1, SeqCst);
    }

    fn on_call(&self, outcome: Outcome) {
        let counts = &*self.counts;
        match outcome {
            Outcome::Finished(Class::Failure) => &counts.failed,
            Outcome::TimedOut => &counts.timed_out,
            Outcome::Cancelled | Outcome::DeadlineExceeded => &counts.dropped,
            Outcome::Panicked => &counts.panicked,
            _ => &counts.returned,
        }
        .fetch_add(1, SeqCst);
    }
}

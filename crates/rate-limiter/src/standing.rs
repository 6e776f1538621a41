use std::time::Duration;

use crate::{Quota, pace::Pace};

/// How a quota stands at one moment: what a `RateLimit` header tells a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    remaining: u32,
    next_in: Duration,
    full_in: Duration,
}

impl Standing {
    pub(crate) const fn new(pace: Pace, arrival: u64, now: u64) -> Self {
        Self {
            remaining: pace.remaining(arrival, now),
            next_in: Duration::from_nanos(pace.next_in(arrival, now)),
            full_in: Duration::from_nanos(arrival.saturating_sub(now)),
        }
    }

    pub(crate) const fn of(remaining: u32, next_in: Duration, full_in: Duration) -> Self {
        Self { remaining, next_in, full_in }
    }

    /// All of it.
    pub(crate) fn full(quota: Quota) -> Self {
        Self::new(Pace::of(&quota), 0, 0)
    }

    /// How many calls may come at once.
    pub const fn remaining(&self) -> u32 {
        self.remaining
    }

    /// How long until one call may come; zero while some remain.
    pub const fn next_in(&self) -> Duration {
        self.next_in
    }

    /// How long until the whole burst is there again, if nothing else comes.
    pub const fn full_in(&self) -> Duration {
        self.full_in
    }
}

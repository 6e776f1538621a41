use std::{panic::Location, time::Duration};

/// A pool at one moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Connections at most.
    pub max: usize,
    /// Connections that are open: idle, being checked, or in use.
    pub size: usize,
    /// Connections that wait for a caller.
    pub idle: usize,
    /// Connections that callers have.
    pub in_use: usize,
    /// Connections that are being opened.
    pub connecting: usize,
    /// Idle connections that are being asked for a sign of life.
    pub checking: usize,
    /// Callers that wait.
    pub waiters: usize,
    /// Whether the pool was closed.
    pub closed: bool,
    /// The connection that has been out for the longest.
    pub oldest_checkout: Option<Checkout>,
    /// What happened since the pool was made.
    pub totals: PoolTotals,
}

/// A connection that a caller has.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkout {
    /// For how long.
    pub held: Duration,
    /// Where in the program the caller asked for it.
    pub at: &'static Location<'static>,
}

/// What happened since a pool was made. A pool's own figures, for a scrape to read; none ever goes down.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolTotals {
    /// Connections handed to callers.
    pub handed_out: u64,
    /// Callers that had to wait and got a connection.
    pub waited: u64,
    /// How long those waited together.
    pub wait_time: Duration,
    /// How long all others waited together: whose time was up, who left, who were told of a failure or of the end.
    pub time_in_vain: Duration,
    /// Callers that waited in vain until their time was up.
    pub timed_out: u64,
    /// Callers that left the queue by themselves.
    pub cancelled: u64,
    /// Callers refused because the queue was full.
    pub refused: u64,
    /// Operations that were done once more, on a new connection, since their reused one had gone stale. At most one for
    /// each connection: what is new is not replaced.
    pub repeated: u64,
    /// Connections opened.
    pub created: u64,
    /// Connects that failed.
    pub connect_failures: u64,
    /// Connections closed, by reason.
    pub closed: ClosedTotals,
}

/// Connections closed, by reason.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosedTotals {
    /// They were idle for too long.
    pub idle: u64,
    /// They were open for too long.
    pub lifetime: u64,
    /// They were handed out often enough.
    pub uses: u64,
    /// The manager, the caller or a panic said that they are broken.
    pub broken: u64,
    /// They failed an operation because the other side had closed them.
    pub stale: u64,
    /// They gave no sign of life.
    pub failed_check: u64,
    /// The pool was made smaller, or was told to drop what is idle.
    pub evicted: u64,
    /// A caller took them out for good.
    pub taken: u64,
    /// The pool was closed.
    pub pool_closed: u64,
}

impl ClosedTotals {
    /// All of them.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(seawall_pool::ClosedTotals::default().sum(), 0);
    /// ```
    pub fn sum(&self) -> u64 {
        let Self { idle, lifetime, uses, broken, stale, failed_check, evicted, taken, pool_closed } = *self;
        [idle, lifetime, uses, broken, stale, failed_check, evicted, taken, pool_closed]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// Why a connection is closed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    Idle,
    Lifetime,
    Uses,
    Broken,
    Stale,
    FailedCheck,
    Evicted,
    Taken,
    PoolClosed,
}

impl PoolTotals {
    pub(crate) fn count_closed(&mut self, why: Closing) {
        let closed = &mut self.closed;
        let total = match why {
            Closing::Idle => &mut closed.idle,
            Closing::Lifetime => &mut closed.lifetime,
            Closing::Uses => &mut closed.uses,
            Closing::Broken => &mut closed.broken,
            Closing::Stale => &mut closed.stale,
            Closing::FailedCheck => &mut closed.failed_check,
            Closing::Evicted => &mut closed.evicted,
            Closing::Taken => &mut closed.taken,
            Closing::PoolClosed => &mut closed.pool_closed,
        };
        *total = total.saturating_add(1);
    }
}

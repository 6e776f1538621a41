use seawall_core::Timestamp;

use crate::word::Tag;

/// Says that a call was admitted: when, and in which generation of the breaker. Comes back with the call's outcome.
///
/// A ticket that is lost holds a probe's place until the probes are too old to wait for.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back with `record`"]
pub struct BreakerTicket {
    pub(crate) tag: Tag,
    pub(crate) start: Timestamp,
}

impl BreakerTicket {
    /// The start of a call whose latency nobody asks for: later than any end, so that its latency is zero.
    pub(crate) const UNSTAMPED: Timestamp = Timestamp::MAX;
}

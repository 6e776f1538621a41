use seawall_core::sync::atomic::AtomicU64;

/// What calls read. Written only when the state changes, and by probes.
#[derive(Debug)]
pub(crate) struct Hot {
    /// See [`Word`](crate::word::Word). State and generation change under the ledger's lock, the counters of half-open by
    /// themselves.
    pub(crate) word: AtomicU64,
    /// The last nanosecond of the open time.
    pub(crate) until: AtomicU64,
    /// How many probes of this round were given up on.
    pub(crate) given_up: AtomicU64,
    /// When the youngest probe was sent.
    pub(crate) probed_at: AtomicU64,
    /// When it last closed by itself, which is where the ramp begins.
    pub(crate) closed_at: AtomicU64,
    /// Until when only what is clear opens it again.
    pub(crate) wary_until: AtomicU64,
    /// Which calls are among a share, see [`crate::ramp::STEP`].
    pub(crate) draw: AtomicU64,
}

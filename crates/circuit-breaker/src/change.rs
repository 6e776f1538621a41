use std::time::Duration;

use seawall_core::Timestamp;

use crate::{figures::Figures, state::State};

/// Why a breaker changed its state.
#[derive(Copy, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Cause {
    /// Too large a share of the results failed.
    FailureRatio {
        /// The share.
        measured: f64,
        /// The share at which it opens.
        threshold: f64,
    },
    /// Too large a share of the results was slow.
    SlowRatio {
        /// The share.
        measured: f64,
        /// The share at which it opens.
        threshold: f64,
    },
    /// Too many calls in a row failed.
    ConsecutiveFailures {
        /// How many.
        failures: u32,
    },
    /// The success rate is an outlier among those of its peers.
    WorseThanPeers {
        /// The share that succeeded.
        measured: f64,
        /// The share below which it opens: the mean of the peers, less so many standard deviations.
        threshold: f64,
    },
    /// Too few probes succeeded.
    ProbesFailed,
    /// Probes did not end in time, or too many were given up on.
    ProbesHung,
    /// The probes succeeded.
    ProbesSucceeded,
    /// The open time is over.
    WaitOver,
    /// The other side asked to be left alone.
    Pushback,
    /// A single result was enough: [`Verdict::trip`](seawall_core::Verdict::trip), or
    /// [`Breaker::trip`](crate::Breaker::trip).
    Tripped,
    /// Somebody said so.
    Manual,
}

/// One change of state, with the figures that caused it.
#[derive(Copy, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// When.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// The window, or the round of probes, that was judged.
    pub figures: Figures,
    /// On opening: how long it stays open. `None` when that is for ever, and for other changes.
    pub open_for: Option<Duration>,
    /// On closing: the whole outage.
    pub outage: Option<Outage>,
}

/// What happened between the first opening and the closing.
#[derive(Copy, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Outage {
    /// When it first opened.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub began: Timestamp,
    /// How long it has lasted.
    pub length: Duration,
    /// Why it first opened.
    pub cause: Cause,
    /// Calls that were let through to probe.
    pub probes: u64,
    /// Calls that were refused.
    pub rejections: u64,
    /// Results that came too late to count: of calls from before it opened, or of an earlier round of probes.
    pub late: u64,
    /// How often it opened again after probing.
    pub reopenings: u32,
}

//! The rows: their names are fixed, so that runs can be compared over time.

mod bulkhead;
mod circuit_breaker;
mod fallback;
mod floor;
mod load_shedder;
mod peers;
mod pool;
mod queueing;
mod rate_limiter;
mod retry;
mod simulation;
mod stack;
mod timeout;

use crate::operation::Operation;

/// One side of a row: ours, a peer's, or the bare call.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Side {
    /// Whose it is.
    pub name: &'static str,
    /// Makes it, inside a tokio runtime.
    pub make: fn() -> Box<dyn Operation>,
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A row: what is measured, and beside whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Row {
    /// `group/what`.
    pub name: &'static str,
    /// Whether the layer's own clock reads are in it: `own`, `shared` by a scope, or `none`.
    pub clock: &'static str,
    /// Whether the cost is that over the bare call.
    pub over_bare_call: bool,
    /// What of ours is there without the layer, by the name of its row: what the layer costs is over that. Peers are over the
    /// bare call.
    pub beneath: Side,
    /// Whether a call may allocate: it makes a timer, or a body.
    pub may_allocate: bool,
    /// Ours.
    pub ours: Side,
    /// The peers.
    pub peers: Vec<Side>,
}

impl Row {
    /// The same row, whose calls may allocate.
    const fn allocating(mut self) -> Self {
        self.may_allocate = true;
        self
    }
}

/// All rows, in the order in which they are printed.
pub fn all() -> Vec<Row> {
    [
        floor::rows(),
        circuit_breaker::rows(),
        bulkhead::rows(),
        load_shedder::rows(),
        timeout::rows(),
        retry::rows(),
        rate_limiter::rows(),
        fallback::rows(),
        pool::rows(),
        queueing::rows(),
        stack::rows(),
        simulation::rows(),
    ]
    .concat()
}

/// The row of a layer: what it costs over the bare call.
fn layer_row(name: &'static str, clock: &'static str, make: fn() -> Box<dyn Operation>, peers: Vec<Side>) -> Row {
    let ours = Side { name: "seawall", make };
    Row { name, clock, over_bare_call: true, beneath: BARE, may_allocate: false, ours, peers }
}

/// The bare call that layer rows are measured over, by the name of its row.
pub const BARE: Side = Side { name: "floor/bare-call", make: floor::bare_call };

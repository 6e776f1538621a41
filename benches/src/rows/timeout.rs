//! The timeout beside tower's and tower-resilience's.

use std::time::Duration;

use seawall::timeout::{TimeoutConfig, TimeoutLayer};

use super::{Row, layer_row, peers};
use crate::operation::{Calls, LaterLeaf, Leaf, Operation, built};

/// Long enough that nothing times out.
const LONG: Duration = Duration::from_secs(5);

fn layer() -> TimeoutLayer {
    TimeoutLayer::new(built(TimeoutConfig::attempt(LONG)))
}

fn ready() -> Box<dyn Operation> {
    Box::new(Calls(layer().protect(Leaf::default())))
}

fn ready_leaked() -> Box<dyn Operation> {
    Box::new(Calls(layer().leak().protect(Leaf::default())))
}

fn pending() -> Box<dyn Operation> {
    Box::new(Calls(layer().protect(LaterLeaf::default())))
}

pub(super) fn rows() -> Vec<Row> {
    let peers = || vec![peers::TOWER_TIMEOUT, peers::RESILIENCE_TIMEOUT];
    vec![
        layer_row("timeout/ready", "own", ready, peers()),
        layer_row("timeout/ready-leaked", "own", ready_leaked, peers()),
        layer_row("timeout/pending", "own", pending, vec![peers::TOWER_TIMEOUT_PENDING]).allocating(),
    ]
}

//! The timeout beside tower's and tower-resilience's.

use std::time::Duration;

use seawall::{
    core::{ClockScopeLayer, ScopeBoundaryLayer, WrapError},
    timeout::{TimeoutConfig, TimeoutLayer},
};
use tower::Layer;

use super::{
    Row,
    floor::{READ_IN_SCOPE, Reads},
    layer_row, peers,
};
use crate::operation::{Calls, LaterLeaf, Leaf, Operation, built};

/// Long enough that nothing times out.
const LONG: Duration = Duration::from_secs(5);
/// One attempt of it.
const ATTEMPT: Duration = Duration::from_secs(2);

fn layer() -> TimeoutLayer {
    TimeoutLayer::new(built(TimeoutConfig::attempt(LONG)))
}

fn ready() -> Box<dyn Operation> {
    Box::new(Calls(layer().protect(Leaf::default())))
}

fn ready_leaked() -> Box<dyn Operation> {
    Box::new(Calls(layer().leak().protect(Leaf::default())))
}

/// As in a stack, another layer of which has read the clock already.
fn ready_in_scope() -> Box<dyn Operation> {
    let innermost = ScopeBoundaryLayer::new().layer(WrapError::new(Leaf::default()));
    Box::new(Calls(ClockScopeLayer::new().layer(Reads(layer().layer(innermost)))))
}

fn pending() -> Box<dyn Operation> {
    Box::new(Calls(layer().protect(LaterLeaf::default())))
}

/// All timeouts of a client stack together, under its clock scope: the total one and that of the attempt.
fn stack_pending() -> Box<dyn Operation> {
    let total = TimeoutLayer::new(built(TimeoutConfig::total(LONG)));
    let attempt = TimeoutLayer::new(built(TimeoutConfig::attempt(ATTEMPT)));
    let innermost = ScopeBoundaryLayer::new().layer(WrapError::new(LaterLeaf::default()));
    Box::new(Calls(ClockScopeLayer::new().layer(total.layer(attempt.layer(innermost)))))
}

pub(super) fn rows() -> Vec<Row> {
    let peers = || vec![peers::TOWER_TIMEOUT, peers::RESILIENCE_TIMEOUT];
    vec![
        layer_row("timeout/ready", "own", ready, peers()),
        layer_row("timeout/ready-leaked", "own", ready_leaked, peers()),
        Row { beneath: READ_IN_SCOPE, ..layer_row("timeout/ready-in-scope", "shared", ready_in_scope, peers()) },
        layer_row("timeout/pending", "own", pending, vec![peers::TOWER_TIMEOUT_PENDING]),
        layer_row("timeout/stack-pending", "shared", stack_pending, vec![peers::TOWER_TIMEOUT_PENDING]),
    ]
}

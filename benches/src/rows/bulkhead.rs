//! The bulkhead beside tower's limit and tower-resilience's.

use seawall::bulkhead::{BulkheadConfig, BulkheadLayer};

use super::{Row, Side, layer_row, peers};
use crate::operation::{Calls, Leaf, Operation, built};

/// Wide enough that nothing is refused.
const PLACES: usize = 1_000;

fn layer() -> BulkheadLayer {
    BulkheadLayer::new(built(BulkheadConfig::new(PLACES)))
}

fn admit() -> Box<dyn Operation> {
    Box::new(Calls(layer().protect(Leaf::default())))
}

fn admit_leaked() -> Box<dyn Operation> {
    Box::new(Calls(layer().leak().protect(Leaf::default())))
}

pub(super) fn rows() -> Vec<Row> {
    let peers = || -> Vec<Side> { vec![peers::TOWER_CONCURRENCY, peers::RESILIENCE_BULKHEAD] };
    vec![
        layer_row("bulkhead/admit", "none", admit, peers()),
        layer_row("bulkhead/admit-leaked", "none", admit_leaked, peers()),
    ]
}

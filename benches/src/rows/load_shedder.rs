//! The load shedder beside tower-resilience's adaptive limits and little-loadshedder, and the client's throttle.

use seawall::{
    core::{CallContext, Clock, Gate, GateLayer, MonotonicClock},
    load_shedder::{Fixed, LoadShedder, LoadShedderConfig, LoadShedderLayer, ThrottleConfig, ThrottleLayer},
};

use super::{Row, layer_row, peers};
use crate::operation::{Calls, Leaf, Operation, built};

fn layer() -> LoadShedderLayer {
    LoadShedderLayer::new(LoadShedderConfig::default())
}

fn admit() -> Box<dyn Operation> {
    Box::new(Calls(layer().protect(Leaf::default())))
}

fn admit_leaked() -> Box<dyn Operation> {
    Box::new(Calls(layer().leak().protect(Leaf::default())))
}

/// A limit that is in use, for which every call is timed.
fn admit_timed() -> Box<dyn Operation> {
    let gate = LoadShedder::with_algorithm(built(Fixed::new(2)));
    Box::new(Calls(GateLayer::<LoadShedder<Fixed>>::new(gate).protect(Leaf::default())))
}

/// A shedder whose places are all taken for good.
fn reject() -> Box<dyn Operation> {
    let layer = layer();
    let mut taken = Vec::new();
    while let seawall::core::Admission::Admitted(passage) =
        layer.gate().admit(CallContext::default, || MonotonicClock.now())
    {
        taken.push(passage);
    }
    // Never finished: they go with the row.
    drop(taken);
    Box::new(Calls(layer.protect(Leaf::default())))
}

fn throttle() -> Box<dyn Operation> {
    Box::new(Calls(ThrottleLayer::new(ThrottleConfig::default()).protect(Leaf::default())))
}

pub(super) fn rows() -> Vec<Row> {
    let peers = || vec![peers::RESILIENCE_AIMD, peers::RESILIENCE_VEGAS, peers::LITTLE_LOADSHEDDER];
    vec![
        layer_row("load-shedder/admit", "own", admit, peers()),
        layer_row("load-shedder/admit-leaked", "own", admit_leaked, peers()),
        layer_row("load-shedder/admit-timed", "own", admit_timed, peers()),
        Row { over_bare_call: false, ..layer_row("load-shedder/reject", "none", reject, Vec::new()) },
        layer_row("throttle/admit", "own", throttle, Vec::new()),
    ]
}

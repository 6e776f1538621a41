//! The yardstick of the machine.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use seawall::core::{Clock, MonotonicClock, Stripes};

use super::{Row, Side};
use crate::operation::{Calls, Leaf, Operation, Steps};

pub(super) fn bare_call() -> Box<dyn Operation> {
    Box::new(Calls(Leaf::default()))
}

fn fetch_add() -> Box<dyn Operation> {
    let word = Arc::new(AtomicU64::new(0));
    Box::new(Steps(move |by| {
        word.fetch_add(by, Relaxed);
    }))
}

/// What a layer that writes to a stripe of its own cannot beat.
fn striped_add() -> Box<dyn Operation> {
    let stripes = Arc::new(Stripes::<AtomicU64>::default());
    Box::new(Steps(move |by| {
        stripes.mine().fetch_add(by, Relaxed);
    }))
}

pub(super) const STRIPED_COUNTER: Side = Side { name: "striped counter", make: striped_add };

fn clock() -> Box<dyn Operation> {
    Box::new(Steps(|_| {
        black_box(MonotonicClock.now());
    }))
}

pub(super) fn rows() -> Vec<Row> {
    let floor = |name, clock, make| Row {
        name,
        clock,
        over_bare_call: false,
        may_allocate: false,
        ours: Side { name: "seawall", make },
        peers: Vec::new(),
    };
    vec![
        floor("floor/bare-call", "none", bare_call as fn() -> Box<dyn Operation>),
        floor("floor/fetch-add", "none", fetch_add),
        floor("floor/striped-add", "none", striped_add),
        floor("floor/clock", "own", clock),
    ]
}

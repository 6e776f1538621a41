//! The yardstick of the machine.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use seawall::core::{Clock, MonotonicClock};

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
        floor("floor/clock", "own", clock),
    ]
}

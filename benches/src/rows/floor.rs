//! The yardstick of the machine.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use seawall::core::{Clock, ClockScopeLayer, MonotonicClock, ScopeBoundaryLayer, Stripes, WrapError};
use tower::{Layer, Service};

use super::{BARE, Row, Side};
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

/// Reads the clock, as the other layers of a stack do.
#[derive(Clone)]
pub(super) struct Reads<S>(pub(super) S);

impl<S: Service<u64>> Service<u64> for Reads<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u64) -> S::Future {
        black_box(MonotonicClock.now());
        self.0.call(request)
    }
}

fn read_in_scope() -> Box<dyn Operation> {
    let innermost = ScopeBoundaryLayer::new().layer(WrapError::new(Leaf::default()));
    Box::new(Calls(ClockScopeLayer::new().layer(Reads(innermost))))
}

/// A call in a clock scope that has its reading, by the name of its row.
pub(super) const READ_IN_SCOPE: Side = Side { name: "floor/read-in-scope", make: read_in_scope };

pub(super) fn rows() -> Vec<Row> {
    let floor = |name, clock, make| Row {
        name,
        clock,
        over_bare_call: false,
        beneath: BARE,
        may_allocate: false,
        ours: Side { name: "seawall", make },
        peers: Vec::new(),
    };
    vec![
        floor(BARE.name, "none", bare_call as fn() -> Box<dyn Operation>),
        floor("floor/fetch-add", "none", fetch_add),
        floor("floor/striped-add", "none", striped_add),
        floor("floor/clock", "own", clock),
        floor(READ_IN_SCOPE.name, "shared", read_in_scope),
    ]
}

//! The circuit breaker beside seatbelt's, through Tower and by its own trait, tower-resilience's, recloser and failsafe.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use seawall::{
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, Window},
    core::{Class, Clock, MonotonicClock, Outcome},
};
use tower::Service;

use super::{Row, floor, layer_row, peers};
use crate::operation::{Calls, Failed, Leaf, Operation, built};

/// Calls that are in the window before the row that is named after them is measured.
const MILLION: u32 = 1_000_000;

fn by_time() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(BreakerConfig::default())
}

fn by_count() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(built(BreakerConfig::builder().window(Window::Calls(100)).build()))
}

/// Every twentieth call fails, far below the threshold.
#[derive(Clone)]
struct SometimesFails {
    calls: u64,
}

impl Service<u64> for SometimesFails {
    type Response = u64;
    type Error = Failed;
    type Future = std::future::Ready<Result<u64, Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        self.calls = self.calls.wrapping_add(1);
        std::future::ready(if self.calls.is_multiple_of(20) { Err(Failed::default()) } else { Ok(request) })
    }
}

/// What a thousand calls, one of them failed, leave behind: the window is looked at from here on.
fn filled(layer: CircuitBreakerLayer, calls: u32) -> CircuitBreakerLayer {
    let now = MonotonicClock.now();
    for call in 0..calls {
        if let Ok(ticket) = layer.gate().try_admit(now) {
            let class = if call % 1_000 == 0 { Class::Failure } else { Class::Success };
            layer.gate().record(ticket, Outcome::Finished(class), Duration::ZERO, now);
        }
    }
    layer
}

/// Open by itself, as after an outage, and for longer than it is measured.
fn open() -> CircuitBreakerLayer {
    const LONG: Duration = Duration::from_hours(24);
    let config = BreakerConfig::builder().open_for(LONG).max_open_for(LONG).build();
    let layer = CircuitBreakerLayer::new(built(config));
    layer.gate().trip(Some(LONG), MonotonicClock.now());
    layer
}

fn forced_open() -> CircuitBreakerLayer {
    let layer = by_time();
    layer.gate().force_open(MonotonicClock.now());
    layer
}

fn closed() -> Box<dyn Operation> {
    Box::new(Calls(by_time().protect(Leaf::default())))
}

fn closed_leaked() -> Box<dyn Operation> {
    Box::new(Calls(by_time().leak().protect(Leaf::default())))
}

fn closed_by_count() -> Box<dyn Operation> {
    Box::new(Calls(by_count().protect(Leaf::default())))
}

fn with_failures() -> Box<dyn Operation> {
    Box::new(Calls(by_time().protect(SometimesFails { calls: 0 })))
}

fn million_in_window() -> Box<dyn Operation> {
    Box::new(Calls(filled(by_time(), MILLION).protect(Leaf::default())))
}

/// The largest window there is, of which a thousandth is bad, so that every result is written down.
fn million_in_count_window() -> Box<dyn Operation> {
    let layer = CircuitBreakerLayer::new(built(BreakerConfig::builder().window(Window::Calls(65_535)).build()));
    Box::new(Calls(filled(layer, MILLION).protect(Leaf::default())))
}

fn refusing() -> Box<dyn Operation> {
    Box::new(Calls(open().protect(Leaf::default())))
}

fn refusing_by_force() -> Box<dyn Operation> {
    Box::new(Calls(forced_open().protect(Leaf::default())))
}

pub(super) fn rows() -> Vec<Row> {
    let peers = || {
        vec![
            peers::SEATBELT_BREAKER,
            peers::SEATBELT_BREAKER_OWN,
            peers::RESILIENCE_BREAKER,
            peers::RECLOSER,
            peers::FAILSAFE,
        ]
    };
    vec![
        layer_row("circuit-breaker/closed", "own", closed, peers()),
        layer_row(
            "circuit-breaker/closed-leaked",
            "own",
            closed_leaked,
            [peers(), vec![floor::STRIPED_COUNTER]].concat(),
        ),
        layer_row("circuit-breaker/closed-count-window", "own", closed_by_count, peers()),
        layer_row("circuit-breaker/closed-count-window-1m", "own", million_in_count_window, Vec::new()),
        layer_row("circuit-breaker/closed-with-failures", "own", with_failures, Vec::new()),
        layer_row("circuit-breaker/closed-1m-in-window", "own", million_in_window, Vec::new()),
        Row { over_bare_call: false, ..layer_row("circuit-breaker/open", "own", refusing, Vec::new()) },
        Row {
            over_bare_call: false,
            ..layer_row("circuit-breaker/forced-open", "none", refusing_by_force, Vec::new())
        },
    ]
}

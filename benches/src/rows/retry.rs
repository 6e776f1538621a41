//! The retry layer and the waits beside tower's.

use std::{hint::black_box, time::Duration};

use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, Position, RetryConfig, RetryLayer},
    core::{Entropy, ThreadEntropy},
};

use super::{Row, Side, layer_row, peers};
use crate::operation::{Calls, Leaf, Operation, Steps};

fn layer(budget: bool) -> RetryLayer {
    let config = RetryConfig::new(IfUnknown::Repeat);
    RetryLayer::new(if budget { config } else { config.without_budget() })
}

fn no_retry() -> Box<dyn Operation> {
    Box::new(Calls(layer(false).leak().protect(Leaf::default())))
}

fn budget() -> Box<dyn Operation> {
    Box::new(Calls(layer(true).protect(Leaf::default())))
}

fn budget_leaked() -> Box<dyn Operation> {
    Box::new(Calls(layer(true).leak().protect(Leaf::default())))
}

fn delay() -> Box<dyn Operation> {
    let backoff = Backoff::default();
    Box::new(Steps(move |_| {
        let mut position = Position::START;
        for _ in 0..4 {
            black_box(backoff.next(&mut position, ThreadEntropy.next_u64()));
        }
    }))
}

fn backon_delay() -> Box<dyn Operation> {
    use backon::BackoffBuilder;

    let builder = backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(4)
        .with_jitter();
    Box::new(Steps(move |_| {
        for wait in builder.build() {
            black_box(wait);
        }
    }))
}

pub(super) fn rows() -> Vec<Row> {
    let backon = Side { name: "backon", make: backon_delay };
    vec![
        layer_row("retry/no-retry", "none", no_retry, vec![peers::TOWER_RETRY]),
        layer_row("retry/budget", "own", budget, vec![peers::TOWER_RETRY_BUDGET]),
        layer_row("retry/budget-leaked", "own", budget_leaked, vec![peers::TOWER_RETRY_BUDGET]),
        // Four waits, as one call that fails four times takes them.
        Row { over_bare_call: false, ..layer_row("backoff/delay", "none", delay, vec![backon]) },
    ]
}

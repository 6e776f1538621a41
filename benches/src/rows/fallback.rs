//! The fallback beside seatbelt's.

use seatbelt::ResilienceContext;
use seawall::fallback::{FallbackLayer, Value};
use tower::ServiceBuilder;

use super::{Row, Side, layer_row};
use crate::operation::{Calls, Failed, Leaf, Operation};

fn unused() -> Box<dyn Operation> {
    Box::new(Calls(FallbackLayer::new(Value::new(0)).protect(Leaf::default())))
}

fn unused_leaked() -> Box<dyn Operation> {
    Box::new(Calls(FallbackLayer::new(Value::new(0)).leak().protect(Leaf::default())))
}

fn seatbelt_unused() -> Box<dyn Operation> {
    let context = ResilienceContext::<u64, Result<u64, Failed>>::new(tick::Clock::new_tokio());
    let layer = seatbelt::fallback::Fallback::layer("fallback", &context)
        .should_fallback(Result::is_err)
        .fallback(|_, _| Ok(0));
    Box::new(Calls(ServiceBuilder::new().layer(layer).service(Leaf::default())))
}

pub(super) fn rows() -> Vec<Row> {
    let seatbelt = Side { name: "seatbelt Fallback", make: seatbelt_unused };
    vec![
        layer_row("fallback/unused", "none", unused, vec![seatbelt]),
        layer_row("fallback/unused-leaked", "none", unused_leaked, vec![seatbelt]),
    ]
}

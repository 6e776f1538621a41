//! The bulkhead that keeps places for calls that matter.

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
};

use seawall_bulkhead::{PriorityBulkhead, PriorityBulkheadLayer, Reserve};
use seawall_core::{CallContext, Criticality, Gate, Reason, Run, Timestamp, WrapErrorFuture};

use super::{Count, places, poll, reason};

type Call = std::pin::Pin<
    Box<Run<WrapErrorFuture<std::future::Pending<Result<(), Infallible>>>, PriorityBulkhead, seawall_core::Env>>,
>;

fn call(layer: &PriorityBulkheadLayer, criticality: Criticality, cost: u32) -> Result<Call, Reason> {
    let context = CallContext::new().with_criticality(criticality).with_cost(cost);
    let mut call = Box::pin(layer.run_with(context, pending()));
    match poll(&mut call) {
        Poll::Pending => Ok(call),
        Poll::Ready(refused) => Err(reason(refused)),
    }
}

#[test]
fn each_criticality_takes_what_the_reserve_leaves_it_and_no_more() {
    let layer = PriorityBulkheadLayer::new((places(10), Reserve::default()));
    let mut held = Vec::new();
    let mut fill = |criticality| {
        while let Ok(call) = call(&layer, criticality, 1) {
            held.push(call);
        }
        held.len()
    };

    assert_eq!(fill(Criticality::Sheddable), 8);
    assert_eq!(fill(Criticality::Degraded), 9);
    assert_eq!(fill(Criticality::Default), 10);
    assert_eq!(fill(Criticality::Critical), 10);
}

#[test]
fn what_the_critical_took_counts_against_the_others() {
    let layer = PriorityBulkheadLayer::new((places(10), Reserve::default()));
    let held: Vec<_> = (0..8).map(|_| call(&layer, Criticality::Critical, 1).unwrap()).collect();

    assert_eq!(call(&layer, Criticality::Sheddable, 1).err(), Some(Reason::BulkheadFull));
    drop(held);
    assert!(call(&layer, Criticality::Sheddable, 8).is_ok());
}

#[test]
fn a_call_that_weighs_more_than_its_criticality_may_take_is_too_heavy() {
    let layer = PriorityBulkheadLayer::new((places(10), Reserve::default()));

    assert_eq!(call(&layer, Criticality::Sheddable, 9).err(), Some(Reason::TooHeavy));
    assert!(call(&layer, Criticality::Critical, 9).is_ok());
    layer.gate().close();
    assert_eq!(call(&layer, Criticality::Sheddable, 9).err(), Some(Reason::Closed));
}

#[test]
fn the_reserve_follows_the_limit() {
    let layer = PriorityBulkheadLayer::new((places(10), Reserve::default()));
    layer.gate().set_limit(20).unwrap();

    let held: Vec<_> = std::iter::from_fn(|| call(&layer, Criticality::Sheddable, 1).ok()).collect();

    assert_eq!((held.len(), layer.gate().limit(), layer.gate().in_flight()), (16, 20, 16));
    assert!(!layer.gate().is_idle(|| Timestamp::ZERO));
    drop(held);
    assert!(!layer.gate().is_idle(|| Timestamp::ZERO), "the limit is another one");
    layer.gate().set_limit(10).unwrap();
    assert!(layer.gate().is_idle(|| Timestamp::ZERO));
}

#[test]
fn the_last_call_inside_wakes_who_waits_for_the_drain() {
    let layer = PriorityBulkheadLayer::new((places(10), Reserve::default()));
    let held = call(&layer, Criticality::Default, 1).unwrap();
    let mut drain = pin!(layer.gate().drain());
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(drain.as_mut().poll(&mut cx).is_pending());

    drop(held);

    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(drain.as_mut().poll(&mut cx).is_ready());
}

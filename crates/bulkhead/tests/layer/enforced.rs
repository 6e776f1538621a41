//! Bulkheads of whose refusals only a part is enforced.

use std::{
    convert::Infallible,
    future::{pending, ready},
    task::Poll,
};

use seawall_bulkhead::{Bulkhead, Enforced, Enforcement, Percent, QueueingBulkhead, QueueingBulkheadConfig};
use seawall_core::{Env, GateLayer, Reason, VirtualClock};

use super::{places, poll, reason};

#[test]
fn in_the_shadow_all_go_in_and_places_are_kept_for_those_that_would_have_had_one() {
    let layer: GateLayer<Enforced<Bulkhead>> =
        GateLayer::new(Enforced::new(Bulkhead::new(places(1)), Enforcement::Shadow));

    let mut inside: Vec<_> = (0..3).map(|_| Box::pin(layer.run(pending::<Result<(), Infallible>>()))).collect();
    assert!(inside.iter_mut().all(|call| poll(call).is_pending()));
    assert_eq!((layer.gate().gate().in_flight(), layer.gate().spared()), (1, 2));
    drop(inside.pop());
    assert_eq!(layer.gate().gate().in_flight(), 1, "it held no place");

    layer.gate().enforce(Enforcement::Percent(Percent::new(100).unwrap()));
    let mut refused = Box::pin(layer.run(ready(Ok::<_, Infallible>(()))));
    let Poll::Ready(answer) = poll(&mut refused) else { unreachable!("it is refused at once") };
    assert_eq!(reason(answer), Reason::BulkheadFull);
    inside.clear();
    assert_eq!((layer.gate().gate().in_flight(), layer.gate().spared()), (0, 2));
}

#[test]
fn before_a_queue_those_wait_for_whom_that_is_enforced_and_the_others_go_in_at_once() {
    let clock = VirtualClock::new();
    let gate = QueueingBulkhead::new(QueueingBulkheadConfig::new(places(1)), clock.clone());
    let half = Enforcement::Percent(Percent::new(50).unwrap());
    let layer: GateLayer<Enforced<QueueingBulkhead<VirtualClock>>, _> =
        GateLayer::with_env(Enforced::new(gate, half), Env::new().with_clock(clock));
    let mut first = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    assert!(poll(&mut first).is_pending());

    let mut others: Vec<_> = (0..4).map(|number| Box::pin(layer.run(ready(Ok::<_, Infallible>(number))))).collect();
    let at_once: Vec<bool> = others.iter_mut().map(|call| poll(call).is_ready()).collect();

    assert_eq!(at_once, [false, true, false, true]);
    assert_eq!((layer.gate().gate().queued(), layer.gate().spared()), (2, 2));
    drop(first);
    assert_eq!(poll(&mut others[0]), Poll::Ready(Ok(0)));
    assert_eq!(poll(&mut others[2]), Poll::Ready(Ok(2)));
    assert_eq!(layer.gate().gate().in_flight(), 0);
}

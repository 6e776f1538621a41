//! The bulkhead that refuses at once.

use std::{
    convert::Infallible,
    future::{Future, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
};

use seawall_bulkhead::{Bulkhead, BulkheadLayer, Error};
use seawall_core::{CallContext, Env, KeyedLayer, Reason};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimitLayer, service_fn,
};

use super::{Count, places, poll, reason};

#[tokio::test]
async fn a_call_that_finds_all_places_taken_is_refused_at_once() {
    let layer = BulkheadLayer::new(places(1));
    let mut service = layer.protect(service_fn(|()| pending::<Result<(), Infallible>>()));
    let mut held = Box::pin(service.ready().await.unwrap().call(()));
    assert!(poll(&mut held).is_pending());

    let refused = service.ready().await.unwrap().call(()).await;

    assert_eq!(reason(refused), Reason::BulkheadFull);
    drop(held);
    assert_eq!(layer.gate().in_flight(), 0);
}

#[tokio::test]
async fn a_place_comes_back_however_the_call_ends() {
    let layer = BulkheadLayer::new(places(1));
    let mut service = layer.protect(service_fn(|how: u8| async move {
        match how {
            0 => Ok(()),
            1 => Err("failed"),
            _ => panic!("the service panics"),
        }
    }));

    assert_eq!(service.ready().await.unwrap().call(0).await, Ok(()));
    assert_eq!(service.ready().await.unwrap().call(1).await, Err(Error::Inner("failed")));
    drop(service.ready().await.unwrap().call(0));
    let mut panicking = Box::pin(service.ready().await.unwrap().call(2));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut panicking))).is_err());
    drop(panicking);

    assert_eq!(layer.gate().in_flight(), 0);
}

#[tokio::test]
async fn clones_and_services_of_one_layer_share_the_places() {
    let layer = BulkheadLayer::new(places(1));
    let _held = {
        let mut held = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
        assert!(poll(&mut held).is_pending());
        held
    };
    let one = layer.protect(service_fn(|()| ready(Ok::<_, Infallible>(()))));
    let other = layer.clone().protect(service_fn(|()| ready(Ok::<_, Infallible>(()))));

    assert_eq!(reason(one.clone().oneshot(()).await), Reason::BulkheadFull);
    assert_eq!(reason(other.oneshot(()).await), Reason::BulkheadFull);
}

#[tokio::test]
async fn a_handle_that_was_made_ready_and_left_holds_no_place() {
    let layer = BulkheadLayer::new(places(1));
    let mut idle = layer.protect(service_fn(|()| ready(Ok::<_, Infallible>(()))));
    let mut other = idle.clone();
    let _ = idle.ready().await.unwrap();

    assert_eq!(other.ready().await.unwrap().call(()).await, Ok(()));
}

#[tokio::test]
async fn a_call_takes_as_many_places_as_it_weighs() {
    let env = Env::new().with_attributes(|cost: &u32| CallContext::new().with_cost(*cost));
    let layer = BulkheadLayer::with_env(places(4), env);
    let mut service = layer.protect(service_fn(|_: u32| pending::<Result<(), Infallible>>()));

    let heavy = service.ready().await.unwrap().call(3);
    assert_eq!(layer.gate().in_flight(), 3);
    assert_eq!(reason(service.ready().await.unwrap().call(2).await), Reason::BulkheadFull);
    assert_eq!(reason(service.ready().await.unwrap().call(5).await), Reason::TooHeavy);
    let free = service.ready().await.unwrap().call(0);

    assert_eq!(layer.gate().in_flight(), 4, "what costs nothing still takes a place");
    drop((heavy, free));
    assert_eq!(layer.gate().in_flight(), 0);
}

#[tokio::test]
async fn lowering_the_limit_lets_those_inside_finish() {
    let layer = BulkheadLayer::new(places(3));
    let mut service = layer.protect(service_fn(|()| pending::<Result<(), Infallible>>()));
    let mut held: Vec<_> = Vec::new();
    for _ in 0..3 {
        held.push(service.ready().await.unwrap().call(()));
    }

    layer.gate().set_limit(1).unwrap();

    assert_eq!((layer.gate().limit(), layer.gate().in_flight()), (1, 3));
    held.truncate(1);
    assert_eq!(reason(service.ready().await.unwrap().call(()).await), Reason::BulkheadFull);
    held.clear();
    held.push(service.ready().await.unwrap().call(()));
    assert_eq!(layer.gate().in_flight(), 1);
}

#[test]
fn draining_refuses_new_calls_and_ends_with_the_last_one_inside() {
    let layer = BulkheadLayer::new(places(2));
    let mut held = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    assert!(poll(&mut held).is_pending());
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut drain = pin!(layer.gate().drain());
    assert!(drain.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    let mut refused = Box::pin(layer.run(ready(Ok::<_, Infallible>(()))));
    let Poll::Ready(refused) = poll(&mut refused) else { panic!("a closed bulkhead decides at once") };
    assert_eq!(reason(refused), Reason::Closed);
    assert_eq!(woken.0.load(Relaxed), 0);
    drop(held);

    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(drain.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}

#[tokio::test]
async fn a_tenant_that_fills_its_places_takes_none_of_the_others() {
    let layer = KeyedLayer::<str, _, Bulkhead>::new(100, places(1), String::as_str).unwrap();
    let mut service = layer.protect(service_fn(|_: String| pending::<Result<(), Infallible>>()));
    let _held = service.ready().await.unwrap().call("busy".to_owned());

    let refused = service.ready().await.unwrap().call("busy".to_owned()).await;
    let mut other = Box::pin(service.ready().await.unwrap().call("calm".to_owned()));

    assert_eq!(reason(refused), Reason::BulkheadFull);
    assert!(poll(&mut other).is_pending());
}

#[tokio::test]
async fn a_refused_call_works_under_buffer_and_over_a_concurrency_limit() {
    let layer = BulkheadLayer::new(places(1));
    let inner = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|()| ready(Ok::<_, Infallible>(()))));
    let service = ServiceBuilder::new().layer(BufferLayer::new(8)).service(layer.protect(inner));

    for _ in 0..20 {
        service.clone().oneshot(()).await.unwrap();
    }

    assert_eq!(layer.gate().in_flight(), 0);
}

#[test]
fn layer_and_service_are_printed_with_their_state() {
    let layer = BulkheadLayer::new(places(3));
    let service = layer.layer(());

    assert!(format!("{layer:?} {service:?}").contains("Bulkhead"));
}

//! Both bulkheads as a user stacks them.
use std::{
    convert::Infallible,
    future::{Future, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_bulkhead::{
    Bulkhead, BulkheadConfig, BulkheadLayer, Error, Place, QueueingBulkhead, QueueingBulkheadConfig,
    QueueingBulkheadLayer,
};
use seawall_core::{
    Admission, CallContext, Env, Gate, GateLayer, KeyedLayer, Outcome, Reason, Timestamp, TokioClock, VirtualClock,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimitLayer, service_fn,
};

type QueueingLayer<T> = GateLayer<QueueingBulkhead<T>, Env<T>>;

fn places(max_concurrent: usize) -> BulkheadConfig {
    BulkheadConfig::new(max_concurrent).expect("tests ask for at least one place")
}

fn queueing<T: seawall_core::Timer>(max_concurrent: usize, max_queued: usize, timer: T) -> QueueingLayer<T> {
    let config = QueueingBulkheadConfig::new(places(max_concurrent))
        .with_max_queued(max_queued)
        .and_then(|config| config.with_max_wait(Duration::from_millis(100)))
        .expect("tests ask for a queue and a wait");
    GateLayer::with_env(QueueingBulkhead::new(config, timer.clone()), Env::new().with_clock(timer))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn reason<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> Reason {
    result.expect_err("the call is refused").rejection().expect("by the bulkhead").reason()
}

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

/// Counts its wake-ups.
#[derive(Default)]
struct Count(AtomicU32);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A call that holds its place until dropped.
fn hold<T: seawall_core::Timer>(
    layer: &QueueingLayer<T>,
) -> impl Future<Output = Result<(), Error<Infallible>>> + use<T> {
    layer.run(pending())
}

#[test]
fn waiters_are_served_in_the_order_of_their_arrival_each_with_one_wake_up() {
    let layer = queueing(1, 10, VirtualClock::new());
    let mut first = Box::pin(hold(&layer));
    assert!(poll(&mut first).is_pending());
    let mut waiting: Vec<_> = (0..3).map(|_| (Box::pin(hold(&layer)), Arc::new(Count::default()))).collect();
    for (future, count) in &mut waiting {
        let waker = Waker::from(Arc::clone(count));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let woken =
        |waiting: &[(_, Arc<Count>)]| -> Vec<u32> { waiting.iter().map(|(_, count)| count.0.load(Relaxed)).collect() };

    drop(first);
    assert_eq!(woken(&waiting), [1, 0, 0]);
    drop(waiting.remove(0));
    assert_eq!(woken(&waiting), [1, 0]);
    drop(waiting.remove(0));
    assert_eq!(woken(&waiting), [1]);
    waiting.clear();

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (0, 0));
}

#[test]
fn nobody_passes_the_queue_not_even_while_a_place_is_being_handed_over() {
    let layer = queueing(1, 10, VirtualClock::new());
    let mut first = Box::pin(hold(&layer));
    assert!(poll(&mut first).is_pending());
    let mut second = Box::pin(hold(&layer));
    assert!(poll(&mut second).is_pending());
    drop(first);

    let mut late = Box::pin(hold(&layer));
    assert!(poll(&mut late).is_pending());

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (1, 1), "the place is the second call's");
}

#[test]
fn a_waiter_is_refused_when_its_time_is_up_and_not_before() {
    let clock = VirtualClock::new();
    let layer = queueing(1, 10, clock.clone());
    let mut held = Box::pin(hold(&layer));
    assert!(poll(&mut held).is_pending());
    let mut waiting = Box::pin(hold(&layer));
    assert!(poll(&mut waiting).is_pending());

    clock.advance(Duration::from_nanos(99_999_999));
    assert!(poll(&mut waiting).is_pending());
    clock.advance(Duration::from_nanos(1));

    let Poll::Ready(refused) = poll(&mut waiting) else { panic!("its time is up") };
    assert_eq!(reason(refused), Reason::QueueTimeout);
    assert_eq!((layer.gate().queued(), clock.sleeping()), (0, 0));
}

#[test]
fn a_place_that_comes_free_as_time_runs_out_is_taken() {
    let clock = VirtualClock::new();
    let layer = queueing(1, 10, clock.clone());
    let mut held = Box::pin(hold(&layer));
    assert!(poll(&mut held).is_pending());
    let mut waiting = Box::pin(layer.run(ready(Ok::<_, Infallible>(7))));
    assert!(poll(&mut waiting).is_pending());
    clock.advance(Duration::from_secs(1));

    drop(held);

    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(7)));
}

#[test]
fn a_call_waits_no_longer_than_its_deadline() {
    let clock = VirtualClock::new();
    let layer = queueing(1, 10, clock.clone());
    let mut held = Box::pin(hold(&layer));
    assert!(poll(&mut held).is_pending());
    let soon = CallContext::new().with_deadline(Timestamp::from_nanos(5));
    let mut waiting = Box::pin(layer.run_with(soon, pending::<Result<(), Infallible>>()));
    assert!(poll(&mut waiting).is_pending());

    clock.advance(Duration::from_nanos(5));

    assert!(poll(&mut waiting).is_ready());
}

#[test]
fn a_full_queue_refuses_at_once() {
    let layer = queueing(1, 1, VirtualClock::new());
    let mut held: Vec<_> = (0..2).map(|_| Box::pin(hold(&layer))).collect();
    assert!(held.iter_mut().all(|held| poll(held).is_pending()));

    let Poll::Ready(refused) = poll(&mut Box::pin(hold(&layer))) else { panic!("there is no room to wait") };

    assert_eq!(reason(refused), Reason::QueueFull);
}

#[test]
fn a_light_call_does_not_pass_a_heavy_one_and_follows_when_that_one_leaves() {
    let layer = queueing(3, 10, VirtualClock::new());
    let weigh =
        |cost| Box::pin(layer.run_with(CallContext::new().with_cost(cost), pending::<Result<(), Infallible>>()));
    let mut inside = weigh(2);
    let mut heavy = weigh(3);
    let mut light = weigh(1);
    assert!(poll(&mut inside).is_pending());
    assert!(poll(&mut heavy).is_pending());
    assert!(poll(&mut light).is_pending());
    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (2, 2));

    drop(heavy);

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (3, 0));
}

#[test]
fn a_waiter_that_a_lower_limit_leaves_too_heavy_is_told_so() {
    let layer = queueing(3, 10, VirtualClock::new());
    let weigh =
        |cost| Box::pin(layer.run_with(CallContext::new().with_cost(cost), pending::<Result<(), Infallible>>()));
    let (mut inside, mut heavy) = (weigh(1), weigh(3));
    assert!(poll(&mut inside).is_pending());
    assert!(poll(&mut heavy).is_pending());

    layer.gate().set_limit(2).unwrap();

    let Poll::Ready(refused) = poll(&mut heavy) else { panic!("it can never be served") };
    assert_eq!(reason(refused), Reason::TooHeavy);
}

#[test]
fn raising_the_limit_serves_those_who_wait() {
    let layer = queueing(1, 10, VirtualClock::new());
    let mut calls: Vec<_> = (0..4).map(|_| Box::pin(hold(&layer))).collect();
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));

    layer.gate().set_limit(3).unwrap();

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (3, 1));
}

#[test]
fn closing_refuses_those_who_wait_and_draining_ends_with_those_inside() {
    let layer = queueing(1, 10, VirtualClock::new());
    let mut inside = Box::pin(hold(&layer));
    let mut waiting = Box::pin(hold(&layer));
    assert!(poll(&mut inside).is_pending());
    assert!(poll(&mut waiting).is_pending());
    let mut drain = Box::pin(layer.gate().drain());

    let Poll::Ready(refused) = poll(&mut waiting) else { panic!("nobody will be served any more") };
    assert_eq!(reason(refused), Reason::Closed);
    assert!(poll(&mut drain).is_pending());
    drop(inside);
    assert!(poll(&mut drain).is_ready());
}

#[test]
fn a_drain_is_told_of_the_last_call_also_where_calls_may_wait() {
    let layer = queueing(1, 10, VirtualClock::new());
    let mut inside = Box::pin(hold(&layer));
    assert!(poll(&mut inside).is_pending());
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut drain = pin!(layer.gate().drain());
    assert!(drain.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    drop(inside);

    assert_eq!(woken.0.load(Relaxed), 1);
}

#[test]
fn a_bulkhead_is_idle_while_nobody_is_inside_and_its_limit_is_the_first_one() {
    let layer = queueing(2, 10, VirtualClock::new());
    let idle = || layer.gate().is_idle(|| Timestamp::ZERO);
    assert!(idle());

    let mut inside = Box::pin(hold(&layer));
    assert!(poll(&mut inside).is_pending());
    assert!(!idle());
    drop(inside);
    assert!(idle());

    layer.gate().set_limit(3).unwrap();
    assert!(!idle());
}

#[test]
fn a_waiter_whose_last_waker_holds_a_place_wedges_nothing() {
    struct Holds(QueueingLayer<VirtualClock>, Option<Place>);
    impl std::task::Wake for Holds {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Holds {
        fn drop(&mut self) {
            let place = self.1.take().expect("it is dropped once");
            self.0.gate().finish(place, Outcome::Cancelled, || Timestamp::ZERO);
        }
    }
    let layer = queueing(1, 10, VirtualClock::new());
    let Admission::Admitted(place) = layer.gate().admit(CallContext::default, || Timestamp::ZERO) else {
        panic!("nobody is inside")
    };
    let holds = Waker::from(Arc::new(Holds(layer.clone(), Some(place))));
    let mut waiting = Box::pin(hold(&layer));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&holds)).is_pending());
    drop(holds);

    assert!(poll(&mut waiting).is_pending());

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (1, 0), "the place is the waiter's now");
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_by_itself_on_tokios_timer() {
    let layer = queueing(1, 10, TokioClock);
    let held = layer.run(pending::<Result<(), Infallible>>());
    let waiting = layer.run(ready(Ok::<_, Infallible>(())));

    let waited = tokio::select! { biased; _ = held => unreachable!("it never ends"), waited = waiting => waited };

    assert_eq!(reason(waited), Reason::QueueTimeout);
}

#[tokio::test]
async fn a_waiting_bulkhead_over_a_concurrency_limit_does_not_deadlock_with_kept_handles() {
    let layer = QueueingBulkheadLayer::new(QueueingBulkheadConfig::new(places(2)));
    let inner = ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(1)).service(service_fn(|()| async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(())
    }));
    let service = layer.protect(inner);
    let mut handles: Vec<_> = (0..50).map(|_| service.clone()).collect();
    for handle in &mut handles {
        handle.ready().await.unwrap();
    }

    let calls: Vec<_> = handles.iter_mut().map(|handle| handle.call(())).collect();
    let mut answers = 0;
    for call in calls.into_iter().map(|call| tokio::spawn(call)).collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), Ok(()));
        answers += 1;
    }

    assert_eq!((answers, layer.gate().in_flight()), (50, 0));
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
fn dropping_a_waiter_at_any_point_leaves_nothing_held() {
    let clock = VirtualClock::new();
    let layer = queueing(2, 5, clock.clone());
    let mut random = 88_172_645_463_325_252_u64;
    let mut live = Vec::new();

    for _ in 0..100_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 5 {
            0 | 1 => live.push(Box::pin(hold(&layer))),
            2 if !live.is_empty() => drop(live.swap_remove(usize::try_from(random >> 32).unwrap() % live.len())),
            3 => clock.advance(Duration::from_millis(random >> 60)),
            _ => live.retain_mut(|call| poll(call).is_pending()),
        }
        assert!(layer.gate().in_flight() <= 2 && layer.gate().queued() <= 5);
    }
    drop(live);

    assert_eq!((layer.gate().in_flight(), layer.gate().queued(), clock.sleeping()), (0, 0, 0));
    assert!(poll(&mut Box::pin(layer.run(ready(Ok::<_, Infallible>(()))))).is_ready());
}

#[test]
fn layer_and_service_are_printed_with_their_state() {
    let layer = BulkheadLayer::new(places(3));
    let service = layer.layer(());

    assert!(format!("{layer:?} {service:?}").contains("Bulkhead"));
}

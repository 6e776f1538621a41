//! The bulkhead that lets calls wait, first come, first served.

use std::{
    convert::Infallible,
    future::{Future, pending, ready},
    pin::pin,
    sync::{Arc, RwLock, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_bulkhead::{QueueingBulkhead, QueueingBulkheadConfig, QueueingBulkheadLayer};
use seawall_core::{CallContext, Env, Gate, GateLayer, Observer, Reason, Timestamp, TokioClock, VirtualClock};
use tower::{Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

use super::{Count, hold, places, poll, queueing, reason};

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
    clock.advance(Duration::from_millis(100));

    drop(held);

    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(7)));
}

#[test]
fn a_place_that_comes_free_later_goes_to_nobody_whose_time_was_up() {
    let clock = VirtualClock::new();
    let layer = queueing(1, 10, clock.clone());
    let mut held = Box::pin(hold(&layer));
    assert!(poll(&mut held).is_pending());
    let mut forgotten = Box::pin(layer.run(ready(Ok::<_, Infallible>(7))));
    assert!(poll(&mut forgotten).is_pending());
    clock.advance(Duration::from_millis(60));
    let mut waiting = Box::pin(layer.run(ready(Ok::<_, Infallible>(8))));
    assert!(poll(&mut waiting).is_pending());
    clock.advance(Duration::from_millis(41));

    drop(held);

    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(8)));
    let Poll::Ready(refused) = poll(&mut forgotten) else { panic!("its time is up") };
    assert_eq!(reason(refused), Reason::QueueTimeout);
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

/// Keeps how long each call waited.
#[derive(Clone, Default)]
struct Waits(Arc<RwLock<Vec<Duration>>>);

impl Observer for Waits {
    const PER_CALL: bool = true;

    fn on_wait(&self, waited: Duration) {
        self.0.write().expect("nobody panicked").push(waited);
    }
}

#[tokio::test]
async fn the_observer_hears_how_long_each_call_waited_that_was_let_in_out_of_the_queue() {
    let (clock, waits) = (VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000)), Waits::default());
    let config = QueueingBulkheadConfig::new(places(1)).with_max_wait(Duration::from_millis(50)).unwrap();
    let env = Env::new().with_clock(clock.clone()).with_observer(waits.clone());
    let layer: GateLayer<QueueingBulkhead<VirtualClock>, _> =
        GateLayer::with_env(QueueingBulkhead::new(config, clock.clone()), env);
    let mut service = layer.protect(service_fn(|()| pending::<Result<(), Infallible>>()));
    let mut first = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    let mut second = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    let mut late = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    let mut third = Box::pin(service.ready().await.unwrap().call(()));
    assert!(poll(&mut third).is_pending() && poll(&mut late).is_pending());

    clock.advance(Duration::from_millis(30));
    drop(first);
    assert!(poll(&mut second).is_pending());
    clock.advance(Duration::from_millis(10));
    drop(second);
    assert!(poll(&mut third).is_pending());
    clock.advance(Duration::from_millis(10));
    assert!(poll(&mut late).is_ready(), "its time is up");

    assert_eq!(*waits.0.read().unwrap(), [30, 40].map(Duration::from_millis));
}

#[test]
fn a_full_queue_refuses_at_once() {
    let layer = queueing(1, 1, VirtualClock::new());
    let mut held: Vec<_> = (0..2).map(|_| Box::pin(hold(&layer))).collect();
    assert!(held.iter_mut().all(|held| poll(held).is_pending()));

    let Poll::Ready(refused) = poll(&mut Box::pin(hold(&layer))) else { panic!("there is no room to wait") };

    let rejection = refused.unwrap_err().rejection().copied().unwrap();
    assert_eq!((rejection.reason(), rejection.queued()), (Reason::QueueFull, Some(1)));
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

//! The queue before the shedder, as a user stacks it.
mod deadlines;
mod enforcement;

use std::{
    convert::Infallible,
    future::{Future, Pending, pending, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Class, Clock, Criticality, Env, Gate, GateLayer, Outcome, Reason, Timer, Timestamp,
    VirtualClock,
};
use seawall_load_shedder::{
    Error, Fixed, LoadShedder, LoadShedderError, NewestFirst, QueueDiscipline, QueueingLoadShedder,
    QueueingShedderConfig,
};
use tower::{Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

type Layer = GateLayer<QueueingLoadShedder<Fixed, VirtualClock>, Env<VirtualClock>>;

fn queueing(limit: u32, max_queued: usize) -> (Layer, VirtualClock) {
    configured(limit, QueueingShedderConfig::default().with_max_queued(max_queued).expect("tests ask for a queue"))
}

fn configured(limit: u32, config: QueueingShedderConfig) -> (Layer, VirtualClock) {
    // Away from zero, where the queue has only just been empty.
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000));
    let fixed = Fixed::new(limit).expect("tests ask for at least one");
    let gate = QueueingLoadShedder::with_algorithm(fixed, config, clock.clone());
    (GateLayer::with_env(gate, Env::new().with_clock(clock.clone())), clock)
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn reason<T: std::fmt::Debug>(polled: Poll<Result<T, Error<Infallible>>>) -> Reason {
    let Poll::Ready(result) = polled else { unreachable!("it is decided") };
    result.expect_err("it is refused").rejection().expect("by the shedder").reason()
}

/// Stands still, and nobody sleeps on it: it owns no waker.
#[derive(Clone)]
struct Sleepless;

impl Clock for Sleepless {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000)
    }
}

impl Timer for Sleepless {
    type Sleep = Pending<()>;

    fn sleep_until(&self, _: Timestamp) -> Pending<()> {
        pending()
    }
}

type Call = Pin<Box<dyn Future<Output = Result<(), Error<Infallible>>>>>;

/// A call that stays inside until dropped; polled once.
fn call(layer: &Layer, criticality: Criticality) -> Call {
    let context = CallContext::new().with_criticality(criticality);
    let mut call: Call = Box::pin(layer.run_with(context, pending::<Result<(), Infallible>>()));
    assert!(poll(&mut call).is_pending());
    call
}

fn usual(layer: &Layer) -> Call {
    call(layer, Criticality::Default)
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn room_goes_to_the_oldest_while_the_queue_drains_now_and_then() {
    let (layer, clock) = queueing(1, 10);
    let inside = usual(&layer);
    let mut oldest = Box::pin(layer.run(ready(Ok::<_, Infallible>(1))));
    assert!(poll(&mut oldest).is_pending());
    clock.advance(MILLISECOND);
    let _newest = usual(&layer);

    drop(inside);

    assert_eq!(poll(&mut oldest), Poll::Ready(Ok(1)));
}

#[test]
fn under_overload_room_goes_to_the_newest_and_those_who_waited_long_are_refused() {
    let (layer, clock) = queueing(1, 10);
    let inside = usual(&layer);
    // The queue is not empty for more than 20 ms.
    let mut waiting = Vec::new();
    for _ in 0..15 {
        waiting.push(usual(&layer));
        clock.advance(Duration::from_millis(2));
        waiting.retain_mut(|call| poll(call).is_pending());
    }
    let mut newest = Box::pin(layer.run(ready(Ok::<_, Infallible>(1))));
    assert!(poll(&mut newest).is_pending());

    drop(inside);

    assert_eq!(poll(&mut newest), Poll::Ready(Ok(1)));
    waiting.retain_mut(|call| poll(call).is_pending());
    assert!(waiting.len() <= 3, "{} have waited longer than 5 ms", waiting.len());
}

#[test]
fn the_newest_goes_first_when_it_was_asked_to() {
    // Who is served of two that came at these times, after others whose time is up.
    let served = |newest_first, came: [u64; 2], at: u64| {
        let config = QueueingShedderConfig::default().with_delay(20 * MILLISECOND, 20 * MILLISECOND).unwrap();
        let (layer, clock) = configured(1, config.with_newest_first(newest_first));
        let inside = usual(&layer);
        let mut first = usual(&layer);
        let wait = |from: u64, to: u64| clock.advance(MILLISECOND * u32::try_from(to - from).unwrap());
        wait(0, came[0]);
        let mut older = Box::pin(layer.run(ready(Ok::<_, Infallible>("older"))));
        assert!(poll(&mut older).is_pending());
        wait(came[0], came[1]);
        let mut newer = Box::pin(layer.run(ready(Ok::<_, Infallible>("newer"))));
        assert!(poll(&mut newer).is_pending());
        wait(came[1], at);
        if at > 20 {
            assert_eq!(reason(poll(&mut first)), Reason::Overloaded);
        } else {
            drop(first);
        }
        drop(inside);
        [poll(&mut older), poll(&mut newer)]
            .into_iter()
            .find_map(|turn| match turn {
                Poll::Ready(Ok(name)) => Some(name),
                _ => None,
            })
            .expect("there is room for one")
    };

    let calm = |newest_first| served(newest_first, [1, 4], 5);
    let overload = |newest_first| served(newest_first, [10, 24], 25);

    assert_eq!(
        [NewestFirst::Always, NewestFirst::UnderOverload, NewestFirst::Never].map(calm),
        ["newer", "older", "older"]
    );
    assert_eq!(
        [NewestFirst::Always, NewestFirst::UnderOverload, NewestFirst::Never].map(overload),
        ["newer", "newer", "older"]
    );
}

#[test]
fn room_goes_to_tenants_by_their_weights_from_the_moment_they_are_set() {
    let (layer, _) = queueing(1, 100);
    let inside = usual(&layer);
    let of = |tenant| CallContext::new().with_tenant(tenant);
    let mut waiting: Vec<_> = (0..48)
        .map(|call| Box::pin(layer.run_with(of(call % 2 + 1), ready(Ok::<_, Infallible>(call % 2 + 1)))))
        .collect();
    waiting.retain_mut(|call| poll(call).is_pending());
    assert_eq!(waiting.len(), 48);

    layer.gate().set_weights([(1, 3)]).unwrap();
    assert_eq!(
        layer.gate().set_weights([(1, 1), (2, 1_001)]).map_err(|error| error.to_string()),
        Err("the weight of tenant 2 is 1001; allowed are 1 to 1000".to_owned())
    );
    drop(inside);

    let mut served = Vec::new();
    while !waiting.is_empty() {
        waiting.retain_mut(|call| match poll(call) {
            Poll::Ready(tenant) => {
                served.push(tenant.expect("there is room for all, one after another"));
                false
            }
            Poll::Pending => true,
        });
    }
    let heavy = served.iter().take(24).filter(|tenant| **tenant == 1).count();
    assert!((17..=19).contains(&heavy), "{served:?}");
}

#[test]
fn a_call_waits_twenty_milliseconds_and_no_longer() {
    let (layer, clock) = queueing(1, 10);
    let _inside = usual(&layer);
    let mut waiting = usual(&layer);

    clock.advance(Duration::from_nanos(19_999_999));
    assert!(poll(&mut waiting).is_pending());
    clock.advance(Duration::from_nanos(1));

    assert_eq!(reason(poll(&mut waiting)), Reason::Overloaded);
    assert_eq!((layer.gate().queued(), clock.sleeping()), (0, 0));
}

fn of_tenant(layer: &Layer) -> Call {
    let mut call: Call =
        Box::pin(layer.run_with(CallContext::new().with_tenant(7), pending::<Result<(), Infallible>>()));
    assert!(poll(&mut call).is_pending());
    call
}

/// How long one that waits is let wait, to the millisecond.
fn wait_of(mut call: Call, clock: &VirtualClock) -> Duration {
    let since = clock.now();
    loop {
        let polled = poll(&mut call);
        if polled.is_ready() {
            assert_eq!(reason(polled), Reason::Overloaded);
            return clock.now().since(since);
        }
        clock.advance(MILLISECOND);
    }
}

#[test]
fn a_tenant_that_is_told_apart_waits_for_its_turn_through_the_bursts_of_others() {
    let (layer, clock) = queueing(1, 10);
    let _inside = usual(&layer);

    assert_eq!(wait_of(usual(&layer), &clock), 20 * MILLISECOND);
    assert_eq!(wait_of(of_tenant(&layer), &clock), 500 * MILLISECOND);
}

/// Has one come every `apart`, so many times; how long the next is let wait.
fn wait_behind(times: u32, apart: Duration, layer: &Layer, clock: &VirtualClock) -> Duration {
    let mut waiting = Vec::new();
    for _ in 0..times {
        waiting.retain_mut(|call| poll(call).is_pending());
        waiting.push(of_tenant(layer));
        clock.advance(apart);
    }
    wait_of(of_tenant(layer), clock)
}

#[test]
fn a_tenant_whose_line_has_not_been_empty_for_a_second_is_under_overload() {
    let wait = |times| {
        let (layer, clock) = queueing(1, 10);
        let _inside = usual(&layer);
        wait_behind(times, 100 * MILLISECOND, &layer, &clock)
    };

    assert_eq!((wait(10), wait(11)), (500 * MILLISECOND, 5 * MILLISECOND));
}

/// Ten times ten calls that took so long.
fn ten_by_ten(layer: &Layer, clock: &VirtualClock, latency: Duration, outcome: Outcome) {
    for _ in 0..10 {
        let inside: Vec<_> = (0..10).map(|_| layer.gate().admit(CallContext::new, || clock.now())).collect();
        clock.advance(latency);
        for admission in inside {
            let Admission::Admitted(passage) = admission else { unreachable!("there is room") };
            layer.gate().finish(passage, outcome, || clock.now());
        }
    }
}

#[test]
fn before_a_slow_server_a_tenant_waits_as_long_as_three_calls_take_or_as_was_asked() {
    let wait = |config: QueueingShedderConfig| {
        let (layer, clock) = configured(10, config.with_max_queued(100).unwrap());
        ten_by_ten(&layer, &clock, Duration::from_secs(1), Outcome::Finished(Class::Success));
        let _full: Vec<_> = (0..10).map(|_| usual(&layer)).collect();
        let calm = wait_of(of_tenant(&layer), &clock);
        [calm, wait_behind(7, Duration::from_secs(1), &layer, &clock)]
    };
    let config = QueueingShedderConfig::default();

    assert_eq!(wait(config), [3_000 * MILLISECOND, 250 * MILLISECOND]);
    assert_eq!(wait(config.with_tenant_patience(0).unwrap()), [500 * MILLISECOND, 500 * MILLISECOND]);
    assert_eq!(config.with_tenant_patience(101), Err(LoadShedderError::TenantPatience { calls: 101 }));
}

#[test]
fn before_a_server_that_hangs_nobody_waits_longer_than_for_calls_of_three_seconds() {
    let config = QueueingShedderConfig::default().with_max_queued(1_000).unwrap();
    let (layer, clock) = configured(10, config);
    ten_by_ten(&layer, &clock, Duration::from_secs(30), Outcome::TimedOut);
    let _full: Vec<_> = (0..10).map(|_| usual(&layer)).collect();
    let _above_the_limit = call(&layer, Criticality::Critical);

    let tenant = wait_of(of_tenant(&layer), &clock);
    let critical = wait_of(call(&layer, Criticality::Critical), &clock);
    let under_overload = wait_behind(19, Duration::from_secs(1), &layer, &clock);

    assert_eq!([tenant, critical, under_overload], [9_000, 6_000, 750].map(|millis| millis * MILLISECOND));
}

#[test]
fn the_most_critical_is_served_first_and_the_least_critical_makes_room_in_a_full_queue() {
    let (layer, _clock) = queueing(1, 2);
    let inside = usual(&layer);
    let reserve = call(&layer, Criticality::Critical);
    let mut sheddable = call(&layer, Criticality::Sheddable);
    let _usual = usual(&layer);
    let mut critical: Call = Box::pin(
        layer.run_with(CallContext::new().with_criticality(Criticality::Critical), ready(Ok::<_, Infallible>(()))),
    );
    assert!(poll(&mut critical).is_pending());

    assert_eq!(reason(poll(&mut sheddable)), Reason::Overloaded);
    let mut late: Call = Box::pin(
        layer.run_with(CallContext::new().with_criticality(Criticality::Sheddable), ready(Ok::<_, Infallible>(()))),
    );
    assert_eq!(reason(poll(&mut late)), Reason::Overloaded, "all who wait matter more");
    drop((inside, reserve));

    assert_eq!(poll(&mut critical), Poll::Ready(Ok(())));
}

#[test]
fn nobody_passes_those_who_wait() {
    let (layer, _clock) = queueing(1, 10);
    let inside = usual(&layer);
    let _waiting = usual(&layer);
    drop(inside);

    let _late = usual(&layer);

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (1, 1));
}

#[test]
fn a_raised_limit_serves_those_who_wait() {
    let (layer, _clock) = queueing(1, 10);
    let _calls: Vec<_> = (0..4).map(|_| usual(&layer)).collect();

    layer.gate().adjust(|fixed| fixed.set(3)).unwrap();

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (3, 1));
}

#[test]
fn a_waiter_is_woken_once_when_its_turn_comes() {
    #[derive(Default)]
    struct Count(AtomicU32);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let (layer, _clock) = queueing(1, 10);
    let inside = usual(&layer);
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut waiting = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    drop(inside);

    assert_eq!(woken.0.load(Relaxed), 1);
}

#[test]
fn a_waker_that_is_replaced_goes_when_the_line_is_free_again() {
    /// Looks at the line when its last owner lets it go.
    struct Nosy {
        layer: GateLayer<QueueingLoadShedder<Fixed, Sleepless>, Env<Sleepless>>,
        seen: Arc<AtomicU32>,
    }
    impl std::task::Wake for Nosy {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            // On a thread of its own: where the line is locked this one stays behind, and the test ends all the same.
            let (layer, (tell, told)) = (self.layer.clone(), std::sync::mpsc::channel());
            std::thread::spawn(move || tell.send(layer.gate().queued()));
            if let Ok(queued) = told.recv_timeout(Duration::from_secs(10)) {
                self.seen.store(u32::try_from(queued).unwrap_or(u32::MAX), Relaxed);
            }
        }
    }
    let config = QueueingShedderConfig::default();
    let gate = QueueingLoadShedder::with_algorithm(Fixed::new(1).unwrap(), config, Sleepless);
    let layer = GateLayer::with_env(gate, Env::new().with_clock(Sleepless));
    let mut inside = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    assert!(poll(&mut inside).is_pending());
    let seen = Arc::new(AtomicU32::new(0));
    let nosy = Waker::from(Arc::new(Nosy { layer: layer.clone(), seen: Arc::clone(&seen) }));
    let mut waiting = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&nosy)).is_pending());
    drop(nosy);

    assert!(poll(&mut waiting).is_pending());

    assert_eq!(seen.load(Relaxed), 1, "it could not look");
}

#[test]
fn before_a_slow_server_nobody_but_the_critical_waits_longer_than_the_interval() {
    let (layer, clock) = queueing(1, 10);
    warm(layer.gate(), &clock, 100 * MILLISECOND);
    let _inside = usual(&layer);
    clock.advance(MILLISECOND);
    let _above_the_limit = call(&layer, Criticality::Critical);
    let (mut waiting, mut critical) = (usual(&layer), call(&layer, Criticality::Critical));

    clock.advance(19 * MILLISECOND);
    assert!(poll(&mut waiting).is_pending());
    clock.advance(MILLISECOND);

    assert_eq!(reason(poll(&mut waiting)), Reason::Overloaded);
    assert!(poll(&mut critical).is_pending());
}

#[test]
fn behind_rfc_8289s_queue_nobody_waits_for_ever_before_a_server_that_hangs() {
    let (layer, clock) = configured(1, QueueingShedderConfig::default().with_discipline(QueueDiscipline::CoDel));
    let _inside = usual(&layer);
    let mut waiting = usual(&layer);

    clock.advance(199 * MILLISECOND);
    assert!(poll(&mut waiting).is_pending());
    clock.advance(MILLISECOND);

    assert_eq!(reason(poll(&mut waiting)), Reason::Overloaded);
    assert_eq!(layer.gate().queued(), 0);
}

#[test]
fn what_exempt_calls_take_says_nothing_of_the_others() {
    let (layer, clock) = queueing(10, 10);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(10).unwrap());
    let exempt = || CallContext::new().with_exempt(true);
    warm_with(layer.gate(), &clock, 100 * MILLISECOND, exempt);
    warm_with(&failing_fast, &clock, 100 * MILLISECOND, exempt);
    let hurried = || CallContext::new().with_deadline(clock.now().saturating_add(MILLISECOND));

    assert!(matches!(layer.gate().admit(hurried, || clock.now()), Admission::Admitted(_)));
    assert!(matches!(failing_fast.admit(hurried, || clock.now()), Admission::Admitted(_)));
}

#[tokio::test]
async fn a_queueing_shedder_over_a_concurrency_limit_does_not_deadlock_with_kept_handles() {
    let layer = seawall_load_shedder::QueueingLoadShedderLayer::new(QueueingShedderConfig::default());
    let inner = ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(1)).service(service_fn(|()| async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(())
    }));
    let service = layer.protect(inner);
    let mut handles: Vec<_> = (0..50).map(|_| service.clone()).collect();
    for handle in &mut handles {
        handle.ready().await.unwrap();
    }

    let calls: Vec<_> = handles.iter_mut().map(|handle| tokio::spawn(handle.call(()))).collect();
    for call in calls {
        let answer = call.await.unwrap();
        assert!(matches!(answer, Ok(()) | Err(Error::Rejected(_))));
    }

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (0, 0));
}

#[test]
fn dropping_a_waiter_at_any_point_leaves_nothing_held() {
    let (layer, clock) = queueing(2, 5);
    let mut random = 88_172_645_463_325_252_u64;
    let mut live = Vec::new();

    for _ in 0..100_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 5 {
            0 | 1 => {
                let criticality = [Criticality::Sheddable, Criticality::Default, Criticality::Critical];
                let context =
                    CallContext::new().with_criticality(criticality[usize::try_from(random >> 40).unwrap() % 3]);
                live.push(Box::pin(layer.run_with(context, pending::<Result<(), Infallible>>())));
            }
            2 if !live.is_empty() => drop(live.swap_remove(usize::try_from(random >> 32).unwrap() % live.len())),
            3 => clock.advance(Duration::from_millis(random >> 61)),
            _ => live.retain_mut(|call| poll(call).is_pending()),
        }
        // One more than the limit is kept for the critical.
        assert!(layer.gate().in_flight() <= 3 && layer.gate().queued() <= 5);
    }
    drop(live);

    assert_eq!((layer.gate().in_flight(), layer.gate().queued(), clock.sleeping()), (0, 0, 0));
    assert!(poll(&mut Box::pin(layer.run(ready(Ok::<_, Infallible>(()))))).is_ready());
}

/// Calls that took so long, until windows have shown it.
fn warm<G: Gate>(gate: &G, clock: &VirtualClock, latency: Duration) {
    warm_with(gate, clock, latency, CallContext::new);
}

/// The same for calls of this context.
fn warm_with<G: Gate>(gate: &G, clock: &VirtualClock, latency: Duration, context: fn() -> CallContext) {
    for _ in 0..2_000 {
        if let Admission::Admitted(ticket) = gate.admit(context, || clock.now()) {
            clock.advance(latency);
            gate.finish(ticket, Outcome::Finished(Class::Success), || clock.now());
        }
    }
}

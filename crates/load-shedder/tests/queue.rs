//! The queue before the shedder, and the throttle, as a user stacks them.
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
    Admission, CallContext, Class, Clock, Criticality, Enforced, Env, Gate, GateLayer, Outcome, Pattern, Reason,
    Rejection, SeededEntropy, Timer, Timestamp, VirtualClock,
};
use seawall_load_shedder::{
    Enforcement, Error, Fixed, LimitAlgorithm, LoadShedder, LoadShedderError, NewestFirst, Percent, QueueDiscipline,
    QueueingLoadShedder, QueueingShedderConfig, Throttle, ThrottleConfig, Window, WindowSize,
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
fn a_call_does_not_wait_past_its_deadline() {
    let (layer, clock) = queueing(1, 10);
    let _inside = usual(&layer);
    let soon = CallContext::new().with_deadline(clock.now().saturating_add(MILLISECOND));
    let mut waiting = Box::pin(layer.run_with(soon, pending::<Result<(), Infallible>>()));
    assert!(poll(&mut waiting).is_pending());

    clock.advance(MILLISECOND);

    assert_eq!(reason(poll(&mut waiting)), Reason::Overloaded);
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
fn by_deadline_the_nearest_is_served_first_the_farthest_makes_room_and_what_comes_too_late_is_not_run() {
    let config = QueueingShedderConfig::default().with_discipline(QueueDiscipline::EarliestDeadlineFirst);
    let (layer, clock) = configured(1, config.with_max_queued(3).unwrap());
    warm(layer.gate(), &clock, 2 * MILLISECOND);
    let inside = usual(&layer);
    let run = std::cell::RefCell::new(Vec::new());
    let call = |name, left: Option<u32>| {
        let context = left.map_or_else(CallContext::new, |left| {
            CallContext::new().with_deadline(clock.now().saturating_add(left * MILLISECOND))
        });
        let run = &run;
        let mut call = Box::pin(layer.run_with(context, async move {
            run.borrow_mut().push(name);
            Ok::<_, Infallible>(())
        }));
        let polled = poll(&mut call);
        (call, polled)
    };

    let (mut whenever, _) = call("whenever", None);
    let (mut in_fifteen, _) = call("in 15 ms", Some(15));
    let (mut in_four, _) = call("in 4 ms", Some(4));
    let (_, also_whenever) = call("also whenever", None);
    let (mut in_twelve, _) = call("in 12 ms", Some(12));
    assert_eq!(reason(also_whenever), Reason::Overloaded, "it would be served last");
    assert_eq!(reason(poll(&mut whenever)), Reason::Overloaded, "it makes room");
    clock.advance(3 * MILLISECOND);
    drop(inside);
    assert!(poll(&mut in_fifteen).is_pending());
    assert_eq!(reason(poll(&mut in_four)), Reason::Overloaded);
    assert!(poll(&mut in_twelve).is_ready() && poll(&mut in_fifteen).is_ready());

    assert_eq!(*run.borrow(), ["in 12 ms", "in 15 ms"]);
    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (0, 0));
}

#[test]
fn by_deadline_a_newcomer_of_another_tenant_or_more_critical_is_taken_in_though_its_deadline_is_farther() {
    let config = QueueingShedderConfig::default().with_discipline(QueueDiscipline::EarliestDeadlineFirst);
    let in_ms =
        |left: u32| CallContext::new().with_deadline(Timestamp::ZERO.saturating_add((1_000 + left) * MILLISECOND));
    for (waiting, newcomer) in [
        (in_ms(10).with_tenant(1), in_ms(15).with_tenant(2)),
        (in_ms(10).with_criticality(Criticality::Sheddable), in_ms(15)),
    ] {
        let (layer, _clock) = configured(1, config.with_max_queued(2).unwrap());
        let _inside = usual(&layer);
        let [mut first, mut last, mut newcomer] = [waiting, waiting, newcomer]
            .map(|context| Box::pin(layer.run_with(context, ready(Ok::<_, Infallible>(())))));
        assert!(poll(&mut first).is_pending() && poll(&mut last).is_pending());

        assert!(poll(&mut newcomer).is_pending());
        let refused = [poll(&mut first), poll(&mut last)].iter().filter(|polled| polled.is_ready()).count();
        assert_eq!((refused, layer.gate().queued()), (1, 2));
    }
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

/// Sends `calls` through a throttle, of which the other side accepts every `accepted`th that reaches it.
fn throttled(throttle: &Throttle<SeededEntropy>, now: Timestamp, calls: u32, accepts: impl Fn(u32) -> bool) -> u32 {
    let mut sent = 0;
    for _ in 0..calls {
        if let Admission::Admitted(()) = throttle.admit(CallContext::default, || now) {
            let class = if accepts(sent) { Class::Success } else { Class::Overload };
            throttle.finish((), Outcome::Finished(class), || now);
            sent = sent.saturating_add(1);
        }
    }
    sent
}

#[test]
fn a_throttle_holds_back_from_a_side_that_accepts_a_tenth_and_nothing_from_one_that_accepts_all() {
    let throttle = Throttle::with_entropy(ThrottleConfig::default(), SeededEntropy::new(7));
    let now = Timestamp::from_nanos(5_000_000_000);

    let healthy = throttled(&throttle, now, 1_000, |_| true);
    let later = now.saturating_add(Duration::from_secs(60));
    let sent = throttled(&throttle, later, 100_000, |call| call % 10 == 0);

    assert_eq!(healthy, 1_000);
    // Of what is sent a tenth is accepted; of what is asked for twice the accepted is sent: both vanish together.
    assert!(sent < 5_000, "{sent}");
}

#[test]
fn a_throttle_forgets_after_its_span() {
    let throttle = Throttle::with_entropy(ThrottleConfig::default(), SeededEntropy::new(7));
    let now = Timestamp::from_nanos(5_000_000_000);
    throttled(&throttle, now, 1_000, |_| false);
    assert!(throttle.reject_probability() > 0.9);

    throttled(&throttle, now.saturating_add(Duration::from_secs(10)), 1, |_| true);

    assert!(throttle.reject_probability() < f64::EPSILON, "{throttle:?}");
}

#[test]
fn a_throttle_is_idle_once_its_span_is_over_and_nobody_asks_for_silence() {
    let throttle = Throttle::with_entropy(ThrottleConfig::default(), SeededEntropy::new(7));
    let now = Timestamp::from_nanos(5_000_000_000);
    let seconds = |count| now.saturating_add(Duration::from_secs(count));
    throttled(&throttle, now, 10, |_| false);

    let idle = [seconds(0), seconds(9), seconds(10)].map(|at| throttle.is_idle(|| at));
    throttle.pushback(&(), Duration::from_secs(5), || seconds(10));
    let silent = [seconds(14), seconds(15)].map(|at| throttle.is_idle(|| at));

    assert_eq!((idle, silent), ([false, false, true], [false, true]));
}

#[test]
fn a_few_refusals_hold_nothing_back() {
    let throttle = Throttle::with_entropy(ThrottleConfig::default(), SeededEntropy::new(7));

    assert_eq!(throttled(&throttle, Timestamp::ZERO, 8, |_| false), 8);
}

fn throttle() -> Throttle<SeededEntropy> {
    Throttle::with_entropy(ThrottleConfig::default(), SeededEntropy::new(7))
}

#[test]
fn a_throttle_goes_by_what_the_other_side_said_and_by_nothing_else() {
    let counted = |outcome| {
        let throttle = throttle();
        for _ in 0..5 {
            let admission = throttle.admit(CallContext::default, || Timestamp::ZERO);
            assert!(matches!(admission, Admission::Admitted(())));
            throttle.finish((), outcome, || Timestamp::ZERO);
        }
        format!("{throttle:?}").split_once("requests").expect("the figures").1.to_owned()
    };

    for class in [Class::Success, Class::Failure, Class::Ignored] {
        assert_eq!(counted(Outcome::Finished(class)), ": 5, accepts: 5, .. }", "{class:?}");
    }
    assert_eq!(counted(Outcome::Finished(Class::Overload)), ": 5, accepts: 0, .. }");
    for outcome in [Outcome::TimedOut, Outcome::DeadlineExceeded, Outcome::Cancelled, Outcome::Panicked] {
        assert_eq!(counted(outcome), ": 0, accepts: 0, .. }", "{outcome:?}");
    }
}

#[test]
fn calls_under_way_hold_back_nobody() {
    let throttle = throttle();

    let asked = || throttle.admit(CallContext::default, || Timestamp::ZERO);

    assert!((0..1_000).all(|_| matches!(asked(), Admission::Admitted(()))));
}

#[test]
fn what_a_layer_further_in_refused_or_cut_is_no_request_to_a_throttle() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(5_000_000_000));
    let layer = GateLayer::with_env(throttle(), Env::new().with_clock(clock.clone()));

    for why in [Reason::BulkheadFull, Reason::Interrupted, Reason::AttemptTimeout, Reason::DeadlineExceeded] {
        let inside: Error<Infallible> = Rejection::new(Pattern::Bulkhead, why).into();
        for _ in 0..100 {
            let refused = poll(&mut Box::pin(layer.run_carrying(CallContext::new(), ready(Err::<(), _>(inside)))));
            assert_eq!(reason(refused), why);
        }
        assert_eq!(format!("{:?}", layer.gate()), format!("{:?}", throttle()), "{why:?}");
    }

    throttled(layer.gate(), clock.now(), 100, |_| false);
    assert!(layer.gate().reject_probability() > 0.8, "{:?}", layer.gate());
}

#[test]
fn a_silence_is_lifted_by_an_answer_only_and_never_holds_back_the_exempt() {
    let now = Timestamp::from_nanos(5_000_000_000);
    let throttle = throttle();
    let admits = |context: CallContext| matches!(throttle.admit(|| context, || now), Admission::Admitted(()));
    throttle.pushback(&(), Duration::from_secs(5), || now);

    throttle.finish((), Outcome::Cancelled, || now);
    throttle.refused_inside(&());
    throttle.finish((), Outcome::Finished(Class::Ignored), || now);
    assert!(!admits(CallContext::new()) && admits(CallContext::new().with_exempt(true)));

    throttle.finish((), Outcome::Finished(Class::Ignored), || now);
    assert!(admits(CallContext::new()));
}

#[test]
fn a_waiter_whose_time_no_longer_suffices_is_refused_when_its_turn_comes() {
    let (layer, clock) = queueing(1, 10);
    warm(layer.gate(), &clock, 10 * MILLISECOND);
    let inside = usual(&layer);
    let in_12_ms = CallContext::new().with_deadline(clock.now().saturating_add(12 * MILLISECOND));
    let mut waiting = Box::pin(layer.run_with(in_12_ms, ready(Ok::<_, Infallible>(1))));
    let mut other = Box::pin(layer.run(ready(Ok::<_, Infallible>(2))));
    assert!(poll(&mut waiting).is_pending() && poll(&mut other).is_pending());

    clock.advance(11 * MILLISECOND);
    drop(inside);

    assert_eq!(reason(poll(&mut waiting)), Reason::Overloaded);
    assert_eq!(poll(&mut other), Poll::Ready(Ok(2)));
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

#[test]
fn a_call_whose_deadline_cannot_be_met_is_refused_on_arrival_though_there_is_room() {
    let (layer, clock) = queueing(10, 10);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(10).unwrap());
    warm(layer.gate(), &clock, 100 * MILLISECOND);
    warm(&failing_fast, &clock, 100 * MILLISECOND);
    let left = |left| CallContext::new().with_deadline(clock.now().saturating_add(left));
    let verdict = |context: CallContext| {
        let one = match layer.gate().admit(|| context, || clock.now()) {
            Admission::Refused(rejection) => Some(rejection.reason()),
            _ => None,
        };
        let other = match failing_fast.admit(|| context, || clock.now()) {
            Admission::Refused(rejection) => Some(rejection.reason()),
            _ => None,
        };
        assert_eq!(one, other);
        one
    };

    assert_eq!(verdict(left(99 * MILLISECOND)), Some(Reason::DeadlineTooClose));
    assert_eq!(verdict(left(100 * MILLISECOND)), None);
    assert_eq!(verdict(left(Duration::ZERO).with_exempt(true)), None);
    assert_eq!((layer.gate().in_flight(), failing_fast.in_flight()), (2, 2));
    let let_in = (0..128).filter(|_| verdict(left(MILLISECOND)).is_none()).count();
    assert_eq!(let_in, 4, "one in 32 sees whether calls have become quicker");
}

/// Has no use for windows of less than a second.
struct Resting;

impl LimitAlgorithm for Resting {
    fn limit(&self) -> f64 {
        100.0
    }

    fn window_size(&self) -> WindowSize {
        WindowSize { full: 10, enough: 10, at_most: Duration::from_secs(10) }
    }

    fn resting_window(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn update(&mut self, _: &Window) {}
}

/// How many calls find out that calls have become quicker, of those that bring less time along than calls took.
fn looks_until_calls_are_known_to_be_quick<G: Gate>(gate: &G, clock: &VirtualClock) -> u32 {
    warm(gate, clock, MILLISECOND);
    let hurried = CallContext::new().with_deadline(clock.now().saturating_add(Duration::from_micros(500)));
    let mut looks = 0_u32;
    for _ in 0..10_000 {
        let Admission::Admitted(ticket) = gate.admit(|| hurried, || clock.now()) else { continue };
        gate.finish(ticket, Outcome::Finished(Class::Success), || clock.now());
        looks = looks.saturating_add(1);
        if matches!(gate.admit(|| hurried, || clock.now()), Admission::Admitted(_)) {
            break;
        }
    }
    looks
}

#[test]
fn while_few_calls_are_timed_those_that_look_whether_calls_have_become_quicker_all_are() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000));
    let queueing = QueueingLoadShedder::with_algorithm(Resting, QueueingShedderConfig::default(), clock.clone());

    let looks = [
        looks_until_calls_are_known_to_be_quick(&LoadShedder::with_algorithm(Resting), &clock),
        looks_until_calls_are_known_to_be_quick(&queueing, &clock),
    ];

    assert!(looks.iter().all(|looks| *looks <= 20), "windows are of ten: {looks:?}");
}

#[test]
fn deadlines_are_tried_in_the_dark_while_the_load_is_shed() {
    let (layer, clock) = queueing(1, 10);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(1).unwrap());
    warm(layer.gate(), &clock, 10 * MILLISECOND);
    warm(&failing_fast, &clock, 10 * MILLISECOND);
    layer.gate().enforce_deadlines(Enforcement::Shadow);
    failing_fast.enforce_deadlines(Enforcement::Shadow);
    let in_9_ms = CallContext::new().with_deadline(clock.now().saturating_add(9 * MILLISECOND));
    let in_11_ms = CallContext::new().with_deadline(clock.now().saturating_add(11 * MILLISECOND));

    let inside = layer.gate().admit(|| in_9_ms, || clock.now());
    let _inside = failing_fast.admit(|| in_9_ms, || clock.now());
    let mut waiting = Box::pin(layer.run_with(in_11_ms, ready(Ok::<_, Infallible>(1))));
    assert!(poll(&mut waiting).is_pending());
    assert!(matches!(failing_fast.admit(|| in_11_ms, || clock.now()), Admission::Refused(_)));
    clock.advance(2 * MILLISECOND);
    let Admission::Admitted(inside) = inside else { unreachable!("there was room") };
    layer.gate().finish(inside, Outcome::Finished(Class::Success), || clock.now());

    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(1)));
    assert_eq!((layer.gate().would_have_refused(), layer.gate().would_have_refused_for_deadlines()), (2, 2));
    assert_eq!((failing_fast.would_have_refused(), failing_fast.would_have_refused_for_deadlines()), (1, 1));
}

#[test]
fn a_call_that_was_let_off_for_its_deadline_is_not_asked_for_it_again_in_its_turn() {
    let (layer, clock) = queueing(1, 10);
    warm(layer.gate(), &clock, 10 * MILLISECOND);
    layer.gate().enforce_deadlines(Enforcement::Percent(Percent::new(50).unwrap()));
    let mut served = 0;
    for _ in 0..100 {
        let Admission::Admitted(inside) = layer.gate().admit(CallContext::new, || clock.now()) else {
            unreachable!("nobody is inside")
        };
        let late = CallContext::new().with_deadline(clock.now().saturating_add(5 * MILLISECOND));
        let mut waiting = Box::pin(layer.run_with(late, pending::<Result<(), Infallible>>()));
        let refused = poll(&mut waiting).is_ready();
        clock.advance(MILLISECOND);
        layer.gate().finish(inside, Outcome::Finished(Class::Ignored), || clock.now());
        if !refused && poll(&mut waiting).is_pending() && layer.gate().in_flight() == 1 {
            served += 1;
        }
    }

    // One in 32 goes in whatever its deadline says.
    assert!((48..=56).contains(&served), "{served}");
}

#[test]
fn of_a_hundred_calls_that_find_no_room_as_many_are_refused_as_was_asked() {
    let (layer, clock) = queueing(1, 1);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(1).unwrap());
    let quarter = Enforcement::Percent(Percent::new(25).unwrap());
    layer.gate().enforce(quarter);
    failing_fast.enforce(quarter);
    let _full = (usual(&layer), failing_fast.admit(CallContext::new, || clock.now()));

    let mut waiting: Vec<_> = (0..100).map(|_| layer.gate().admit(CallContext::new, || clock.now())).collect();
    let refused = (0..100)
        .filter(|_| matches!(failing_fast.admit(CallContext::new, || clock.now()), Admission::Refused(_)))
        .count();

    waiting.retain(|admission| !matches!(admission, Admission::Admitted(_)));
    assert_eq!((waiting.len(), refused), (25, 25));
    assert_eq!((layer.gate().in_flight(), failing_fast.in_flight()), (76, 76), "those that are let through count");
    assert_eq!((layer.gate().would_have_refused(), failing_fast.would_have_refused()), (75, 75));
    failing_fast.enforce(Enforcement::Off);
    assert!(matches!(failing_fast.admit(CallContext::new, || clock.now()), Admission::Admitted(_)));
    assert_eq!(failing_fast.would_have_refused(), 75, "off, nothing is counted");
}

#[test]
fn in_the_shadow_a_call_that_comes_too_late_goes_in_and_is_counted() {
    let (layer, clock) = queueing(10, 10);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(10).unwrap());
    layer.gate().enforce(Enforcement::Shadow);
    failing_fast.enforce(Enforcement::Shadow);
    let late = || CallContext::new().with_deadline(clock.now());

    let admissions = (layer.gate().admit(late, || clock.now()), failing_fast.admit(late, || clock.now()));

    assert!(matches!(admissions, (Admission::Admitted(_), Admission::Admitted(_))));
    assert_eq!((layer.gate().would_have_refused(), failing_fast.would_have_refused()), (1, 1));
    assert_eq!((layer.gate().in_flight(), failing_fast.in_flight()), (1, 1));
}

#[test]
fn a_call_that_is_spared_before_a_full_queue_takes_nobodys_place_in_it() {
    let config = QueueingShedderConfig::default().with_max_queued(1).unwrap();
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000));
    let gate = QueueingLoadShedder::with_algorithm(Fixed::new(1).unwrap(), config, clock.clone());
    let layer: GateLayer<Enforced<QueueingLoadShedder<Fixed, VirtualClock>>, _> =
        GateLayer::with_env(Enforced::new(gate, Enforcement::Enforce), Env::new().with_clock(clock));
    let mut inside = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    let mut waits = Box::pin(layer.run(ready(Ok::<_, Infallible>(1))));
    assert!(poll(&mut inside).is_pending() && poll(&mut waits).is_pending());

    layer.gate().enforce(Enforcement::Shadow);
    assert_eq!(poll(&mut Box::pin(layer.run(ready(Ok::<_, Infallible>(2))))), Poll::Ready(Ok(2)));

    assert_eq!((layer.gate().spared(), layer.gate().gate().queued()), (1, 1));
    assert!(poll(&mut waits).is_pending());
    drop(inside);
    assert_eq!(poll(&mut waits), Poll::Ready(Ok(1)));
    assert_eq!(layer.gate().gate().in_flight(), 0);
}

#[test]
fn who_does_not_wait_goes_in_as_who_would_and_is_refused_where_who_would_is() {
    let (layer, clock) = queueing(1, 1);
    let (gate, now) = (layer.gate(), || clock.now());
    let at_once = |context: CallContext| gate.admit_at_once(|| context, now);

    let passage = at_once(CallContext::new()).expect("there is room");
    assert!(at_once(CallContext::new()).is_none());
    let exempt = at_once(CallContext::new().with_exempt(true)).expect("whatever the load");
    assert_eq!((gate.in_flight(), gate.queued()), (2, 0));
    for passage in [passage, exempt] {
        gate.finish(passage, Outcome::Finished(Class::Success), now);
    }

    gate.shed_below(Criticality::Critical);
    assert!(at_once(CallContext::new()).is_none());
    assert_eq!(gate.in_flight(), 0);
}

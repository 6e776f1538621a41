//! The load shedder as a user stacks it.
use std::{
    convert::Infallible,
    future::{Future, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Class, Clock, Criticality, Env, Gate, GateLayer, Outcome, Reason, VirtualClock,
};
use seawall_load_shedder::{
    Aimd, AimdConfig, Error, Fixed, Knee, LimitAlgorithm, LimitRange, LoadShedder, LoadShedderConfig, LoadShedderLayer,
    Probe, Window, WindowSize,
};
use tower::{Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimitLayer, service_fn};

fn fixed(limit: u32) -> GateLayer<LoadShedder<Fixed>> {
    GateLayer::new(LoadShedder::with_algorithm(Fixed::new(limit).expect("tests ask for at least one")))
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn reason<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> Reason {
    result.expect_err("the call is refused").rejection().expect("by the shedder").reason()
}

#[tokio::test]
async fn a_call_above_the_limit_is_refused_at_once_and_told_when_to_come_back() {
    let layer = fixed(1);
    let mut service = layer.protect(service_fn(|()| pending::<Result<(), Infallible>>()));
    let _held = service.ready().await.unwrap().call(());

    let refused = service.ready().await.unwrap().call(()).await.unwrap_err();

    let rejection = refused.rejection().unwrap();
    let wait = rejection.retry_after().unwrap().as_secs_f64();
    assert_eq!(rejection.reason(), Reason::Overloaded);
    assert!((0.5..1.5).contains(&wait), "spread around a second: {wait}");
}

#[tokio::test]
async fn a_call_is_counted_out_however_it_ends() {
    let layer = fixed(1);
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
async fn the_limit_is_one_for_all_clones_and_services() {
    let layer = fixed(1);
    let mut held = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    assert!(poll(&mut held).is_pending());
    let one = layer.protect(service_fn(|()| ready(Ok::<_, Infallible>(()))));
    let other = layer.clone().protect(service_fn(|()| ready(Ok::<_, Infallible>(()))));

    assert_eq!(reason(one.clone().oneshot(()).await), Reason::Overloaded);
    assert_eq!(reason(other.oneshot(()).await), Reason::Overloaded);
}

#[test]
fn the_sheddable_go_first_and_the_critical_last() {
    let layer = fixed(10);
    let hold = |criticality| {
        let context = CallContext::new().with_criticality(criticality);
        Box::pin(layer.run_with(context, pending::<Result<(), Infallible>>()))
    };
    let mut inside = Vec::new();

    for (criticality, room) in [
        (Criticality::Sheddable, 8),
        (Criticality::Degraded, 9),
        (Criticality::Default, 10),
        (Criticality::Critical, 11),
    ] {
        while inside.len() < room {
            let mut call = hold(criticality);
            assert!(poll(&mut call).is_pending(), "{criticality:?}");
            inside.push(call);
        }
        assert!(poll(&mut hold(criticality)).is_ready(), "{criticality:?}");
    }

    inside.clear();
    assert_eq!(layer.gate().in_flight(), 0);
}

#[test]
fn a_limit_of_one_admits_one_call_of_every_criticality() {
    for criticality in [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical] {
        let layer = fixed(1);
        let context = CallContext::new().with_criticality(criticality);

        assert!(matches!(
            poll(&mut Box::pin(layer.run_with(context, ready(Ok::<_, Infallible>(()))))),
            Poll::Ready(Ok(()))
        ));
    }
}

#[tokio::test]
async fn it_works_under_buffer_and_over_a_concurrency_limit() {
    let layer = LoadShedderLayer::new(LoadShedderConfig::default());
    let inner = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|()| ready(Ok::<_, Infallible>(()))));
    let service = ServiceBuilder::new().layer(BufferLayer::new(8)).service(layer.protect(inner));

    for _ in 0..100 {
        service.clone().oneshot(()).await.unwrap();
    }

    assert_eq!(layer.gate().in_flight(), 0);
}

/// A shedder on a clock of its own, and calls of a given latency, `at_once` at a time.
struct Driven<A> {
    clock: VirtualClock,
    shedder: LoadShedder<A>,
}

impl<A: LimitAlgorithm> Driven<A> {
    fn new(algorithm: A) -> Self {
        Self { clock: VirtualClock::new(), shedder: LoadShedder::with_algorithm(algorithm) }
    }

    /// Tries to keep `at_once` calls under way, each of the same latency.
    fn rounds(&self, rounds: usize, at_once: usize, latency: Duration, outcome: Outcome) {
        for _ in 0..rounds {
            let inside: Vec<_> = (0..at_once)
                .filter_map(|_| match self.shedder.admit(CallContext::default, || self.clock.now()) {
                    Admission::Admitted(passage) => Some(passage),
                    _ => None,
                })
                .collect();
            self.clock.advance(latency);
            for passage in inside {
                self.shedder.finish(passage, outcome, || self.clock.now());
            }
        }
    }
}

const SUCCESS: Outcome = Outcome::Finished(Class::Success);
const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn the_limit_does_not_grow_while_the_server_is_not_asked_for_more() {
    let aimd = Driven::new(Aimd::new(AimdConfig::default()));
    let knee = Driven::new(Knee::default());

    aimd.rounds(20_000, 2, MILLISECOND, SUCCESS);
    knee.rounds(20_000, 2, MILLISECOND, SUCCESS);

    assert_eq!((aimd.shedder.limit(), knee.shedder.limit()), (20, 16));
}

#[test]
fn a_server_that_copes_with_more_is_given_more() {
    let knee = Driven::new(Knee::default());

    knee.rounds(400, 1_000, MILLISECOND, SUCCESS);

    assert!(knee.shedder.limit() >= 500, "{}", knee.shedder.limit());
}

#[test]
fn the_limit_never_sinks_below_one_and_recovers_from_there() {
    let range = LimitRange::new(1, 1, 10_000).unwrap();
    let knee = Driven::new(Knee::new(range));
    knee.rounds(50, 100, MILLISECOND, SUCCESS);
    knee.rounds(5_000, 100, Duration::from_secs(2), Outcome::TimedOut);
    assert!((1..=8).contains(&knee.shedder.limit()), "{}", knee.shedder.limit());

    knee.rounds(5_000, 100, MILLISECOND, SUCCESS);

    assert!(knee.shedder.limit() >= 64, "{}", knee.shedder.limit());
}

#[test]
fn calls_that_all_time_out_are_no_sign_of_health() {
    let knee = Driven::new(Knee::default());
    knee.rounds(200, 100, Duration::from_millis(10), SUCCESS);
    let healthy = knee.shedder.limit();

    knee.rounds(60, 200, Duration::from_millis(500), Outcome::TimedOut);

    assert!(knee.shedder.limit() < healthy / 2, "{} of {healthy}", knee.shedder.limit());
}

#[test]
fn quick_errors_do_not_raise_the_limit() {
    let knee = Driven::new(Knee::default());
    knee.rounds(100, 40, Duration::from_millis(10), SUCCESS);
    let before = knee.shedder.limit();

    knee.rounds(1_000, 40, Duration::from_micros(10), Outcome::Finished(Class::Failure));
    knee.rounds(1_000, 40, Duration::from_micros(10), Outcome::Finished(Class::Ignored));

    assert_eq!(knee.shedder.limit(), before);
}

#[test]
fn a_probe_whose_calls_hang_is_given_up_and_the_limit_comes_back() {
    let knee = Driven::new(Knee::default());
    knee.rounds(3, 16, MILLISECOND, SUCCESS);
    assert_eq!(knee.shedder.limit(), 8, "a probe gathers");
    let hung: Vec<_> = (0..16)
        .filter_map(|_| match knee.shedder.admit(CallContext::default, || knee.clock.now()) {
            Admission::Admitted(passage) => Some(passage),
            _ => None,
        })
        .collect();
    assert_eq!(hung.len(), 8);

    knee.clock.advance(Duration::from_secs(2));
    knee.rounds(1, 1, MILLISECOND, SUCCESS);

    assert_eq!(knee.shedder.limit(), 16);
    for passage in hung {
        knee.shedder.finish(passage, Outcome::Cancelled, || knee.clock.now());
    }
    assert_eq!(knee.shedder.in_flight(), 0);
}

/// Panics once, when it is told of its first window or of a probe that came to nothing; then asks for one call more with
/// each window.
struct Startled {
    limit: f64,
    startles: bool,
    at_probe: bool,
}

impl Startled {
    fn startle(&mut self) {
        assert!(!std::mem::take(&mut self.startles), "startled");
    }
}

impl LimitAlgorithm for Startled {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn update(&mut self, _: &Window) {
        if !self.at_probe {
            self.startle();
        }
        self.limit += 1.0;
    }

    fn probe(&self) -> Option<Probe> {
        (self.at_probe && self.startles).then_some(Probe { limit: 2, calls: 100 })
    }

    fn probed(&mut self, _: Option<&Window>) {
        self.startle();
    }
}

#[test]
fn an_algorithm_that_panicked_is_asked_again_at_the_next_window() {
    let driven = Driven::new(Startled { limit: 10.0, startles: true, at_probe: false });
    let told = catch_unwind(AssertUnwindSafe(|| driven.rounds(200, 10, MILLISECOND, SUCCESS)));
    assert!(told.is_err());

    driven.rounds(1_000, 10, MILLISECOND, SUCCESS);

    assert!(driven.shedder.limit() > 10, "{}", driven.shedder.limit());
}

#[test]
fn a_probe_that_is_given_up_is_over_though_the_algorithm_panics_at_it() {
    let driven = Driven::new(Startled { limit: 10.0, startles: true, at_probe: true });
    driven.clock.advance(Duration::from_secs(2));
    driven.rounds(1, 10, MILLISECOND, SUCCESS);
    assert_eq!(driven.shedder.limit(), 2, "a probe gathers");
    let admit = || driven.shedder.admit(CallContext::default, || driven.clock.now());
    let _hung = [admit(), admit()];
    driven.clock.advance(Duration::from_secs(2));
    assert!(catch_unwind(AssertUnwindSafe(admit)).is_err());

    let _refused = admit();

    assert_eq!(driven.shedder.limit(), 11);
}

/// Twenty from its first window on; counts them.
struct Leaping(u32);

impl LimitAlgorithm for Leaping {
    fn limit(&self) -> f64 {
        if self.0 == 0 { 10.0 } else { 20.0 }
    }

    fn window_size(&self) -> WindowSize {
        WindowSize { full: 10, enough: 10, at_most: Duration::ZERO }
    }

    fn update(&mut self, _: &Window) {
        self.0 = self.0.saturating_add(1);
    }
}

#[test]
fn calls_that_were_admitted_below_the_limit_before_a_leap_are_left_out_after_it() {
    let driven = Driven::new(Leaping(0));
    let windows = || driven.shedder.inspect(|leaping| leaping.0);
    driven.rounds(1, 10, MILLISECOND, SUCCESS);
    assert_eq!((windows(), driven.shedder.limit()), (1, 20));

    driven.rounds(2, 10, MILLISECOND, SUCCESS);
    driven.rounds(1, 9, MILLISECOND, SUCCESS);
    assert_eq!(windows(), 1);
    driven.rounds(1, 1, MILLISECOND, SUCCESS);
    assert_eq!(windows(), 2);

    driven.rounds(1, 10, MILLISECOND, SUCCESS);
    assert_eq!(windows(), 3, "nothing is left out where the limit stays");
}

#[test]
fn another_range_is_in_force_at_once_and_what_was_learnt_stays() {
    let knee = Driven::new(Knee::default());
    knee.rounds(200, 400, MILLISECOND, SUCCESS);
    let base = knee.shedder.inspect(Knee::base_latency);

    knee.shedder.adjust(|knee| knee.set_range(LimitRange::new(1, 1, 20).expect("in order")));

    assert!(knee.shedder.limit() <= 20);
    assert_eq!(knee.shedder.inspect(Knee::base_latency), base);
    assert!(base.is_some());
}

#[test]
fn dropping_any_future_at_any_point_leaves_nothing_under_way() {
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock.clone());
    let layer = LoadShedderLayer::with_env(LoadShedderConfig::default(), env);
    let mut random = 88_172_645_463_325_252_u64;
    let mut live = Vec::new();

    for _ in 0..100_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 4 {
            0 | 1 => live.push(Box::pin(layer.run(pending::<Result<(), Infallible>>()))),
            2 if !live.is_empty() => drop(live.swap_remove(usize::try_from(random >> 32).unwrap() % live.len())),
            _ => {
                clock.advance(Duration::from_micros(random >> 54));
                live.retain_mut(|call| poll(call).is_pending());
            }
        }
    }
    drop(live);

    assert_eq!(layer.gate().in_flight(), 0);
}

//! The breaker as a user stacks it.

use std::{
    convert::Infallible,
    task::{Context, Waker},
    time::Duration,
};

use seawall_circuit_breaker::{
    BreakerConfig, BreakerConfigBuilder, CircuitBreakerLayer, Class, Clock, Env, Error, KeyedCircuitBreakerLayer,
    Rejection, State, Timestamp, Window,
};
use seawall_core::VirtualClock;
use tower::{Layer, Service, ServiceExt, limit::GlobalConcurrencyLimitLayer, service_fn};

type TestEnv = Env<VirtualClock>;

fn config(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> BreakerConfig {
    let base = BreakerConfig::builder().window(Window::Calls(10)).min_calls(4).jitter(0.0);
    change(base).build().expect("valid settings")
}

fn layer(config: BreakerConfig) -> (CircuitBreakerLayer<TestEnv>, VirtualClock) {
    let clock = VirtualClock::new();
    (CircuitBreakerLayer::with_env(config, Env::new().with_clock(clock.clone())), clock)
}

/// A dependency that does as the request says.
async fn dependency(works: bool) -> Result<&'static str, &'static str> {
    if works { Ok("answer") } else { Err("down") }
}

#[tokio::test]
async fn opens_on_failures_refuses_without_calling_and_closes_after_the_probes() {
    let (layer, clock) = layer(config(|config| config));
    let mut service = layer.protect(service_fn(dependency));

    for _ in 0..4 {
        assert_eq!(service.ready().await.unwrap().call(false).await, Err(Error::Inner("down")));
    }
    assert_eq!(layer.gate().state(), State::Open);

    let refused = service.ready().await.unwrap().call(true).await.unwrap_err();
    let wait = refused.rejection().and_then(Rejection::retry_after).unwrap();
    assert_eq!(wait, Duration::from_nanos(5_000_000_001));

    clock.advance(wait);
    for _ in 0..3 {
        assert_eq!(service.ready().await.unwrap().call(true).await, Ok("answer"));
    }
    assert_eq!(layer.gate().state(), State::Closed);
}

#[tokio::test]
async fn runs_without_tower_on_the_same_state() {
    let (layer, _) = layer(config(|config| config));
    for _ in 0..4 {
        assert_eq!(layer.run(dependency(false)).await, Err(Error::Inner("down")));
    }

    let refused = layer.protect(service_fn(dependency)).oneshot(true).await;

    assert!(refused.unwrap_err().rejection().is_some());
}

#[tokio::test]
async fn every_key_has_a_breaker_of_its_own() {
    let layer = KeyedCircuitBreakerLayer::<str, _>::new(100, config(|config| config), String::as_str)
        .expect("100 keys are allowed");
    let mut service =
        layer.protect(service_fn(async |host: String| if host == "sick" { Err("down") } else { Ok(host) }));
    for _ in 0..4 {
        let _ = service.ready().await.unwrap().call("sick".to_owned()).await;
    }

    let sick = service.ready().await.unwrap().call("sick".to_owned()).await;
    let well = service.ready().await.unwrap().call("well".to_owned()).await;

    assert!(matches!(sick, Err(Error::Rejected(_))));
    assert_eq!(well, Ok("well".to_owned()));
}

#[tokio::test]
async fn state_is_shared_by_clones_and_by_every_use_of_the_layer() {
    let (layer, _) = layer(config(|config| config));
    let wrapped =
        || layer.clone().layer(service_fn(async |(): ()| Err::<Infallible, Error<&str>>(Error::Inner("down"))));
    for _ in 0..4 {
        let _ = wrapped().oneshot(()).await;
    }

    let refused = wrapped().clone().oneshot(()).await;

    assert!(matches!(refused, Err(Error::Rejected(_))));
}

#[tokio::test]
async fn calls_that_a_timeout_drops_open_it() {
    let (layer, clock) = layer(config(|config| config));
    let hangs = service_fn(async |(): ()| std::future::pending::<Result<(), &str>>().await);
    let mut service = layer.protect(hangs);
    for _ in 0..4 {
        let mut call = Box::pin(service.ready().await.unwrap().call(()));
        assert!(poll_once(&mut call).is_none());
        clock.advance(Duration::from_secs(1));
        drop(call);
    }

    assert_eq!(layer.gate().state(), State::Open);
}

#[tokio::test]
async fn a_dependency_that_panics_opens_it_also_when_the_panic_is_caught() {
    let (layer, _) = layer(config(|config| config));
    for _ in 0..4 {
        let layer = layer.clone();
        let call = tokio::spawn(async move {
            layer.run(async { if true { panic!("the dependency's own mistake") } else { Ok::<(), &str>(()) } }).await
        });
        assert!(call.await.unwrap_err().is_panic());
    }

    assert_eq!(layer.gate().state(), State::Open);
}

#[tokio::test]
async fn a_probe_that_is_dropped_holds_nobody_up() {
    let (layer, clock) = layer(config(|config| config.probes(2).probes_at_once(1)));
    for _ in 0..4 {
        let _ = layer.run(dependency(false)).await;
    }
    clock.advance(Duration::from_secs(6));
    let mut service = layer.protect(service_fn(dependency));
    drop(service.ready().await.unwrap().call(true));

    assert_eq!(service.ready().await.unwrap().call(true).await, Ok("answer"));
    assert_eq!(layer.gate().state(), State::Closed);
}

#[tokio::test]
async fn the_first_call_over_a_concurrency_limit_or_a_buffer_just_works() {
    let (layer, _) = layer(config(|config| config));
    let limited = tower::limit::ConcurrencyLimit::new(service_fn(dependency), 1);
    let mut service = layer.protect(limited);
    for _ in 0..10 {
        assert_eq!(service.ready().await.unwrap().call(true).await, Ok("answer"));
    }

    let answers = layer.protect(service_fn(async |(): ()| Ok::<_, std::io::Error>("answer")));
    assert_eq!(tower::buffer::Buffer::new(answers, 4).oneshot(()).await.unwrap(), "answer");
}

#[tokio::test]
async fn a_service_that_is_not_sync_can_be_protected() {
    let (layer, _) = layer(config(|config| config));
    let calls = std::cell::Cell::new(0);
    let service = layer.protect(service_fn(move |(): ()| {
        calls.set(calls.get() + 1);
        std::future::ready(Ok::<_, &str>(calls.get()))
    }));

    assert_eq!(tokio::spawn(service.oneshot(())).await.unwrap(), Ok(1));
}

#[tokio::test]
async fn an_open_one_per_key_is_kept_when_the_table_is_full() {
    let env = Env::new().with_clock(VirtualClock::new());
    let layer =
        KeyedCircuitBreakerLayer::<str, _, TestEnv>::with_env(2, config(|config| config), String::as_str, env).unwrap();
    let mut service = layer.protect(service_fn(async |host: String| if host == "sick" { Err("down") } else { Ok(()) }));
    for _ in 0..4 {
        let _ = service.ready().await.unwrap().call("sick".to_owned()).await;
    }

    for host in 0..100 {
        assert_eq!(service.ready().await.unwrap().call(host.to_string()).await, Ok(()));
    }

    assert!(matches!(service.ready().await.unwrap().call("sick".to_owned()).await, Err(Error::Rejected(_))));
    assert_eq!(layer.len(), 2);
}

#[tokio::test]
async fn a_classifier_tells_which_answers_fail() {
    let env = Env::new().with_classifier(|result: Result<&u16, &Infallible>| {
        if result.is_ok_and(|status| *status >= 500) { Class::Failure } else { Class::Success }
    });
    let layer = CircuitBreakerLayer::with_env(config(|config| config), env);
    for _ in 0..4 {
        assert_eq!(layer.run(async { Ok(503) }).await, Ok(503));
    }

    assert!(layer.run(async { Ok(200) }).await.is_err());
}

#[tokio::test]
async fn an_answer_to_a_call_from_before_the_outage_changes_nothing() {
    let (layer, clock) = layer(config(|config| config.probes(1)));
    let mut early = Box::pin(layer.run(async {
        tokio::task::yield_now().await;
        Ok::<_, &str>("late")
    }));
    assert!(poll_once(&mut early).is_none());
    for _ in 0..4 {
        let _ = layer.run(dependency(false)).await;
    }
    clock.advance(Duration::from_secs(6));
    let mut probe = Box::pin(layer.run(std::future::pending::<Result<(), &str>>()));
    assert!(poll_once(&mut probe).is_none());

    assert_eq!(early.await, Ok("late"));

    assert_eq!(layer.gate().state(), State::HalfOpen);
    assert_eq!(layer.gate().snapshot(clock.now()).late, 1);
}

#[tokio::test]
async fn a_success_that_completes_the_minimum_lets_the_failures_before_it_open_it() {
    for (successes_before, seconds_between) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
        let window = Window::Time(Duration::from_secs(10));
        let (layer, clock) = layer(config(|config| config.window(window).min_calls(20)));
        for call in 0..19 {
            let _ = layer.run(dependency(call < successes_before)).await;
        }
        assert_eq!(layer.gate().state(), State::Closed);
        clock.advance(Duration::from_secs(seconds_between));

        assert!(layer.run(dependency(true)).await.is_ok());

        assert_eq!(layer.gate().state(), State::Open, "{successes_before} {seconds_between}");
    }
}

#[tokio::test]
async fn successes_count_also_where_their_latency_or_a_row_of_failures_matters() {
    for config in [
        config(|config| config.slow_after(Duration::from_secs(1))),
        config(|config| config.consecutive_failures(9)),
        config(|config| config.window(Window::Time(Duration::from_secs(10))).consecutive_failures(9)),
    ] {
        let (layer, clock) = layer(config);
        for _ in 0..7 {
            assert!(layer.run(dependency(true)).await.is_ok());
        }

        assert_eq!(layer.gate().snapshot(clock.now()).figures.calls, 7);
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_on_is_as_old_as_its_first_poll_without_an_answer() {
    let (layer, clock) = layer(config(|config| config.min_calls(1)));
    let mut call = Box::pin(layer.run(std::future::pending::<Result<(), &str>>()));
    for _ in 0..3 {
        assert!(poll_once(&mut call).is_none());
        clock.advance(Duration::from_millis(400));
    }

    drop(call);

    assert_eq!(layer.gate().snapshot(clock.now()).figures.failures, 1);
}

/// What one poll of `future` gives.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let polled = std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()));
    if let std::task::Poll::Ready(output) = polled { Some(output) } else { None }
}

/// Counts its readings.
#[derive(Clone, Default)]
struct CountingClock(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Timestamp::from_nanos(7)
    }
}

#[tokio::test]
async fn the_clock_is_read_only_where_the_time_matters() {
    let readings = |config: BreakerConfig, open: bool| {
        let clock = CountingClock::default();
        let layer = CircuitBreakerLayer::with_env(config, Env::new().with_clock(clock.clone()));
        for _ in 0..10 {
            assert!(poll_once(&mut Box::pin(layer.run(dependency(true)))).is_some());
        }
        if open {
            layer.gate().force_open(Timestamp::from_nanos(7));
        }
        let before = clock.0.load(std::sync::atomic::Ordering::Relaxed);
        assert!(poll_once(&mut Box::pin(layer.run(dependency(true)))).is_some());
        clock.0.load(std::sync::atomic::Ordering::Relaxed) - before
    };
    let seconds = Duration::from_secs(10);

    let calls = readings(config(|config| config), false);
    let time = readings(config(|config| config.window(Window::Time(seconds))), false);
    let slow = readings(config(|config| config.slow_after(seconds)), false);
    let forced = readings(config(|config| config), true);

    assert_eq!((calls, time, slow, forced), (0, 1, 2, 0));
}

#[tokio::test]
async fn the_breakers_of_all_keys_are_listed_and_given_new_settings() {
    let layer = KeyedCircuitBreakerLayer::<str, _>::new(100, config(|config| config), String::as_str).unwrap();
    for host in ["sick", "well"] {
        layer.gate(host);
    }
    layer.gate("sick").gate().trip(None, Timestamp::from_nanos(1));
    let stricter = config(|config| config.min_calls(1));

    layer.set_config(stricter.clone());
    let mut states = Vec::new();
    layer.for_each(|host, breaker| {
        assert_eq!(breaker.reconfigure(&stricter), Ok(()));
        states.push((host.map(str::to_owned), breaker.state()));
    });

    states.sort_by_key(|(host, _)| host.clone());
    let expected = [(None, State::Closed), (Some("sick"), State::Open), (Some("well"), State::Closed)];
    assert_eq!(states, expected.map(|(host, state)| (host.map(str::to_owned), state)));
    for host in ["well", "late"] {
        let failing = layer.protect(service_fn(async |_: String| Err::<(), _>("down")));
        let _ = failing.oneshot(host.to_owned()).await;
        assert_eq!(layer.gate(host).gate().state(), State::Open, "{host}");
    }
}

/// A handle over a limit of 1, whose only place is held by what comes with it.
fn over_a_full_limit(
    layer: &CircuitBreakerLayer<TestEnv>,
) -> (impl Sized, impl Service<bool, Response = &'static str, Error = Error<&'static str>> + Clone) {
    let narrow = GlobalConcurrencyLimitLayer::new(1);
    let mut holder = narrow.layer(service_fn(dependency));
    assert!(is_ready(&mut holder));
    (holder, layer.protect(narrow.layer(service_fn(dependency))))
}

fn is_ready(service: &mut impl Service<bool>) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test]
async fn an_open_circuit_refuses_at_once_over_a_service_that_is_not_ready() {
    let (layer, clock) = layer(config(|config| config));
    let (_holder, service) = over_a_full_limit(&layer);
    layer.gate().trip(None, clock.now());

    let refused = service.clone().oneshot(true).await.unwrap_err();

    assert_eq!(refused.rejection().and_then(Rejection::retry_after), Some(Duration::from_nanos(5_000_000_001)));
    layer.gate().force_open(clock.now());
    assert!(service.oneshot(true).await.unwrap_err().rejection().is_some());
    assert_eq!(layer.gate().snapshot(clock.now()).rejections, 2);
}

#[tokio::test]
async fn over_a_service_that_is_not_ready_half_open_refuses_at_once_only_while_all_places_are_taken() {
    let (layer, clock) = layer(config(|config| config.probes(1)));
    let (_holder, mut service) = over_a_full_limit(&layer);
    layer.gate().trip(None, clock.now());
    clock.advance(Duration::from_secs(6));
    assert!(!is_ready(&mut service), "the next call is a probe, which waits for the service");

    let _probe = layer.gate().try_admit(clock.now()).unwrap();

    assert!(service.clone().oneshot(true).await.unwrap_err().rejection().is_some());
    clock.advance(Duration::from_secs(5));
    assert!(!is_ready(&mut service), "a probe that is too old holds nobody up");
}

#[tokio::test]
async fn over_a_service_that_is_not_ready_a_probe_beside_one_that_hangs_waits_for_the_service() {
    let (layer, clock) = layer(config(|config| config.probes(2).probes_at_once(1)));
    let (_holder, mut service) = over_a_full_limit(&layer);
    layer.gate().trip(None, clock.now());
    clock.advance(Duration::from_secs(6));
    let _hangs = layer.gate().try_admit(clock.now()).unwrap();
    assert!(is_ready(&mut service), "its next call is refused");

    clock.advance(Duration::from_secs(1));

    assert!(!is_ready(&mut service));
}

#[tokio::test]
async fn a_breaker_whose_refusals_are_not_all_carried_out_waits_for_the_service() {
    let (layer, clock) = layer(config(|config| config.enforce(0.0)));
    let (_holder, mut service) = over_a_full_limit(&layer);

    layer.gate().trip(None, clock.now());

    assert!(!is_ready(&mut service));
}

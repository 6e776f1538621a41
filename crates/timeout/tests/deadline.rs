//! The gate for calls whose deadline is close, limits per request, and inherited deadlines, in virtual time.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{
    future::{Future, Ready, poll_fn, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    CallContext, Clock, Env, Error, InheritDeadline, Pattern, Reason, Rejection, Timer, Timestamp, VirtualClock,
};
use seawall_timeout::{LimitOf, TimeoutConfig, TimeoutLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken")]
struct Broken;

type Answer<T = u32> = Result<T, Error<Broken>>;

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn cut<T>(reason: Reason) -> Poll<Answer<T>> {
    Poll::Ready(Err(Error::Rejected(Rejection::new(Pattern::Timeout, reason))))
}

type DeadlineEnv = Env<VirtualClock, seawall_core::ByResult, fn(&Timestamp) -> CallContext>;

/// Requests are their deadlines.
fn env(clock: &VirtualClock) -> DeadlineEnv {
    Env::new().with_clock(clock.clone()).with_attributes(|deadline| CallContext::new().with_deadline(*deadline))
}

fn at_once(_: Timestamp) -> Ready<Answer> {
    ready(Ok(1))
}

/// `layer` has seen 200 calls that took 100 ms each, in the window before.
fn knows_100_ms(layer: &TimeoutLayer<DeadlineEnv>, clock: &VirtualClock) {
    for _ in 0..200 {
        let sleep = clock.sleep_until(clock.now().saturating_add(100 * MS));
        let mut call = Box::pin(layer.run(async move {
            sleep.await;
            Ok::<_, Broken>(1)
        }));
        assert!(poll(&mut call).is_pending());
        clock.advance(100 * MS);
        assert_eq!(poll(&mut call), Poll::Ready(Ok(1)));
    }
    clock.advance(10 * SECOND);
}

#[test]
fn a_call_with_less_time_than_calls_usually_take_is_not_sent() {
    let clock = VirtualClock::new();
    let config = TimeoutConfig::total(5 * SECOND).expect("allowed").with_usual_remaining(0.95).expect("allowed");
    let layer = TimeoutLayer::with_env(config, env(&clock));
    let call = |left| poll_once(layer.layer(service_fn(at_once)).oneshot(clock.now().saturating_add(left)));
    assert_eq!(call(MS), Poll::Ready(Ok(1)), "nothing is known yet");

    knows_100_ms(&layer, &clock);

    assert_eq!(call(90 * MS), cut(Reason::DeadlineTooClose));
    assert_eq!(call(110 * MS), Poll::Ready(Ok(1)));
}

#[test]
fn a_gate_that_only_observes_counts_and_lets_calls_go_on() {
    let clock = VirtualClock::new();
    let config = TimeoutConfig::total(SECOND).expect("allowed").with_min_remaining(50 * MS);
    let layer = TimeoutLayer::with_env(config.with_deadline_observed_only(), env(&clock));
    let hangs = service_fn(|_: Timestamp| std::future::pending::<Answer>());
    let mut call = Box::pin(layer.layer(hangs).oneshot(Timestamp::from_nanos(1)));

    assert!(poll(&mut call).is_pending());
    clock.advance(SECOND.saturating_sub(MS));
    assert!(poll(&mut call).is_pending());
    clock.advance(MS);

    assert_eq!((poll(&mut call), layer.spared()), (cut(Reason::TotalTimeout), 1));
}

#[test]
fn a_limit_can_depend_on_the_request() {
    let clock = VirtualClock::new();
    let layer =
        TimeoutLayer::with_env(TimeoutConfig::attempt(SECOND).expect("allowed"), Env::new().with_clock(clock.clone()))
            .with_limit_of(|seconds: &u64| (*seconds > 0).then(|| Duration::from_secs(*seconds)));
    let hangs = service_fn(|_: u64| std::future::pending::<Answer>());
    let [mut short, mut long] = [0, 3].map(|seconds| Box::pin(layer.layer(hangs).oneshot(seconds)));
    assert!(poll(&mut short).is_pending() && poll(&mut long).is_pending());

    clock.advance(SECOND);
    assert_eq!((poll(&mut short), poll(&mut long)), (cut(Reason::AttemptTimeout), Poll::Pending));
    clock.advance(2 * SECOND);

    assert_eq!(poll(&mut long), cut(Reason::AttemptTimeout));
}

#[test]
fn the_time_that_a_request_says_is_left_counts_where_it_is_the_earliest() {
    #[derive(Clone)]
    struct Named;

    impl LimitOf<(u64, Option<u64>)> for Named {
        fn limit(&self, _: &(u64, Option<u64>)) -> Option<Duration> {
            None
        }

        fn remaining(&self, (left, _): &(u64, Option<u64>)) -> Option<Duration> {
            Some(Duration::from_secs(*left))
        }
    }

    let known = |(_, deadline): &(u64, Option<u64>)| match *deadline {
        Some(at) => CallContext::new().with_total_deadline(Timestamp::ZERO.saturating_add(Duration::from_secs(at))),
        None => CallContext::new(),
    };
    let ended = |asked| {
        let clock = VirtualClock::new();
        let env = Env::new().with_clock(clock.clone()).with_attributes(known);
        let config = TimeoutConfig::attempt(4 * SECOND).expect("allowed");
        let layer = TimeoutLayer::with_env(config, env).with_limit_of(Named);
        let hangs = service_fn(|_: (u64, Option<u64>)| std::future::pending::<Answer>());
        let mut call = Box::pin(layer.layer(hangs).oneshot(asked));
        let pending = (0..9).take_while(|_| {
            let is_pending = poll(&mut call).is_pending();
            clock.advance(SECOND);
            is_pending
        });
        pending.count()
    };

    assert_eq!([(9, None), (1, None), (2, Some(3)), (3, Some(2)), (0, None)].map(ended), [4, 1, 2, 2, 0]);
}

#[test]
fn an_immediate_timeout_allows_what_is_there_and_nothing_else() {
    let clock = VirtualClock::new();
    let layer = TimeoutLayer::with_env(TimeoutConfig::immediate(), env(&clock));

    assert_eq!(poll_once(layer.run(ready(Ok::<_, Broken>(1)))), Poll::Ready(Ok(1)));

    assert_eq!(poll_once(layer.run(std::future::pending::<Result<u32, Broken>>())), cut(Reason::AttemptTimeout));
}

#[test]
fn attempt_total_and_deadline_are_told_apart() {
    let clock = VirtualClock::new();
    let end = |config: TimeoutConfig, deadline: Duration| {
        let hangs = service_fn(|_: Timestamp| std::future::pending::<Answer>());
        let layer = TimeoutLayer::with_env(config, env(&clock));
        let mut call = Box::pin(layer.layer(hangs).oneshot(clock.now().saturating_add(deadline)));
        assert!(poll(&mut call).is_pending());
        clock.advance(SECOND);
        poll(&mut call)
    };
    let attempt = TimeoutConfig::attempt(SECOND).expect("allowed");
    let total = TimeoutConfig::total(SECOND).expect("allowed");

    assert_eq!(end(attempt, 2 * SECOND), cut(Reason::AttemptTimeout));
    assert_eq!(end(total, 2 * SECOND), cut(Reason::TotalTimeout));
    assert_eq!(end(total, SECOND / 2), cut(Reason::DeadlineExceeded));
}

#[test]
fn a_call_inside_a_call_inherits_its_deadline_and_cannot_extend_it() {
    let clock = VirtualClock::new();
    let layer = TimeoutLayer::with_env(TimeoutConfig::total(5 * SECOND).expect("allowed"), env(&clock));
    let nested = async { layer.run(std::future::pending::<Result<u32, Broken>>()).await };
    let mut call = Box::pin(InheritDeadline::new(Timestamp::from_nanos(1_000_000_000), nested));
    assert!(poll(&mut call).is_pending());

    clock.advance(SECOND);

    assert_eq!(poll(&mut call), cut(Reason::DeadlineExceeded));
}

#[test]
fn an_outage_does_not_teach_an_adaptive_timeout_upwards() {
    let clock = VirtualClock::new();
    let config = seawall_timeout::AdaptiveConfig::new(MS, 5 * SECOND).expect("allowed");
    let layer = TimeoutLayer::with_env(TimeoutConfig::adaptive(config), env(&clock));
    knows_100_ms(&layer, &clock);
    let learnt = layer.limit();
    assert!(learnt > 290 * MS && learnt < 310 * MS);

    for _ in 0..100 {
        let mut call = Box::pin(layer.run(std::future::pending::<Result<u32, Broken>>()));
        assert!(poll(&mut call).is_pending());
        clock.advance(5 * SECOND);
        assert_eq!(poll(&mut call), cut(Reason::AttemptTimeout));
    }

    assert_eq!(layer.limit(), learnt);
}

#[tokio::test]
async fn a_timer_needs_no_runtime_and_not_the_one_it_was_made_in() {
    let layer = TimeoutLayer::new(TimeoutConfig::attempt(2 * MS).expect("allowed"));
    let hangs = std::future::pending::<Result<u32, Broken>>();
    let made_elsewhere = std::thread::spawn(move || layer.run(hangs)).join().expect("no panic");

    assert_eq!(Poll::Ready(made_elsewhere.await), cut(Reason::AttemptTimeout));
}

#[test]
fn a_refused_call_leaves_the_service_unpolled() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(9));
    let layer = TimeoutLayer::with_env(TimeoutConfig::total(SECOND).expect("allowed"), env(&clock));
    let mut service = layer.layer(service_fn(|_: Timestamp| -> Ready<Answer> { panic!("called") }));

    assert_eq!(poll_once(service.call(Timestamp::from_nanos(9))), cut(Reason::DeadlineTooClose));
}

/// Hears of calls only.
#[derive(Clone, Default)]
struct Ended(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl seawall_core::Observer for Ended {
    const PER_CALL: bool = true;

    fn on_call(&self, _: seawall_core::Outcome) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_call_that_is_refused_is_neither_one_that_ended_nor_a_failure_to_learn_from() {
    let clock = VirtualClock::new();
    clock.advance(SECOND);
    let ended = Ended::default();
    let adaptive = seawall_timeout::AdaptiveConfig::new(MS, 10 * SECOND).unwrap();
    let env = env(&clock).with_observer(ended.clone());
    let layer = TimeoutLayer::with_env(TimeoutConfig::adaptive(adaptive), env);
    let mut service = layer.layer(service_fn(at_once));
    let mut call = |deadline| poll_once(service.call(deadline));
    for _ in 0..200 {
        assert_eq!(call(Timestamp::MAX), Poll::Ready(Ok(1)));
    }

    for _ in 0..200 {
        assert_eq!(call(Timestamp::from_nanos(1)), cut(Reason::DeadlineTooClose));
    }
    clock.advance(10 * SECOND);

    assert_eq!(ended.0.load(std::sync::atomic::Ordering::Relaxed), 200);
    assert_eq!(layer.limit(), MS);
}

#[test]
fn no_deadline_is_told_to_a_call_that_may_take_for_ever() {
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock);
    let told = |limit| {
        let layer = TimeoutLayer::with_env(TimeoutConfig::attempt(limit).unwrap(), env.clone())
            .with_carry(|request: &mut Option<Timestamp>, deadline| *request = Some(deadline));
        let mut service = layer.layer(service_fn(|request: Option<Timestamp>| ready(Ok::<_, Error<Broken>>(request))));
        poll_once(service.call(None))
    };

    assert_eq!(told(Duration::MAX), Poll::Ready(Ok(None)));
    assert_eq!(told(SECOND), Poll::Ready(Ok(Some(Timestamp::ZERO.saturating_add(SECOND)))));
}

#[test]
fn the_callers_deadline_cuts_a_call_through_tower_of_which_nothing_else_is_known() {
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock.clone());
    let layer = TimeoutLayer::with_env(TimeoutConfig::total(60 * SECOND).expect("allowed"), env);
    let hangs = layer.layer(service_fn(|(): ()| std::future::pending::<Answer>()));
    let nested = async move { hangs.oneshot(()).await };
    let mut call = Box::pin(InheritDeadline::new(Timestamp::from_nanos(1_000_000_000), nested));
    assert!(poll(&mut call).is_pending());

    clock.advance(SECOND);

    assert_eq!(poll(&mut call), cut(Reason::DeadlineExceeded));
}

#[test]
fn an_outage_in_which_callers_give_up_first_does_not_unteach_an_adaptive_timeout() {
    let clock = VirtualClock::new();
    let config = seawall_timeout::AdaptiveConfig::new(MS, 60 * SECOND).expect("allowed");
    let layer = TimeoutLayer::with_env(TimeoutConfig::adaptive(config), env(&clock));
    knows_100_ms(&layer, &clock);
    let learnt = layer.limit();

    for _ in 0..400 {
        let mut call = Box::pin(layer.run(std::future::pending::<Result<u32, Broken>>()));
        assert!(poll(&mut call).is_pending());
        clock.advance(200 * MS);
        drop(call);
    }

    assert_eq!(layer.limit(), learnt);
}

#[test]
fn calls_that_are_given_up_sooner_than_is_usual_say_nothing() {
    let clock = VirtualClock::new();
    let config = seawall_timeout::AdaptiveConfig::new(MS, 60 * SECOND).expect("allowed");
    let layer = TimeoutLayer::with_env(TimeoutConfig::adaptive(config), env(&clock));
    knows_100_ms(&layer, &clock);

    for _ in 0..800 {
        let mut call = Box::pin(layer.run(std::future::pending::<Result<u32, Broken>>()));
        assert!(poll(&mut call).is_pending());
        clock.advance(50 * MS);
        drop(call);
    }

    assert_eq!(layer.limit(), 60 * SECOND);
}

#[test]
fn a_timeout_inside_that_is_cut_by_the_end_of_a_total_one_says_so() {
    /// When the caller stops waiting, and whether that is the end of a total timeout.
    type Until = (Timestamp, bool);
    #[derive(Clone)]
    struct Carry;
    impl seawall_timeout::CarryDeadline<Until> for Carry {
        fn carry(&self, until: &mut Until, deadline: Timestamp) {
            *until = (deadline, false);
        }
        fn carry_total(&self, until: &mut Until, end: Timestamp) {
            *until = (end, true);
        }
    }
    fn read((until, total): &Until) -> CallContext {
        if *total { CallContext::new().with_total_deadline(*until) } else { CallContext::new().with_deadline(*until) }
    }
    let until = |brought: Timestamp| {
        let clock = VirtualClock::new();
        let env = Env::new().with_clock(clock.clone()).with_attributes(read as fn(&Until) -> CallContext);
        let total = TimeoutLayer::with_env(TimeoutConfig::total(5 * SECOND).expect("allowed"), env).with_carry(Carry);
        let attempt = total.clone().with_config(TimeoutConfig::attempt(60 * SECOND).expect("allowed"));
        let hangs = service_fn(|_: Until| std::future::pending::<Answer>());
        let mut call = Box::pin(total.layer(attempt.layer(hangs)).oneshot((brought, false)));
        assert!(poll(&mut call).is_pending());
        clock.advance(5 * SECOND);
        poll(&mut call)
    };

    assert_eq!(until(Timestamp::MAX), cut(Reason::TotalTimeout));
    assert_eq!(until(Timestamp::from_nanos(4_000_000_000)), cut(Reason::DeadlineExceeded));
}

fn heard() -> impl Future<Output = Result<(Option<Timestamp>, bool), Broken>> {
    poll_fn(|_| {
        let context = CallContext::inherited();
        Poll::Ready(Ok((context.deadline, context.deadline_is_total)))
    })
}

#[test]
fn what_runs_inside_a_total_timeout_inherits_its_end_less_the_reserve_or_the_earlier_deadline_of_the_call() {
    let clock = VirtualClock::new();
    let config = TimeoutConfig::total(SECOND).expect("allowed").with_reserve(100 * MS);
    let layer = TimeoutLayer::with_env(config, env(&clock));
    let end = |ms: u32| Some(clock.now().saturating_add(ms * MS));

    let total = poll_once(layer.run(heard()));
    let earlier = CallContext::new().with_deadline(end(500).expect("a deadline"));
    let deadline = poll_once(layer.run_with(earlier, heard()));

    assert_eq!(total, Poll::Ready(Ok((end(900), true))));
    assert_eq!(deadline, Poll::Ready(Ok((end(400), false))));
}

#[test]
fn what_runs_inside_the_timeout_of_one_attempt_or_one_without_end_inherits_nothing() {
    let clock = VirtualClock::new();

    for config in [TimeoutConfig::attempt(SECOND), TimeoutConfig::total(Duration::MAX)] {
        let layer = TimeoutLayer::with_env(config.expect("allowed"), env(&clock));

        assert_eq!(poll_once(layer.run(heard())), Poll::Ready(Ok((None, false))));
    }
}

#[test]
fn a_call_through_an_inherited_timeout_inherits_its_end_as_it_is_made_and_at_each_poll() {
    let clock = VirtualClock::new();
    let made = service_fn(|_: Timestamp| ready(Ok::<_, Error<Broken>>(CallContext::inherited().deadline)));
    let polled = service_fn(|_: Timestamp| async { Ok::<_, Error<Broken>>(CallContext::inherited().deadline) });
    let layer = TimeoutLayer::with_env(TimeoutConfig::total(SECOND).expect("allowed"), env(&clock)).inherited();

    for (deadline, told) in [(2 * SECOND, SECOND), (SECOND / 2, SECOND / 2)] {
        let ask = Timestamp::ZERO.saturating_add(deadline);
        let end = Poll::Ready(Ok(Some(Timestamp::ZERO.saturating_add(told))));

        assert_eq!(poll_once(layer.layer(made).oneshot(ask)), end);
        assert_eq!(poll_once(layer.layer(polled).oneshot(ask)), end);
    }
    assert_eq!(poll_once(layer.layer(made).oneshot(Timestamp::ZERO)), cut(Reason::DeadlineTooClose));
}

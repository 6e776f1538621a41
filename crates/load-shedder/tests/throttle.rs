//! The throttle, as a user stacks it.
use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Class, Clock, Env, Gate, GateLayer, Outcome, Pattern, Reason, Rejection, SeededEntropy,
    Timestamp, VirtualClock,
};
use seawall_load_shedder::{Error, Throttle, ThrottleConfig};

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn reason<T: std::fmt::Debug>(polled: Poll<Result<T, Error<Infallible>>>) -> Reason {
    let Poll::Ready(result) = polled else { unreachable!("it is decided") };
    result.expect_err("it is refused").rejection().expect("by a layer").reason()
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

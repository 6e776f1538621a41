//! What the other side says about itself, through the layer.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_circuit_breaker::{
    BreakerConfig, BreakerConfigBuilder, Cause, CircuitBreakerLayer, Class, Clock, Env, Error, State, Timestamp,
};
use seawall_core::{Verdict, VirtualClock};
use tokio::sync::oneshot::Sender;

/// A dependency answers with a status, and how long it wants to be left alone.
type Answer = (u16, Option<Duration>);
type Classifier = fn(Result<&Answer, &Infallible>) -> Verdict;
type Layer = CircuitBreakerLayer<Env<VirtualClock, Classifier>>;

const MINUTE: Duration = Duration::from_secs(60);

fn by_status(answer: Result<&Answer, &Infallible>) -> Verdict {
    let (status, wait) = answer.unwrap_or_else(|never| match *never {});
    let verdict = match status {
        403 => Verdict::new(Class::Failure).with_trip(),
        500.. => Verdict::new(Class::Failure),
        _ => Verdict::new(Class::Success),
    };
    wait.map_or(verdict, |wait| verdict.with_retry_after(wait))
}

fn layer(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> (Layer, VirtualClock) {
    let clock = VirtualClock::new();
    let config = change(BreakerConfig::builder().jitter(0.0)).build().expect("valid settings");
    let env = Env::new().with_clock(clock.clone()).with_classifier(by_status as Classifier);
    (CircuitBreakerLayer::with_env(config, env), clock)
}

async fn answered(layer: &Layer, answer: Answer) -> bool {
    layer.run(async { Ok(answer) }).await.is_ok()
}

fn stands(layer: &Layer, now: Timestamp) -> (State, Option<Cause>, Option<Duration>) {
    let snapshot = layer.gate().snapshot(now);
    (snapshot.state, snapshot.cause(), snapshot.retry_after)
}

#[tokio::test]
async fn one_answer_that_leaves_no_doubt_opens_it_for_as_long_as_it_says() {
    let (layer, clock) = layer(|config| config);

    assert!(answered(&layer, (403, Some(MINUTE * 10))).await);

    let open_for = MINUTE * 10 + Duration::from_nanos(1);
    assert_eq!(stands(&layer, clock.now()), (State::Open, Some(Cause::Tripped), Some(open_for)));
    assert!(!answered(&layer, (200, None)).await);
}

#[tokio::test]
async fn one_that_names_no_time_opens_it_for_the_next_open_time() {
    let (layer, clock) = layer(|config| config.open_for(Duration::from_secs(3)));

    assert!(answered(&layer, (403, None)).await);

    let open_for = Duration::from_nanos(3_000_000_001);
    assert_eq!(stands(&layer, clock.now()), (State::Open, Some(Cause::Tripped), Some(open_for)));
}

#[tokio::test]
async fn a_probe_that_leaves_no_doubt_opens_it_again_whatever_the_others_say() {
    let (layer, clock) = layer(|config| config.required_successes(3));
    layer.gate().trip(None, clock.now());
    clock.advance(MINUTE);
    assert!(answered(&layer, (200, None)).await && answered(&layer, (200, None)).await);

    assert!(answered(&layer, (403, Some(MINUTE))).await);

    let open_for = MINUTE + Duration::from_nanos(1);
    assert_eq!(stands(&layer, clock.now()), (State::Open, Some(Cause::Tripped), Some(open_for)));
}

#[tokio::test]
async fn an_answer_without_a_doubt_is_told_apart_from_a_wait_that_is_asked_for() {
    let (layer, clock) = layer(|config| config.pushback(Duration::from_secs(1)));

    assert!(answered(&layer, (403, Some(MINUTE))).await);

    let open_for = MINUTE + Duration::from_nanos(1);
    assert_eq!(stands(&layer, clock.now()), (State::Open, Some(Cause::Tripped), Some(open_for)));
}

/// A call that is under way, and is answered when something is sent.
fn under_way(layer: &Layer) -> (Sender<Answer>, impl Future<Output = Result<Answer, Error<Infallible>>> + Unpin) {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let mut call = Box::pin(layer.run(async { Ok(answered.await.expect("sent")) }));
    assert!(poll_once(&mut call).is_none());
    (answer, call)
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_wait_asked_for_late_extends_what_is_open_and_opens_nothing_that_has_closed_since() {
    for late in [(503, Some(MINUTE)), (403, Some(MINUTE))] {
        let (layer, clock) = layer(|config| config.pushback(MINUTE).required_successes(1));
        let (first, first_call) = under_way(&layer);
        let (second, second_call) = under_way(&layer);
        layer.gate().trip(None, clock.now());

        first.send(late).expect("awaited");
        assert!(first_call.await.is_ok());

        let open_for = MINUTE + Duration::from_nanos(1);
        assert_eq!(stands(&layer, clock.now()), (State::Open, Some(Cause::Tripped), Some(open_for)));

        clock.advance(open_for);
        assert!(answered(&layer, (200, None)).await);
        second.send(late).expect("awaited");
        assert!(second_call.await.is_ok());

        assert_eq!(stands(&layer, clock.now()), (State::Closed, Some(Cause::ProbesSucceeded), None));
    }
}

#[tokio::test]
async fn any_answer_that_is_no_failure_ends_a_row_of_failures() {
    for slow_after in [None, Some(MINUTE)] {
        let (layer, _) = layer(|config| {
            let config = config.no_failure_ratio().consecutive_failures(3);
            match slow_after {
                Some(latency) => config.slow_after(latency),
                None => config,
            }
        });
        for answers in [[500, 500, 200], [500, 500, 200]] {
            for status in answers {
                assert!(answered(&layer, (status, None)).await);
            }
        }
        assert_eq!(layer.gate().state(), State::Closed);

        for _ in 0..3 {
            assert!(answered(&layer, (500, None)).await);
        }
        assert_eq!(layer.gate().state(), State::Open);
    }
}

#[tokio::test]
async fn an_answer_that_is_slow_ends_a_row_of_failures_too() {
    let (layer, clock) = layer(|config| {
        config.no_failure_ratio().consecutive_failures(2).slow_after(Duration::from_secs(1)).slow_ratio(1.0)
    });

    for (status, latency) in [(500, 0), (200, 2), (500, 0)] {
        let (answer, call) = under_way(&layer);
        clock.advance(Duration::from_secs(latency));
        answer.send((status, None)).expect("awaited");
        assert!(call.await.is_ok());
    }

    assert_eq!(layer.gate().state(), State::Closed);
}

#[tokio::test]
async fn a_wait_of_nothing_opens_nothing() {
    let (layer, clock) = layer(|config| config.pushback(MINUTE));

    assert!(answered(&layer, (503, Some(Duration::ZERO))).await);

    assert_eq!(stands(&layer, clock.now()), (State::Closed, None, None));
}

#[tokio::test]
async fn an_answer_without_a_doubt_that_names_no_wait_opens_it_for_the_next_open_time() {
    let (layer, clock) = layer(|config| config);

    assert!(answered(&layer, (403, Some(Duration::ZERO))).await);

    let open_for = Duration::from_nanos(5_000_000_001);
    assert_eq!(stands(&layer, clock.now()), (State::Open, Some(Cause::Tripped), Some(open_for)));
}

//! The fallback layer as a user stacks it, in virtual time.
#![expect(clippy::disallowed_types, reason = "tests write down what happens")]
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

mod bounded;
mod endings;
mod observed;

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use seawall_core::{Class, Env, Error, Pattern, Reason, Rejection, Verdict};
use seawall_fallback::{
    Cause, Combine, Degraded, FallbackError, FallbackLayer, Mark, OtherService, Unmarked, Value, from_fn,
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};

/// An error that cannot be cloned.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Fault(&'static str);

type Failing = Error<Fault>;

/// Answers what it is asked to.
fn echo() -> impl Service<Result<u32, Failing>, Response = u32, Error = Failing, Future: Send> + Clone {
    service_fn(|script: Result<u32, Failing>| ready(script))
}

fn down() -> Result<u32, Failing> {
    Err(Error::Inner(Fault("down")))
}

fn refused(reason: Reason) -> Result<u32, Failing> {
    Err(Error::Rejected(Rejection::new(Pattern::CircuitBreaker, reason)))
}

fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_service_that_answers_well_is_left_alone() {
    let asked = Arc::new(AtomicUsize::new(0));
    let function = from_fn({
        let asked = Arc::clone(&asked);
        move |(): &(), _: Result<&u32, &Failing>| {
            asked.fetch_add(1, SeqCst);
            ready(Ok::<_, Fault>(0))
        }
    });
    let layer = FallbackLayer::new(function);

    let answer = layer.layer(echo()).oneshot(Ok(7)).await;

    assert_eq!(answer, Ok(7));
    assert_eq!((asked.load(SeqCst), layer.figures().degraded), (0, 0));
}

#[tokio::test]
async fn failures_overload_and_refusals_are_answered_in_the_services_place() {
    let overload_at_503 = |result: Result<&u32, &Fault>| match result {
        Ok(503) => Class::Overload,
        Ok(502) | Err(_) => Class::Failure,
        Ok(404) => Class::Ignored,
        Ok(_) => Class::Success,
    };
    let layer = FallbackLayer::with_env(Value::new(0), Env::new().with_classifier(overload_at_503));
    let ask = |script| layer.layer(echo()).oneshot(script);

    for script in [down(), Ok(502), Ok(503), refused(Reason::CircuitOpen), refused(Reason::AttemptTimeout)] {
        assert_eq!(ask(script).await, Ok(0));
    }

    assert_eq!((layer.figures().degraded, layer.figures().unanswered), (5, 0));
}

#[tokio::test]
async fn what_is_the_callers_own_doing_is_not_masked() {
    let ignored_at_404 = |result: Result<&u32, &Fault>| match result {
        Ok(404) => Class::Ignored,
        _ => Class::Success,
    };
    let layer = FallbackLayer::with_env(Value::new(0), Env::new().with_classifier(ignored_at_404));
    let ask = |script| layer.layer(echo()).oneshot(script);

    assert_eq!(ask(Ok(404)).await, Ok(404));
    for reason in [Reason::RateLimited, Reason::TooHeavy] {
        let error = ask(refused(reason)).await.unwrap_err();
        assert_eq!(error.primary().rejection().map(Rejection::reason), Some(reason));
        assert_eq!(error.fallback(), None);
    }
}

#[tokio::test]
async fn the_condition_decides_by_class_by_reason_and_by_the_outcome_itself() {
    let when = |cause: Cause, outcome: Result<&u32, &Failing>| match cause {
        Cause::Rejected(rejection) => rejection.reason() == Reason::CircuitOpen,
        Cause::Answered(verdict) => {
            verdict == Verdict::new(Class::Success) && outcome.is_ok_and(|answer| *answer == 204)
        }
    };
    let layer = FallbackLayer::new(Value::new(0)).with_when(when);
    let ask = |script| layer.layer(echo()).oneshot(script);

    assert_eq!(ask(refused(Reason::CircuitOpen)).await, Ok(0));
    assert_eq!(ask(Ok(204)).await, Ok(0));
    assert_eq!(ask(Ok(200)).await, Ok(200));
    assert_eq!(ask(down()).await, Err(FallbackError::new(Error::Inner(Fault("down")))));
    assert!(ask(refused(Reason::BulkheadFull)).await.is_err());
}

#[tokio::test]
async fn a_function_is_given_the_request_and_the_error() {
    let function = from_fn(|request: &u32, outcome: Result<&u32, &Failing>| {
        let told = matches!(outcome, Err(Error::Inner(Fault("down"))));
        ready(Ok::<_, Fault>(request + u32::from(told)))
    });
    let service = service_fn(|_: u32| ready(down()));
    let layer = FallbackLayer::new(function).with_extract(|request: &u32| *request);

    assert_eq!(layer.layer(service).oneshot(41).await, Ok(42));
}

#[tokio::test]
async fn a_fallback_that_fails_leaves_both_errors_to_the_caller() {
    let function = from_fn(|(): &(), _: Result<&u32, &Failing>| ready(Err::<u32, _>(Fault("empty"))));
    let layer = FallbackLayer::new(function);

    let error = layer.layer(echo()).oneshot(down()).await.unwrap_err();

    assert_eq!(error.to_string(), "down; its fallback failed too: empty");
    assert_eq!(error.into_parts(), (Error::Inner(Fault("down")), Some(Fault("empty"))));
    assert_eq!(layer.figures().unanswered, 1);
}

#[tokio::test]
async fn a_fallback_that_fails_beside_a_bad_response_gives_that_response_with_a_note() {
    #[derive(Clone)]
    struct Note;
    impl Mark<(u32, Option<Fault>), Fault> for Note {
        fn degraded(&self, _: &mut (u32, Option<Fault>), _: &Degraded) {}

        fn failed(&self, response: &mut (u32, Option<Fault>), error: Fault) {
            response.1 = Some(error);
        }
    }
    type Noted = (u32, Option<Fault>);
    let classify = |_: Result<&Noted, &Fault>| Class::Failure;
    let function = from_fn(|(): &(), _: Result<&Noted, &Failing>| ready(Err::<Noted, _>(Fault("empty"))));
    let layer = FallbackLayer::with_env(function, Env::new().with_classifier(classify)).with_mark(Note);

    let answer = layer.layer(service_fn(|(): ()| ready(Ok::<Noted, Failing>((502, None))))).oneshot(()).await;

    assert_eq!(answer, Ok((502, Some(Fault("empty")))));
}

#[tokio::test]
async fn a_chain_goes_on_where_one_alternative_fails_or_has_nothing_to_say() {
    let fails = || from_fn(|(): &(), _: Result<&u32, &Failing>| ready(Err::<u32, _>(Fault("first"))));
    let silent = || Value::new(1).only(|_: Cause, _: Result<&u32, &Failing>| false);
    let answered = FallbackLayer::new(fails().then(silent()).then(Value::new(3)));
    let unanswered = FallbackLayer::new(silent().then(fails()).then(fails()));
    let silence = FallbackLayer::new(silent().then(silent()));

    assert_eq!(answered.layer(echo()).oneshot(down()).await, Ok(3));

    let error = unanswered.layer(echo()).oneshot(down()).await.unwrap_err();
    assert_eq!(error.to_string(), "down; its fallback failed too: first; first");
    let error = silence.layer(echo()).oneshot(down()).await.unwrap_err();
    assert_eq!(error.into_parts(), (Error::Inner(Fault("down")), None));
}

#[tokio::test]
async fn an_answer_says_where_it_comes_from() {
    let mark = |answer: &mut String, degraded: &Degraded| answer.push_str(degraded.source);
    let broken = service_fn(|(): ()| ready(Err::<String, Failing>(Error::Inner(Fault("down")))));
    let value = FallbackLayer::new(Value::new("from the ".to_owned())).with_mark(mark);
    let named = FallbackLayer::new(Value::new("from the ".to_owned()).named("shelf")).with_mark(mark);

    assert_eq!(value.layer(broken).oneshot(()).await.ok().as_deref(), Some("from the value"));
    assert_eq!(named.layer(broken).oneshot(()).await.ok().as_deref(), Some("from the shelf"));
}

#[tokio::test]
async fn another_service_is_driven_ready_and_its_error_is_kept() {
    let other =
        ConcurrencyLimit::new(service_fn(|id: u32| ready(if id > 0 { Ok(id * 2) } else { Err(Fault("no id")) })), 1);
    let layer = FallbackLayer::new(OtherService::new(other, |id: &u32| *id)).with_extract(|id: &u32| *id);
    let broken = service_fn(|_: u32| ready(down()));

    for _ in 0..3 {
        assert_eq!(layer.layer(broken).oneshot(21).await, Ok(42));
    }
    let error = layer.layer(broken).oneshot(0).await.unwrap_err();
    assert_eq!(error.into_parts(), (Error::Inner(Fault("down")), Some(Fault("no id"))));
}

#[tokio::test]
async fn a_bad_answer_of_another_service_or_a_function_is_no_answer() {
    let by_status = |result: Result<&u32, &Fault>| match result {
        Ok(503) => Class::Overload,
        Ok(500) | Err(_) => Class::Failure,
        Ok(404) => Class::Ignored,
        Ok(_) => Class::Success,
    };
    let env = || Env::new().with_classifier(by_status);
    let other = |status: u32| OtherService::new(service_fn(move |()| ready(Ok::<_, Fault>(status))), |(): &()| ());
    let function = from_fn(|(): &(), _: Result<&u32, &Failing>| ready(Ok::<_, Fault>(500)));
    let goes_on = FallbackLayer::with_env(other(503).then(function).then(Value::new(7)), env());
    let stands = FallbackLayer::with_env(other(503).then(function), env());
    let answers = FallbackLayer::with_env(other(404), env());

    assert_eq!(goes_on.layer(echo()).oneshot(Ok(500)).await, Ok(7));
    assert_eq!(stands.layer(echo()).oneshot(Ok(500)).await, Ok(500));
    assert_eq!((stands.figures().degraded, stands.figures().unanswered), (0, 1));
    let error = stands.layer(echo()).oneshot(down()).await.unwrap_err();
    assert_eq!(error.into_parts(), (Error::Inner(Fault("down")), None));
    assert_eq!(answers.layer(echo()).oneshot(Ok(500)).await, Ok(404));
}

#[tokio::test]
async fn a_deliberate_value_is_an_answer_whatever_its_class() {
    let failure = |_: Result<&u32, &Fault>| Class::Failure;
    let layer = FallbackLayer::with_env(Value::new(503), Env::new().with_classifier(failure));

    assert_eq!(layer.layer(echo()).oneshot(Ok(500)).await, Ok(503));
}

#[tokio::test]
async fn a_degraded_answer_says_why() {
    let why = |answer: &mut String, degraded: &Degraded| answer.push_str(degraded.reason);
    let layer = FallbackLayer::new(Value::new(String::new())).with_mark(why);
    let ask =
        |outcome: fn() -> Failing| layer.layer(service_fn(move |()| ready(Err::<String, _>(outcome())))).oneshot(());

    assert_eq!(ask(|| Error::Inner(Fault("down"))).await.ok().as_deref(), Some("failure"));
    let open = || Error::Rejected(Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen));
    assert_eq!(ask(open).await.ok().as_deref(), Some("circuit_open"));
}

#[tokio::test]
async fn what_the_service_holds_is_given_back_before_the_alternative_works() {
    let limit = ConcurrencyLimit::new(service_fn(|id: u32| ready(if id > 0 { Ok(id) } else { Err(Fault("down")) })), 1);
    // The alternative asks the very service that failed, which has one place.
    let layer = FallbackLayer::new(OtherService::new(limit.clone(), |(): &()| 5));

    assert_eq!(layer.protect(limit).oneshot(0).await, Ok(5));
}

#[tokio::test]
async fn clones_and_second_services_share_figures_and_alternative() {
    let layer = FallbackLayer::new(Value::new(0));
    let leaked = layer.clone().with_mark(Unmarked).leak();

    let _ = layer.layer(echo()).oneshot(down()).await;
    let _ = layer.layer(echo()).clone().oneshot(down()).await;
    let _ = leaked.layer(echo()).oneshot(down()).await;

    assert_eq!((layer.figures().degraded, leaked.figures().degraded), (3, 3));
}

//! Which outcomes are tried again, and how often.

use std::sync::{Arc, Mutex};

use seawall_backoff_with_jitter::{Advice, Rebuild, RetryLayer};
use seawall_core::{CallContext, Class, Clock, Error, Pattern, Reason, Rejection, TokioClock, Verdict};
use tower::{Layer, ServiceExt, service_fn};

use crate::scripted::{FAIL, Fault, Scripted, Step, each_second, env, layer};

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_tried_again_until_it_succeeds() {
    let (service, script) = Scripted::new([FAIL, FAIL, Step::Answer(7)]);
    let layer = layer(each_second());

    let answer = layer.layer(service).oneshot(()).await;

    assert_eq!(answer, Ok(7));
    assert_eq!(script.gaps(), [1, 1]);
    assert_eq!((layer.figures().retries, layer.figures().recovered), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_last_outcome_comes_back_unchanged_when_attempts_are_used_up() {
    let (service, script) = Scripted::new([FAIL, FAIL, Step::Fail("the third")]);
    let layer = layer(each_second());

    let answer = layer.layer(service).oneshot(()).await;

    assert_eq!(answer, Err(Error::Inner(Fault("the third"))));
    assert_eq!(script.attempts(), 3);
    assert_eq!(layer.figures().out_of_attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_kept_is_sent_once() {
    let (service, script) = Scripted::new([FAIL, Step::Answer(1)]);
    let layer = layer(each_second()).with_replay(Rebuild::new(|_: &u32| None::<()>, |(): &(), _| Some(0_u32)));

    let answer = layer.layer(service).oneshot(5_u32).await;

    assert_eq!(answer, Err(Error::Inner(Fault("busy"))));
    assert_eq!((script.attempts(), layer.figures().not_replayable), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_attempts_before_is_told_to_the_request() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn({
        let told = Arc::clone(&told);
        move |previous: u32| {
            told.lock().expect("no panic").push(previous);
            std::future::ready(Err::<(), _>(Error::Inner(Fault("busy"))))
        }
    });
    let layer = layer(each_second()).with_replay(Rebuild::new(|_: &u32| Some(()), |(): &(), previous| Some(previous)));

    let _ = layer.layer(service).oneshot(0_u32).await;

    assert_eq!(*told.lock().expect("no panic"), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_must_not_be_repeated_is_repeated_only_when_it_was_never_sent() {
    let env = env().with_attributes(|(): &()| CallContext::new().with_idempotent(false));
    let layer = RetryLayer::with_env(each_second(), env);
    let nobody = Rejection::new(Pattern::LoadBalance, Reason::NoEndpoints);
    let (refused, _) = Scripted::new([Step::Refuse(nobody), Step::Answer(1)]);
    let (failed, script) = Scripted::new([FAIL, Step::Answer(1)]);

    assert_eq!(layer.layer(refused).oneshot(()).await, Ok(1));
    assert_eq!(layer.layer(failed).oneshot(()).await, Err(Error::Inner(Fault("busy"))));

    assert_eq!((script.attempts(), layer.figures().not_idempotent), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_kept_because_it_must_not_be_repeated_is_told_from_one_that_could_not_be() {
    let env = env().with_attributes(|harmless: &bool| CallContext::new().with_idempotent(*harmless));
    let unkept = Rebuild::new(|_: &bool| None::<()>, |(): &(), _| Some(true));
    let layer = RetryLayer::with_env(each_second(), env).with_replay(unkept);
    let ask = |harmless: bool, step: Step| layer.layer(Scripted::new([step]).0).oneshot(harmless);

    let _: Result<u32, _> = ask(false, FAIL).await;
    assert_eq!((layer.figures().not_idempotent, layer.figures().not_replayable), (1, 0));

    let _: Result<u32, _> = ask(true, FAIL).await;
    let unsent = Step::Refuse(Rejection::new(Pattern::LoadBalance, Reason::NoEndpoints));
    let _: Result<u32, _> = ask(false, unsent).await;
    assert_eq!((layer.figures().not_idempotent, layer.figures().not_replayable), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_inside_costs_no_retry_and_nothing_of_the_budget() {
    let full = Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull);
    let layer = layer(each_second());

    for _ in 0..199 {
        let (service, script) = Scripted::new([Step::Refuse(full), Step::Answer(1)]);
        assert_eq!(layer.layer(service).oneshot(()).await, Err(Error::Rejected(full)));
        assert_eq!(script.attempts(), 1);
    }

    let budget = layer.config().budget().map(|budget| budget.balance(TokioClock.now()));
    assert_eq!((layer.figures().retries, budget), (0, Some(19)));
}

#[tokio::test(start_paused = true)]
async fn the_predicate_decides_on_responses_and_errors() {
    let when = |verdict: Verdict, result: Result<&u32, &Fault>| match result {
        Ok(0) => Advice::Again,
        Err(Fault("fatal")) => Advice::Stop,
        Err(_) if verdict.class == Class::Failure => Advice::IfIdempotent,
        _ => Advice::Stop,
    };
    let layer = layer(each_second()).with_when(when);
    let (empty, _) = Scripted::new([Step::Answer(0), Step::Answer(9)]);
    let (fatal, script) = Scripted::new([Step::Fail("fatal"), Step::Answer(9)]);

    assert_eq!(layer.layer(empty).oneshot(()).await, Ok(9));
    assert_eq!(layer.layer(fatal).oneshot(()).await, Err(Error::Inner(Fault("fatal"))));
    assert_eq!(script.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_attempt_passes_through_and_leaves_nothing_behind() {
    let service = service_fn(|(): ()| async {
        let panics = true;
        assert!(!panics, "the service panics");
        Ok::<(), Error<Fault>>(())
    });
    let layer = layer(each_second());
    let service = layer.layer(service);

    let panicked = tokio::spawn(service.clone().oneshot(())).await;

    assert!(panicked.is_err_and(|error| error.is_panic()));
    assert_eq!(layer.figures().retries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_leaked_layer_does_the_same() {
    let (service, script) = Scripted::new([FAIL, Step::Answer(7)]);
    let layer = layer(each_second()).leak();

    let answer = layer.layer(service).oneshot(()).await;

    assert_eq!((answer, script.gaps(), layer.figures().recovered), (Ok(7), vec![1], 1));
}

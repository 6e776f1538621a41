//! What the budget hears of calls, and what is learnt of how long they take.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use seawall_backoff_with_jitter::{Advice, Backoff, RetryConfig, RetryLayer};
use seawall_core::{
    Budget, CallContext, Class, Clock, Error, Pattern, Reason, Rejection, Stamping, Timestamp, TokenBudget, TokioClock,
    Verdict, WindowBudget,
};
use tower::{Layer, ServiceExt};

use crate::scripted::{FAIL, Fault, Scripted, Step, TestEnv, each_second, env, layer};

const SECOND: Duration = Duration::from_secs(1);

fn tenth_of_successes() -> Budget {
    let budget = WindowBudget::new(0.1, 0, 10 * SECOND).expect("allowed");
    Budget::of_successes(budget.with_stamping(Stamping::Each))
}

async fn calls(layer: &RetryLayer<TestEnv>, steps: impl IntoIterator<Item = Step>) -> usize {
    let (service, script) = Scripted::new(steps);
    let service = layer.layer(service);
    let count = script.steps.lock().expect("no panic").len();
    for _ in 0..count {
        let _: Result<u32, _> = service.clone().oneshot(()).await;
    }
    script.attempts()
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_successes_hears_of_those_at_first_and_of_no_failure() {
    for max_elapsed in [None, Some(60 * SECOND)] {
        let budget = tenth_of_successes();
        let config = each_second().with_budget(budget.clone());
        let layer = layer(max_elapsed.map_or(config.clone(), |limit| config.with_max_elapsed(limit).expect("allowed")));

        calls(&layer, vec![Step::Answer(1); 100]).await;
        assert_eq!(budget.balance(TokioClock.now()), 10);

        let ignored = |_: Result<&u32, &Fault>| Class::Ignored;
        let ignoring = RetryLayer::with_env(layer.config().clone(), env().with_classifier(ignored));
        let _: Result<u32, _> = ignoring.layer(Scripted::new([]).0).oneshot(()).await;
        calls(&layer, vec![FAIL; 5]).await;
        assert!(budget.balance(TokioClock.now()) <= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_also_where_the_time_for_attempts_is_limited() {
    let config = each_second().with_backoff(Backoff::constant(Duration::ZERO));
    let layer = layer(config.with_max_elapsed(60 * SECOND).expect("allowed"));

    assert_eq!(calls(&layer, vec![FAIL; 200]).await, 200 + 20);
}

#[tokio::test(start_paused = true)]
async fn only_what_the_other_side_has_failed_at_takes_tokens() {
    let budget = Budget::from(TokenBudget::new(4, 1.0).expect("allowed"));
    let once = each_second().with_attempts(1).expect("allowed").with_budget(budget.clone());
    let allows = || budget.balance(Timestamp::ZERO) == 1;
    let unseen = |_: Verdict, _: Result<&u32, &Fault>| Advice::Unseen;
    let full = Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull);

    for _ in 0..9 {
        let _: Result<u32, _> = layer(once.clone()).with_when(unseen).layer(Scripted::new([FAIL]).0).oneshot(()).await;
    }
    calls(&layer(once.clone()), vec![Step::Refuse(full); 9]).await;
    assert!(allows());

    calls(&layer(once), vec![FAIL; 2]).await;
    assert!(!allows());
}

/// Calls of `layer` that take so long have succeeded at first.
async fn has_seen(layer: &RetryLayer<TestEnv>, takes: Duration) {
    let call = || {
        layer.run(move || async move {
            tokio::time::sleep(takes).await;
            Ok::<u32, Fault>(0)
        })
    };
    for call in (0..200).map(|_| tokio::spawn(call())).collect::<Vec<_>>() {
        assert_eq!(call.await.expect("no panic"), Ok(0));
    }
    tokio::time::sleep(10 * SECOND).await;
}

/// The attempts of a call that fails three times, with this much time left.
async fn attempts(layer: &RetryLayer<TestEnv>, left: Duration) -> Result<u32, Error<Fault>> {
    let context = CallContext::new().with_deadline(TokioClock.now().saturating_add(left));
    let answer = |previous| async move { if previous < 3 { Err(Error::Inner(Fault("busy"))) } else { Ok(previous) } };
    layer.run_carrying(context, answer).await
}

fn limited(max_elapsed: Duration) -> RetryConfig {
    let config = each_second().without_budget().with_attempts(9).expect("allowed");
    config.with_max_elapsed(max_elapsed).expect("allowed")
}

#[tokio::test(start_paused = true)]
async fn what_first_attempts_take_is_learnt_where_their_beginning_is_known() {
    let layer = layer(limited(60 * SECOND));
    has_seen(&layer, 2 * SECOND).await;

    assert_eq!(attempts(&layer, 4 * SECOND + SECOND / 2).await, Err(Error::Inner(Fault("busy"))));
    assert_eq!(attempts(&layer, 5 * SECOND + SECOND / 2).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn the_time_to_begin_attempts_is_limited_beside_a_later_deadline_and_is_no_limit_of_what_they_take() {
    let layer = layer(limited(3 * SECOND + SECOND / 2));
    has_seen(&layer, 5 * SECOND).await;

    assert_eq!(attempts(&layer, 60 * SECOND).await, Ok(3));

    let shorter = self::layer(limited(2 * SECOND + SECOND / 2));
    assert_eq!(attempts(&shorter, 60 * SECOND).await, Err(Error::Inner(Fault("busy"))));
    assert_eq!(shorter.figures().retries, 2);
}

//! A retry inside a retry.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use seawall_backoff_with_jitter::RetryLayer;
use seawall_core::{Budget, CallContext, Error, Pattern, Reason, Rejection, WindowBudget};
use tower::{Layer, ServiceExt, service_fn};

use crate::scripted::{FAIL, Fault, Scripted, Step, TestEnv, boxed, each_second, layer, poll_once};

/// How many attempts one call makes through these two, when all fail.
async fn attempts(outer: &RetryLayer<TestEnv>, inner: &RetryLayer<TestEnv>) -> usize {
    let (service, script) = Scripted::new([]);
    let answer: Result<u32, _> = outer.layer(inner.layer(service)).oneshot(()).await;
    assert_eq!(answer, Err(Error::Inner(Fault("script over"))));
    script.attempts()
}

#[tokio::test(start_paused = true)]
async fn what_the_inner_one_has_given_up_on_is_not_repeated_by_the_outer_one() {
    let (outer, inner) = (layer(each_second()), layer(each_second()));

    assert_eq!(attempts(&outer, &inner).await, 3);

    assert_eq!((outer.figures().exhausted, outer.figures().retries), (1, 0));
    assert_eq!(inner.figures().out_of_attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn nor_by_the_one_outside_of_that() {
    let (service, script) = Scripted::new([]);
    let service = layer(each_second()).layer(layer(each_second()).layer(layer(each_second()).layer(service)));

    let _: Result<u32, _> = service.oneshot(()).await;

    assert_eq!(script.attempts(), 3);
}

#[tokio::test(start_paused = true)]
async fn attempts_multiply_where_that_is_wanted() {
    let (outer, inner) = (layer(each_second().with_multiplied_attempts()), layer(each_second()));

    assert_eq!(attempts(&outer, &inner).await, 9);
}

#[tokio::test(start_paused = true)]
async fn an_inner_one_whose_budget_is_used_up_ends_the_outer_one_too() {
    let none = Budget::from(WindowBudget::new(0.0, 0, Duration::from_secs(10)).expect("allowed"));
    let (outer, inner) = (layer(each_second()), layer(each_second().with_budget(none)));

    assert_eq!(attempts(&outer, &inner).await, 1);
    assert_eq!(outer.figures().exhausted, 1);
}

#[tokio::test(start_paused = true)]
async fn an_inner_one_that_never_retries_leaves_it_to_the_outer_one() {
    let (outer, inner) = (layer(each_second()), layer(each_second().with_attempts(1).expect("allowed")));

    assert_eq!(attempts(&outer, &inner).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_for_the_inner_one_may_not_be_for_the_outer_one() {
    let open = Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen).with_retry_after(Duration::from_secs(40));
    let (service, script) = Scripted::new([Step::Refuse(open), Step::Answer(1)]);
    let outer = layer(each_second().with_max_hint(Duration::from_secs(60)));
    let inner = layer(each_second());

    assert_eq!(outer.layer(inner.layer(service)).oneshot(()).await, Ok(1));

    assert_eq!((script.attempts(), outer.figures().exhausted, inner.figures().pushed_back), (2, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn blocks_of_code_are_no_exception() {
    let (outer, inner) = (layer(each_second()), layer(each_second()));
    let made = AtomicUsize::new(0);

    let answer = outer
        .run_carrying(CallContext::new(), |_| {
            inner.run(|| {
                made.fetch_add(1, Relaxed);
                async { Err::<(), _>(Fault("busy")) }
            })
        })
        .await;

    assert_eq!((answer, made.into_inner()), (Err(Error::Inner(Fault("busy"))), 3));
}

#[tokio::test(start_paused = true)]
async fn what_an_inner_one_gave_up_on_earlier_says_nothing_about_a_later_call() {
    let inner = layer(each_second());
    let outer = layer(each_second());
    let (gives_up, _) = Scripted::new([]);
    // Nobody outside of it asks: the call is answered all the same.
    let _: Result<u32, _> = inner.layer(gives_up.clone()).oneshot(()).await;
    let swallowed = outer.layer(service_fn(move |(): ()| {
        let call = inner.layer(gives_up.clone()).oneshot(());
        async move { Ok::<_, Error<Fault>>(call.await.unwrap_or(0)) }
    }));
    assert_eq!(swallowed.oneshot(()).await, Ok(0));

    let (service, script) = Scripted::new([FAIL, FAIL, Step::Answer(1)]);
    assert_eq!(outer.layer(service).oneshot(()).await, Ok(1));
    assert_eq!(script.attempts(), 3);
}

/// A call that ends at once, its budget used up.
async fn give_up() {
    let none = Budget::from(WindowBudget::new(0.0, 0, Duration::from_secs(10)).expect("allowed"));
    let given_up: Result<u32, _> = layer(each_second().with_budget(none)).layer(Scripted::new([]).0).oneshot(()).await;
    assert!(given_up.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_another_call_gave_up_on_while_this_one_waited_says_nothing_about_it() {
    let outer = layer(each_second().without_budget());
    let (service, _) = Scripted::new([FAIL, FAIL, Step::Answer(1)]);
    let mut call = boxed(outer.layer(service).oneshot(()));
    let mut left = 3;
    let mut block = boxed(outer.run(|| {
        left -= 1;
        std::future::ready(if left > 0 { Err(Fault("busy")) } else { Ok(1) })
    }));

    for _ in 0..2 {
        give_up().await;
        assert!(poll_once(&mut call).is_pending());
        give_up().await;
        assert!(poll_once(&mut block).is_pending());
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    assert_eq!((call.await, block.await), (Ok(1), Ok(1)));
}

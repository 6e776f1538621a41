//! Who pays.

use std::time::Duration;

use seawall_backoff_with_jitter::{Backoff, RetryLayer};
use seawall_core::{
    ActiveBudget, Budget, Class, CostBudget, Error, Pattern, Reason, Rejection, TokenBudget, WindowBudget,
};
use tower::{Layer, ServiceExt};

use crate::scripted::{FAIL, Fault, Scripted, Step, boxed, each_second, env, layer, poll_once};

#[tokio::test(start_paused = true)]
async fn an_exhausted_budget_gives_the_original_outcome_and_bounds_the_load() {
    let budget = Budget::from(WindowBudget::new(0.1, 0, Duration::from_secs(60)).expect("allowed"));
    let (service, script) = Scripted::new([]);
    let layer = layer(each_second().with_budget(budget));
    let service = layer.layer(service);

    for _ in 0..1_000 {
        assert_eq!(service.clone().oneshot(()).await, Err(Error::Inner(Fault("script over"))));
    }

    let attempts = script.attempts();
    assert!((1_050..=1_100).contains(&attempts), "{attempts}");
    assert!(layer.figures().out_of_budget > 900);
}

#[tokio::test(start_paused = true)]
async fn with_every_other_attempt_failing_the_load_grows_by_no_more_than_the_budget() {
    let budget = Budget::from(WindowBudget::new(0.1, 0, Duration::from_secs(60)).expect("allowed"));
    let (service, script) = Scripted::new((0..2_000).flat_map(|_| [FAIL, Step::Answer(1)]));
    let layer = layer(each_second().with_backoff(Backoff::constant(Duration::ZERO)).with_budget(budget));
    let service = layer.layer(service);

    for _ in 0..1_000 {
        let _ = service.clone().oneshot(()).await;
    }

    let attempts = script.attempts();
    assert!((1_050..=1_100).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_on_by_default_and_shared_by_clones_and_services() {
    let (service, script) = Scripted::new([]);
    let layer = RetryLayer::with_env(each_second().with_backoff(Backoff::constant(Duration::ZERO)), env());

    for _ in 0..200 {
        let _ = layer.clone().layer(service.clone()).oneshot(()).await;
    }

    // One for ten requests, and the first ten before there were a hundred.
    assert_eq!(script.attempts(), 200 + 20);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_of_costs_pays_for_more_retries_after_overload_and_gets_back_what_a_recovery_took() {
    let attempts_of = async |class: Class| {
        let (service, script) = Scripted::new([]);
        let config =
            each_second().with_backoff(Backoff::constant(Duration::ZERO)).with_budget(CostBudget::default().into());
        let classify = move |result: Result<&u32, &Fault>| if result.is_ok() { Class::Success } else { class };
        let service = RetryLayer::with_env(config, env().with_classifier(classify)).layer(service);
        for _ in 0..1_000 {
            let _ = service.clone().oneshot(()).await;
        }
        script.attempts()
    };

    assert_eq!(attempts_of(Class::Failure).await, 1_000 + 35);
    assert_eq!(attempts_of(Class::Overload).await, 1_000 + 100);

    let budget = Budget::from(CostBudget::default());
    let config = each_second().with_backoff(Backoff::constant(Duration::ZERO)).with_budget(budget.clone());
    let (service, _) = Scripted::new((0..100).flat_map(|_| [FAIL, Step::Answer(1)]));
    let service = layer(config).layer(service);
    for _ in 0..100 {
        assert_eq!(service.clone().oneshot(()).await, Ok(1));
    }
    assert_eq!(budget.balance(seawall_core::Timestamp::ZERO), 35);
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_refuses_costs_no_token() {
    let attempts_after = async |first: Step| {
        // One failure leaves half of the tokens, which is too few.
        let budget = Budget::from(TokenBudget::new(2, 0.1).expect("allowed"));
        let (service, script) = Scripted::new([first, Step::Answer(1)]);
        let _ = layer(each_second().with_budget(budget)).layer(service).oneshot(()).await;
        script.attempts()
    };
    let refused = Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen);

    assert_eq!(attempts_after(Step::Refuse(refused)).await, 2);
    assert_eq!(attempts_after(FAIL).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_what_is_under_way_is_free_again_when_a_retry_ends_or_is_dropped() {
    let budget = Budget::from(ActiveBudget::new(0.0, 1, || 100).expect("allowed"));
    let (service, _) = Scripted::new([FAIL, FAIL, Step::Answer(1), FAIL, Step::Hang, FAIL, FAIL, FAIL]);
    let layer = layer(each_second().with_budget(budget.clone()));
    let service = layer.layer(service);
    let left = || budget.balance(seawall_core::Timestamp::ZERO);
    let mut waiting = boxed(service.clone().oneshot(()));
    assert!(poll_once(&mut waiting).is_pending());
    assert_eq!(left(), 0);

    // The one place is taken: the second caller gets what it has.
    assert_eq!(service.clone().oneshot(()).await, Err(Error::Inner(Fault("busy"))));
    assert_eq!(waiting.await, Ok(1));
    assert_eq!(left(), 1);

    let mut hanging = boxed(service.clone().oneshot(()));
    assert!(poll_once(&mut hanging).is_pending());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(poll_once(&mut hanging).is_pending());
    assert_eq!(left(), 0);
    drop(hanging);
    assert_eq!(left(), 1);

    // A second retry takes the place of the first.
    assert_eq!(service.oneshot(()).await, Err(Error::Inner(Fault("busy"))));
    assert_eq!((left(), layer.figures().out_of_attempts, layer.figures().out_of_budget), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_block_of_code_holds_its_place_in_the_budget_until_it_has_ended() {
    let budget = Budget::from(ActiveBudget::new(0.0, 1, || 0).expect("allowed"));
    let layer = layer(each_second().with_budget(budget.clone()));
    let mut left = 2;

    let mut call = boxed(layer.run(|| {
        left -= 1;
        std::future::ready(if left > 0 { Err(Fault("busy")) } else { Ok(7) })
    }));
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(budget.balance(seawall_core::Timestamp::ZERO), 0);

    assert_eq!((&mut call).await, Ok(7));
    assert_eq!(budget.balance(seawall_core::Timestamp::ZERO), 1);
}

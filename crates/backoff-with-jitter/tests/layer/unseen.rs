//! Attempts that the other side has not even looked at.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall_backoff_with_jitter::{Advice, Ended, IfUnknown, Next, Rebuild, RetryConfig, RetrySchedule, Stopped};
use seawall_core::{Budget, CallContext, Error, Timestamp, Verdict, WindowBudget};
use tower::{Layer, ServiceExt, service_fn};

use crate::scripted::{FAIL, Fault, Scripted, Step, each_second, layer};

const UNSEEN: Step = Step::Fail("refused stream");

fn advise(_: Verdict, result: Result<&u32, &Fault>) -> Advice {
    match result {
        Ok(_) => Advice::Stop,
        Err(Fault("refused stream")) => Advice::Unseen,
        Err(_) => Advice::IfIdempotent,
    }
}

/// How one call ends, and the seconds between its attempts.
async fn outcome(config: RetryConfig, steps: Vec<Step>) -> (Result<u32, Error<Fault>>, Vec<u64>) {
    let (service, script) = Scripted::new(steps);
    let answer = layer(config).with_when(advise).layer(service).oneshot(()).await;
    (answer, script.gaps())
}

fn penniless() -> RetryConfig {
    let none = WindowBudget::new(0.0, 0, Duration::from_secs(10)).expect("allowed");
    each_second().with_budget(Budget::from(none))
}

#[tokio::test(start_paused = true)]
async fn the_first_is_made_good_at_once_and_at_nobodys_expense() {
    assert_eq!(outcome(penniless(), vec![UNSEEN, Step::Answer(1)]).await, (Ok(1), vec![0]));
}

#[tokio::test(start_paused = true)]
async fn it_does_not_count_as_an_attempt() {
    let two = each_second().with_attempts(2).expect("allowed");

    assert_eq!(outcome(two, vec![UNSEEN, FAIL, Step::Answer(1)]).await, (Ok(1), vec![0, 1]));
}

#[tokio::test(start_paused = true)]
async fn the_other_side_is_told_of_the_attempts_that_it_may_have_seen() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn({
        let told = Arc::clone(&told);
        move |previous: u32| {
            let mut told = told.lock().expect("no panic");
            told.push(previous);
            ready(Err::<u32, _>(Error::Inner(Fault(if told.len() == 1 { "refused stream" } else { "busy" }))))
        }
    });
    let replay = Rebuild::new(|_: &u32| Some(()), |(): &(), previous| Some(previous));

    let _ = layer(each_second()).with_when(advise).with_replay(replay).layer(service).oneshot(0).await;

    assert_eq!(*told.lock().expect("no panic"), [0, 0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_second_one_waits_pays_and_counts_like_any_other() {
    assert_eq!(outcome(each_second(), vec![UNSEEN, UNSEEN, Step::Answer(1)]).await, (Ok(1), vec![0, 1]));
    let (answer, gaps) = outcome(penniless(), vec![UNSEEN, UNSEEN, Step::Answer(1)]).await;
    assert_eq!((answer, gaps), (Err(Error::Inner(Fault("refused stream"))), vec![0]));
}

#[tokio::test(start_paused = true)]
async fn who_wants_one_attempt_gets_one() {
    let one = each_second().with_attempts(1).expect("allowed");

    let (answer, gaps) = outcome(one, vec![UNSEEN, Step::Answer(1)]).await;

    assert_eq!((answer, gaps), (Err(Error::Inner(Fault("refused stream"))), vec![]));
}

#[test]
fn nothing_is_made_good_after_the_deadline_and_everything_whatever_the_request_does() {
    let config = RetryConfig::new(IfUnknown::OnlyUnsent);
    let now = Timestamp::from_nanos(7);
    let next = |deadline| {
        let context = CallContext::new().with_idempotent(false).with_deadline(Timestamp::from_nanos(deadline));
        let pay = || panic!("it costs nothing");
        RetrySchedule::default().next(&config, Ended::new(Advice::Unseen), &context, now, 0, pay)
    };

    assert_eq!(next(7), Next::Stop(Stopped::Deadline));
    assert_eq!(next(8), Next::Retry { at: now, wait: Duration::ZERO });
}

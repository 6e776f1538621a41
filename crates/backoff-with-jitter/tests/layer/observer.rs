//! What the observer hears.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall_backoff_with_jitter::{Advice, RetryLayer};
use seawall_core::{CallContext, Class, Error, Observer, Outcome, Pattern, Reason, Rejection, Verdict};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scripted::{FAIL, Fault, Scripted, Step, boxed, each_second, env, poll_once};

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Call(Outcome),
    Retry(u32, Duration, Outcome),
    GiveUp(&'static str),
}

#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Heard {
    fn push(&self, event: Event) {
        self.0.lock().expect("no panic").push(event);
    }

    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

impl Observer for Heard {
    const PER_CALL: bool = true;

    fn on_call(&self, outcome: Outcome) {
        self.push(Event::Call(outcome));
    }

    fn on_retry(&self, attempts: u32, wait: Duration, outcome: Outcome) {
        self.push(Event::Retry(attempts, wait, outcome));
    }

    fn on_give_up(&self, reason: &'static str) {
        self.push(Event::GiveUp(reason));
    }
}

const SECOND: Duration = Duration::from_secs(1);
const SUCCESS: Event = Event::Call(Outcome::Finished(Class::Success));
const FAILED: Outcome = Outcome::Finished(Class::Failure);
const FAILURE: Event = Event::Call(FAILED);

#[tokio::test(start_paused = true)]
async fn it_hears_of_each_retry_of_why_there_is_none_and_of_each_call_once() {
    let cut = Rejection::new(Pattern::Timeout, Reason::AttemptTimeout);
    let late = Rejection::new(Pattern::Timeout, Reason::DeadlineExceeded);
    let heard = Heard::default();
    let layer = RetryLayer::with_env(each_second(), env().with_observer(heard.clone()));

    for (steps, events) in [
        (vec![Step::Answer(1)], vec![SUCCESS]),
        (vec![FAIL, Step::Answer(1)], vec![Event::Retry(1, SECOND, FAILED), SUCCESS]),
        (
            vec![FAIL, Step::Refuse(cut), Step::Refuse(cut)],
            vec![
                Event::Retry(1, SECOND, FAILED),
                Event::Retry(2, SECOND, Outcome::TimedOut),
                Event::GiveUp("attempts"),
                Event::Call(Outcome::TimedOut),
            ],
        ),
        (vec![Step::Refuse(late)], vec![Event::Call(Outcome::DeadlineExceeded)]),
    ] {
        let (service, _) = Scripted::new(steps);
        let _ = layer.layer(service).oneshot(()).await;
        assert_eq!(heard.take(), events);
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_of_code_is_heard_of_like_any_call() {
    let heard = Heard::default();
    let layer = RetryLayer::with_env(each_second(), env().with_observer(heard.clone()));
    let mut left = 2;

    let answer = layer.run(|| {
        left -= 1;
        std::future::ready(if left > 0 { Err(Fault("busy")) } else { Ok(7) })
    });

    assert_eq!(answer.await, Ok(7));
    assert_eq!(heard.take(), [Event::Retry(1, SECOND, FAILED), SUCCESS]);
}

#[tokio::test(start_paused = true)]
async fn every_reason_to_give_up_has_a_name() {
    let unsafe_to_repeat = env().with_attributes(|(): &()| CallContext::new().with_idempotent(false));
    let heard = Heard::default();
    let layer = RetryLayer::with_env(each_second(), unsafe_to_repeat.with_observer(heard.clone()));

    let _ = layer.layer(Scripted::new([FAIL]).0).oneshot(()).await;

    assert_eq!(heard.take(), [Event::GiveUp("not_idempotent"), FAILURE]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_point_is_heard_of_once() {
    let heard = Heard::default();
    let layer = RetryLayer::with_env(each_second(), env().with_observer(heard.clone()));
    for (steps, polls, retries) in [
        (vec![Step::Hang], 0, 0),
        (vec![Step::Hang], 1, 0),
        (vec![FAIL, Step::Hang], 1, 1),
        (vec![FAIL, Step::Hang], 2, 1),
    ] {
        let (service, script) = Scripted::new(steps);
        let mut call = boxed(ServiceExt::<()>::ready(&mut layer.layer(service)).await.expect("ready").call(()));
        for _ in 0..polls {
            assert!(poll_once(&mut call).is_pending());
            tokio::time::advance(SECOND).await;
        }
        drop(call);

        let events = heard.take();
        assert_eq!(events.last(), Some(&Event::Call(Outcome::Cancelled)));
        assert_eq!(events.len(), retries + 1, "{events:?}");
        drop(script);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_any_attempt_is_heard_of_as_one() {
    let heard = Heard::default();
    let layer = RetryLayer::with_env(each_second(), env().with_observer(heard.clone()));
    let mut in_call = layer.layer(service_fn(|panics: bool| {
        assert!(!panics, "the service panics in call");
        std::future::ready(Ok::<(), Error<Fault>>(()))
    }));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(in_call.call(true)))).is_err());
    assert_eq!(heard.take(), [Event::Call(Outcome::Panicked)]);

    let attempts = Arc::new(Mutex::new(0));
    let mut call = boxed(layer.run(|| {
        let mut attempts = attempts.lock().expect("no panic");
        *attempts += 1;
        let second = *attempts == 2;
        async move {
            assert!(!second, "the second attempt panics");
            Err::<(), _>(Fault("busy"))
        }
    }));
    assert!(poll_once(&mut call).is_pending());
    tokio::time::advance(SECOND).await;
    let caught = catch_unwind(AssertUnwindSafe(|| poll_once(&mut call)));
    drop(call);

    assert!(caught.is_err());
    assert_eq!(heard.take(), [Event::Retry(1, SECOND, FAILED), Event::Call(Outcome::Panicked)]);
}

/// An answer that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the answer panics");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_an_outcome_is_given_back_is_heard_of_as_one() {
    let heard = Heard::default();
    let layer = RetryLayer::with_env(each_second(), env().with_observer(heard.clone()))
        .with_when(|_: Verdict, _: Result<&Bomb, &Fault>| Advice::Again);
    let service = service_fn(|(): ()| std::future::ready(Ok::<_, Error<Fault>>(Bomb)));
    let mut call = boxed(layer.layer(service).oneshot(()));

    let caught = catch_unwind(AssertUnwindSafe(|| poll_once(&mut call).is_pending()));
    drop(call);

    assert!(caught.is_err());
    assert_eq!(heard.take().last(), Some(&Event::Call(Outcome::Panicked)));
}

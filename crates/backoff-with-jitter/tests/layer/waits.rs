//! How long is waited, and what is not held meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Context,
    time::Duration,
};

use seawall_backoff_with_jitter::{Advice, RetryLayer};
use seawall_core::{
    CallContext, Class, Clock, Env, Error, Pattern, Reason, Rejection, TokioClock, Verdict, VirtualClock,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::scripted::{FAIL, Fault, Scripted, Step, boxed, each_second, env, layer, poll_once};

#[tokio::test(start_paused = true)]
async fn what_the_first_attempt_holds_is_given_back_before_the_wait() {
    let (service, script) = Scripted::new([FAIL, Step::Answer(1)]);
    let mut call = boxed(layer(each_second()).layer(service).oneshot(()));

    assert!(poll_once(&mut call).is_pending());

    assert_eq!((script.attempts(), script.running.load(Relaxed)), (1, 0));
    assert_eq!(call.await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_ends_the_attempt_and_the_wait() {
    for first in [FAIL, Step::Hang] {
        let (service, script) = Scripted::new([first]);
        let mut call = boxed(layer(each_second()).layer(service).oneshot(()));
        assert!(poll_once(&mut call).is_pending());

        drop(call);
        tokio::time::advance(Duration::from_secs(10)).await;

        assert_eq!((script.attempts(), script.running.load(Relaxed)), (1, 0));
    }
}

#[test]
fn the_wait_wakes_the_task_that_polled_last() {
    let clock = VirtualClock::new();
    let layer = RetryLayer::with_env(each_second(), Env::new().with_clock(clock.clone()));
    let mut call = boxed(layer.run(|| std::future::ready(Err::<(), _>(Fault("busy")))));
    let [first, last] = [(); 2].map(|()| Arc::new(Wakes::default()));
    for wakes in [&first, &last] {
        let waker = std::task::Waker::from(Arc::clone(wakes));
        assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }

    clock.advance(Duration::from_secs(1));

    assert_eq!((first.0.load(Relaxed), last.0.load(Relaxed)), (0, 1));
}

/// How often a task was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn it_never_waits_for_a_retry_that_would_start_at_or_after_the_deadline() {
    let start = TokioClock.now();
    let until = start.saturating_add(Duration::from_millis(1_500));
    let env = env().with_attributes(move |(): &()| CallContext::new().with_deadline(until));
    let (service, script) = Scripted::new([FAIL, Step::Fail("the second")]);
    let layer = RetryLayer::with_env(each_second(), env);

    let answer = layer.layer(service).oneshot(()).await;

    assert_eq!(answer, Err(Error::Inner(Fault("the second"))));
    assert_eq!(TokioClock.now().since(start), Duration::from_secs(1));
    assert_eq!((script.attempts(), layer.figures().deadline), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_when_the_elapsed_limit_is_reached() {
    let config = each_second().with_attempts(100).expect("allowed");
    let config = config.with_max_elapsed(Duration::from_secs(5)).expect("allowed");
    let (service, script) = Scripted::new([]);

    let _ = layer(config).layer(service).oneshot(()).await;

    assert_eq!(script.gaps(), [1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_wait_that_a_refusal_names_is_waited_out() {
    let open = Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen).with_retry_after(Duration::from_secs(5));
    let (service, script) = Scripted::new([Step::Refuse(open), Step::Answer(1)]);

    let answer = layer(each_second()).layer(service).oneshot(()).await;

    assert_eq!((answer, script.gaps()), (Ok(1), vec![5]));
}

#[tokio::test(start_paused = true)]
async fn the_other_sides_hint_is_waited_out_up_to_the_maximum() {
    let classify = |result: Result<&u32, &Fault>| match result {
        Ok(_) => Verdict::new(Class::Success),
        Err(_) => Verdict::new(Class::Overload).with_retry_after(Duration::from_secs(24 * 3_600)),
    };
    let (service, script) = Scripted::new([FAIL, Step::Answer(1)]);
    let layer = RetryLayer::with_env(each_second(), env().with_classifier(classify));

    let answer = layer.layer(service).oneshot(()).await;

    assert_eq!((answer, script.gaps()), (Ok(1), vec![30]));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_with_less_time_left_than_the_usual_95th_percentile() {
    // Ten attempts in a hundred take 400 ms, the others 100.
    let layer = layer(each_second().without_budget());
    let run = |fails: bool, millis: u64, left: Duration| {
        let context = CallContext::new().with_deadline(TokioClock.now().saturating_add(left));
        layer.run_carrying(context, move |previous| async move {
            if previous == 0 && fails {
                return Err(Error::Inner(Fault("busy")));
            }
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(previous)
        })
    };
    assert_eq!(run(true, 100, Duration::from_millis(1_350)).await, Ok(1), "nothing is known yet");
    let calls = (0..200).map(|number| run(true, if number % 10 == 0 { 400 } else { 100 }, Duration::from_secs(60)));
    for call in calls.map(tokio::spawn).collect::<Vec<_>>() {
        assert_eq!(call.await.expect("no panic"), Ok(1));
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (too_late, in_time) = (Duration::from_millis(1_350), Duration::from_millis(1_450));

    assert_eq!(run(true, 100, too_late).await, Err(Error::Inner(Fault("busy"))));
    assert_eq!(layer.figures().deadline, 1);
    assert_eq!(run(true, 100, in_time).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_not_to_be_asked_again_is_not() {
    let classify = |result: Result<&u32, &Fault>| match result {
        Ok(_) => Verdict::new(Class::Success),
        Err(_) => Verdict::new(Class::Overload).with_retry_after(Duration::from_secs(1)).with_do_not_retry(),
    };
    let (service, script) = Scripted::new([FAIL, Step::Answer(1)]);
    let layer = RetryLayer::with_env(each_second(), env().with_classifier(classify));

    let answer = layer.layer(service).oneshot(()).await;

    assert_eq!(answer, Err(Error::Inner(Fault("busy"))));
    assert_eq!((script.attempts(), layer.figures().pushed_back), (1, 1));
}

/// An answer that holds something.
struct Holding(Arc<AtomicUsize>);

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_not_given_on_is_given_back_before_the_wait() {
    let held = Arc::new(AtomicUsize::new(0));
    let service = service_fn({
        let held = Arc::clone(&held);
        move |(): ()| {
            held.fetch_add(1, Relaxed);
            std::future::ready(Ok::<_, Error<Fault>>(Holding(Arc::clone(&held))))
        }
    });
    let layer = layer(each_second()).with_when(|_: Verdict, _: Result<&Holding, &Fault>| Advice::Again);
    let mut call = boxed(layer.layer(service).oneshot(()));

    for _ in 0..2 {
        assert!(poll_once(&mut call).is_pending());
        assert_eq!(held.load(Relaxed), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    let answer = call.await;
    assert_eq!((answer.is_ok(), held.load(Relaxed)), (true, 1));
}

//! The retry layer as a user stacks it, in virtual time.
#![expect(clippy::disallowed_types, reason = "tests write down what happens")]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use seawall_backoff_with_jitter::{Advice, Backoff, CloneRequest, IfUnknown, Jitter, Rebuild, RetryConfig, RetryLayer};
use seawall_core::{
    Budget, CallContext, Class, Clock, Env, Error, Pattern, Reason, Rejection, TokioClock, Verdict, VirtualClock,
    WindowBudget,
};
use tower::{
    Layer, Service, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit, limit::ConcurrencyLimitLayer, service_fn,
};

type TestEnv = Env<TokioClock>;

fn env() -> TestEnv {
    Env::new().with_clock(TokioClock)
}

/// Three attempts, a second apart.
fn each_second() -> RetryConfig {
    let backoff = Backoff::constant(Duration::from_secs(1)).with_jitter(Jitter::None).expect("allowed");
    RetryConfig::new(IfUnknown::Repeat).with_backoff(backoff)
}

fn layer(config: RetryConfig) -> RetryLayer<TestEnv> {
    RetryLayer::with_env(config, env())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Fault(&'static str);

/// What one attempt does.
#[derive(Clone, Debug)]
enum Step {
    Answer(u32),
    Fail(&'static str),
    Refuse(Rejection),
    Hang,
}

/// Answers as it is told, counts its clones, and insists on being polled ready before each call.
struct Scripted {
    script: Arc<Script>,
    ready: bool,
}

#[derive(Default)]
struct Script {
    steps: Mutex<Vec<Step>>,
    calls: Mutex<Vec<Duration>>,
    clones: AtomicUsize,
    running: AtomicUsize,
}

struct Running(Arc<Script>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> (Self, Arc<Script>) {
        let script = Arc::new(Script { steps: Mutex::new(steps.into_iter().collect()), ..Script::default() });
        (Self { script: Arc::clone(&script), ready: false }, script)
    }
}

impl Clone for Scripted {
    fn clone(&self) -> Self {
        self.script.clones.fetch_add(1, Relaxed);
        Self { script: Arc::clone(&self.script), ready: false }
    }
}

impl<R: Send + 'static> Service<R> for Scripted {
    type Response = u32;
    type Error = Error<Fault>;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Error<Fault>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being polled ready");
        let script = Arc::clone(&self.script);
        script.calls.lock().expect("no panic").push(TokioClock.now().since(seawall_core::Timestamp::ZERO));
        let mut steps = script.steps.lock().expect("no panic");
        let step = if steps.is_empty() { Step::Fail("script over") } else { steps.remove(0) };
        drop(steps);
        script.running.fetch_add(1, Relaxed);
        let running = Running(script);
        Box::pin(async move {
            let _running = running;
            match step {
                Step::Answer(answer) => Ok(answer),
                Step::Fail(text) => Err(Error::Inner(Fault(text))),
                Step::Refuse(rejection) => Err(Error::Rejected(rejection)),
                Step::Hang => std::future::pending().await,
            }
        })
    }
}

impl Script {
    /// Seconds between the attempts.
    fn gaps(&self) -> Vec<u64> {
        let calls = self.calls.lock().expect("no panic");
        calls.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).as_secs()).collect()
    }

    fn attempts(&self) -> usize {
        self.calls.lock().expect("no panic").len()
    }
}

const FAIL: Step = Step::Fail("busy");

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
async fn a_call_that_succeeds_at_once_clones_neither_service_nor_request() {
    #[derive(Debug)]
    struct NotClone;
    let (service, script) = Scripted::new([Step::Answer(1)]);
    let layer = layer(each_second()).with_replay(Rebuild::new(|_: &NotClone| Some(()), |(): &(), _| Some(NotClone)));
    let mut service = layer.layer(service);
    let at_first = script.clones.load(Relaxed);

    let answer = service.ready().await.expect("ready").call(NotClone).await;

    assert_eq!(answer, Ok(1));
    assert_eq!(script.clones.load(Relaxed), at_first);
}

#[tokio::test(start_paused = true)]
async fn each_retry_drives_one_fresh_clone_ready() {
    let (service, script) = Scripted::new([FAIL, FAIL, Step::Answer(1)]);
    let mut service = layer(each_second()).layer(service);
    let at_first = script.clones.load(Relaxed);

    let answer = ServiceExt::<()>::ready(&mut service).await.expect("ready").call(()).await;

    assert_eq!(answer, Ok(1));
    assert_eq!(script.clones.load(Relaxed) - at_first, 2);
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
async fn the_budget_is_on_by_default_and_shared_by_clones_and_services() {
    let (service, script) = Scripted::new([]);
    let layer = RetryLayer::with_env(each_second().with_backoff(Backoff::constant(Duration::ZERO)), env());

    for _ in 0..100 {
        let _ = layer.clone().layer(service.clone()).oneshot(()).await;
    }

    // 3 a second for 10 s, and one for ten requests.
    assert_eq!(script.attempts(), 100 + 30 + 10);
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
async fn a_call_that_must_not_be_repeated_is_repeated_only_when_it_was_never_sent() {
    let env = env().with_attributes(|(): &()| CallContext::new().with_idempotent(false));
    let layer = RetryLayer::with_env(each_second(), env);
    let full = Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull);
    let (refused, _) = Scripted::new([Step::Refuse(full), Step::Answer(1)]);
    let (failed, script) = Scripted::new([FAIL, Step::Answer(1)]);

    assert_eq!(layer.layer(refused).oneshot(()).await, Ok(1));
    assert_eq!(layer.layer(failed).oneshot(()).await, Err(Error::Inner(Fault("busy"))));

    assert_eq!((script.attempts(), layer.figures().not_idempotent), (1, 1));
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
async fn fifty_callers_retry_over_one_place_without_a_deadlock() {
    let (service, script) = Scripted::new((0..50).flat_map(|_| [FAIL, Step::Answer(1)]));
    let config = each_second().without_budget().with_attempts(100).expect("allowed");
    let service = layer(config).layer(ConcurrencyLimit::new(service, 1));

    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(service.clone().oneshot(()))).collect();

    for call in calls {
        assert_eq!(call.await.expect("no panic"), Ok(1));
    }
    assert_eq!(script.attempts(), 100);
}

#[tokio::test(start_paused = true)]
async fn it_retries_over_a_buffer() {
    let (service, script) = Scripted::new([FAIL, Step::Answer(3)]);
    let service = Buffer::new(service, 1);
    // A buffer turns errors into boxed ones, which carry rejections too.
    let layer = RetryLayer::with_env(each_second(), env());

    let answer = layer.layer(service).oneshot(()).await;

    assert_eq!((answer.ok(), script.attempts()), (Some(3), 2));
}

#[tokio::test(start_paused = true)]
async fn it_works_under_a_buffer_and_under_a_limit() {
    let (service, script) = Scripted::new([FAIL, Step::Answer(3)]);
    let retry = layer(each_second()).layer(service);
    let mut service = Buffer::new(ConcurrencyLimitLayer::new(1).layer(retry), 1);

    let answer = service.ready().await.expect("ready").call(()).await;

    assert_eq!((answer.ok(), script.attempts()), (Some(3), 2));
}

#[tokio::test(start_paused = true)]
async fn an_error_while_the_fresh_service_gets_ready_counts_as_its_attempt() {
    /// Ready the first time, broken the second, ready again.
    #[derive(Clone)]
    struct Moody(Arc<AtomicUsize>);
    impl Service<()> for Moody {
        type Response = usize;
        type Error = Error<Fault>;
        type Future = std::future::Ready<Result<usize, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            let visit = self.0.fetch_add(1, Relaxed);
            Poll::Ready(if visit == 1 { Err(Error::Inner(Fault("no connection"))) } else { Ok(()) })
        }

        fn call(&mut self, (): ()) -> Self::Future {
            let visit = self.0.load(Relaxed);
            std::future::ready(if visit == 1 { Err(Error::Inner(Fault("busy"))) } else { Ok(visit) })
        }
    }
    let layer = layer(each_second());

    let answer = layer.layer(Moody(Arc::new(AtomicUsize::new(0)))).oneshot(()).await;

    assert_eq!((answer, layer.figures().retries), (Ok(3), 2));
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

#[tokio::test(start_paused = true)]
async fn blocks_of_code_are_retried_by_the_same_rules() {
    let layer = layer(each_second());
    let start = TokioClock.now();
    let mut told = Vec::new();

    let until = start.saturating_add(Duration::from_millis(2_500));
    let context = CallContext::new().with_deadline(until);
    let answer = layer
        .run_carrying(context, |previous| {
            told.push(previous);
            std::future::ready(if previous < 2 { Err(Error::Inner(Fault("busy"))) } else { Ok(previous) })
        })
        .await;
    let plain = layer.run(|| std::future::ready(Err::<(), _>(Fault("broken")))).await;

    assert_eq!((answer, told), (Ok(2), vec![0, 1, 2]));
    assert_eq!(plain, Err(Error::Inner(Fault("broken"))));
    assert_eq!(TokioClock.now().since(start), Duration::from_secs(4));
    assert_eq!(layer.figures().out_of_attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_polled_again_after_it_is_ready_does_no_harm_when_run_without_tower() {
    let mut call = boxed(layer(each_second()).run(|| std::future::ready(Ok::<_, ()>(1))));

    assert_eq!(poll_once(&mut call), Poll::Ready(Ok(1)));

    assert!(poll_once(&mut call).is_pending());
}

#[test]
fn services_and_futures_can_be_sent_and_need_not_be_sync_inside() {
    fn check<T: Send>(_: &T) {}
    #[derive(Clone)]
    struct NotSync(#[expect(dead_code, reason = "its type is what counts")] std::cell::Cell<u8>);
    let service = service_fn({
        let not_sync = NotSync(std::cell::Cell::new(0));
        move |(): ()| {
            let _ = &not_sync;
            std::future::ready(Ok::<(), Error<()>>(()))
        }
    });
    let mut service = RetryLayer::new(RetryConfig::new(IfUnknown::Repeat)).with_replay(CloneRequest).layer(service);
    check(&service);

    check(&service.call(()));
}

fn boxed<F: Future>(future: F) -> Pin<Box<F>> {
    Box::pin(future)
}

fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()))
}

//! The timeout layer as a user stacks it, in virtual time.
#![expect(clippy::disallowed_types, reason = "tests write down what happens")]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    CallContext, Class, Clock, Env, Error, Observer, Outcome, Reason, Rejection, Timer, Timestamp, VirtualClock,
};
use seawall_timeout::{AdaptiveConfig, TimeoutConfig, TimeoutLayer};
use tower::{Layer, Service, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit, service_fn};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken")]
struct Broken;

type Answer = Result<u32, Error<Broken>>;
type BoxFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Answers 1 after `takes`, and counts the calls that are under way.
fn answering(
    clock: &VirtualClock,
    takes: Duration,
) -> (impl Service<(), Response = u32, Error = Error<Broken>, Future = BoxFuture> + Clone, Arc<AtomicUsize>) {
    let running = Arc::new(AtomicUsize::new(0));
    let service = service_fn({
        let (clock, running) = (clock.clone(), Arc::clone(&running));
        move |(): ()| -> BoxFuture {
            running.fetch_add(1, Relaxed);
            let running = Running(Arc::clone(&running));
            let sleep = clock.sleep_until(clock.now().saturating_add(takes));
            Box::pin(async move {
                let _running = running;
                sleep.await;
                Ok(1)
            })
        }
    });
    (service, running)
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn attempt(clock: &VirtualClock, limit: Duration) -> TimeoutLayer<Env<VirtualClock>> {
    TimeoutLayer::with_env(TimeoutConfig::attempt(limit).expect("allowed"), Env::new().with_clock(clock.clone()))
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn reason(answer: Poll<Answer>) -> Option<Reason> {
    match answer {
        Poll::Ready(Err(Error::Rejected(rejection))) => Some(rejection.reason()),
        _ => None,
    }
}

#[test]
fn a_call_that_takes_too_long_is_cut_on_time_and_never_early() {
    let clock = VirtualClock::new();
    let (service, running) = answering(&clock, 2 * SECOND);
    let mut call = Box::pin(attempt(&clock, SECOND).layer(service).oneshot(()));
    assert!(poll(&mut call).is_pending());

    clock.advance(Duration::from_nanos(999_999_999));
    assert!(poll(&mut call).is_pending());
    clock.advance(Duration::from_nanos(1));
    let answer = poll(&mut call);

    assert_eq!(reason(answer), Some(Reason::AttemptTimeout));
    assert_eq!(running.load(Relaxed), 0);
}

#[test]
fn time_counts_from_the_call_and_not_from_the_first_poll() {
    let clock = VirtualClock::new();
    let (service, _) = answering(&clock, 10 * SECOND);
    let mut service = attempt(&clock, SECOND).layer(service);
    let mut call = Box::pin(service.call(()));

    clock.advance(SECOND);

    assert_eq!(reason(poll(&mut call)), Some(Reason::AttemptTimeout));
}

#[test]
fn a_call_that_is_answered_in_the_poll_in_which_its_time_is_up_is_answered() {
    let clock = VirtualClock::new();
    let (service, _) = answering(&clock, SECOND);
    let mut call = Box::pin(attempt(&clock, SECOND).layer(service).oneshot(()));
    assert!(poll(&mut call).is_pending());

    clock.advance(5 * SECOND);

    assert_eq!(poll(&mut call), Poll::Ready(Ok(1)));
}

#[test]
fn a_call_that_is_answered_at_once_makes_no_timer() {
    let clock = VirtualClock::new();
    let (service, _) = answering(&clock, Duration::ZERO);

    let mut call = Box::pin(attempt(&clock, SECOND).layer(service).oneshot(()));

    assert_eq!(poll(&mut call), Poll::Ready(Ok(1)));
    assert_eq!(clock.sleeping(), 0);
}

#[test]
fn the_longest_limit_makes_no_timer_and_never_cuts() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(5));
    let (service, _) = answering(&clock, 1_000 * SECOND);
    let mut call = Box::pin(attempt(&clock, Duration::MAX).layer(service).oneshot(()));

    assert!(poll(&mut call).is_pending());

    assert_eq!(clock.sleeping(), 1);
    clock.advance(1_000 * SECOND);
    assert_eq!(poll(&mut call), Poll::Ready(Ok(1)));
}

#[test]
fn the_deadline_that_a_call_brings_along_counts_when_it_is_earlier() {
    let clock = VirtualClock::new();
    let (service, running) = answering(&clock, 10 * SECOND);
    let env = Env::new()
        .with_clock(clock.clone())
        .with_attributes(|(): &()| CallContext::new().with_deadline(Timestamp::from_nanos(500_000_000)));
    let layer = TimeoutLayer::with_env(TimeoutConfig::attempt(SECOND).expect("allowed"), env);
    let mut call = Box::pin(layer.layer(service).oneshot(()));
    assert!(poll(&mut call).is_pending());

    clock.advance(SECOND / 2);

    assert_eq!(reason(poll(&mut call)), Some(Reason::DeadlineExceeded));
    assert_eq!(running.load(Relaxed), 0);
}

#[test]
fn a_call_whose_deadline_has_passed_is_not_sent() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(7));
    let sent = Arc::new(AtomicUsize::new(0));
    let service = service_fn({
        let sent = Arc::clone(&sent);
        move |(): ()| {
            sent.fetch_add(1, Relaxed);
            std::future::ready(Ok::<_, Error<Broken>>(1))
        }
    });
    let env = Env::new()
        .with_clock(clock)
        .with_attributes(|(): &()| CallContext::new().with_deadline(Timestamp::from_nanos(7)));
    let layer = TimeoutLayer::with_env(TimeoutConfig::total(SECOND).expect("allowed"), env);
    let mut call = Box::pin(layer.layer(service).oneshot(()));

    assert_eq!(reason(poll(&mut call)), Some(Reason::DeadlineTooClose));

    assert_eq!(sent.load(Relaxed), 0);
    assert!(poll(&mut call).is_pending());
}

#[test]
fn layers_further_in_learn_the_deadline_less_the_reserve() {
    let clock = VirtualClock::new();
    let service = service_fn(|deadline: Option<Timestamp>| std::future::ready(Ok::<_, Error<Broken>>(deadline)));
    let config = TimeoutConfig::total(SECOND).expect("allowed").with_reserve(Duration::from_millis(100));
    let layer = TimeoutLayer::with_env(config, Env::new().with_clock(clock))
        .with_carry(|carried: &mut Option<Timestamp>, deadline| *carried = Some(deadline));

    let mut call = Box::pin(layer.layer(service).oneshot(None));

    assert_eq!(poll(&mut call), Poll::Ready(Ok(Some(Timestamp::from_nanos(900_000_000)))));
}

#[test]
fn the_timer_wakes_the_task_that_polled_last() {
    let clock = VirtualClock::new();
    let mut call = Box::pin(attempt(&clock, SECOND).run(std::future::pending::<Result<u32, Broken>>()));
    let [first, last] = [(); 2].map(|()| Arc::new(Wakes::default()));
    for wakes in [&first, &last] {
        let waker = Waker::from(Arc::clone(wakes));
        assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }

    clock.advance(SECOND);

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

#[test]
fn dropping_a_call_leaves_no_timer_behind() {
    let clock = VirtualClock::new();
    let (service, running) = answering(&clock, 2 * SECOND);
    let mut call = Box::pin(attempt(&clock, SECOND).layer(service).oneshot(()));
    assert!(poll(&mut call).is_pending());
    assert_eq!(clock.sleeping(), 2);

    drop(call);

    assert_eq!((clock.sleeping(), running.load(Relaxed)), (0, 0));
}

#[test]
fn a_future_without_tower_is_bounded_from_when_it_is_handed_over() {
    let clock = VirtualClock::new();
    let layer = attempt(&clock, SECOND);
    let mut call = Box::pin(layer.run(std::future::pending::<Result<u32, Broken>>()));

    clock.advance(SECOND);

    assert_eq!(reason(poll(&mut call)), Some(Reason::AttemptTimeout));
    let mut call = Box::pin(layer.run(std::future::ready(Err::<u32, _>(Broken))));
    assert_eq!(poll(&mut call), Poll::Ready(Err(Error::Inner(Broken))));
}

/// Writes down what it hears.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<(Vec<Reason>, Vec<Outcome>)>>);

impl Observer for Log {
    const PER_CALL: bool = true;

    fn on_reject(&self, rejection: &Rejection) {
        self.0.lock().expect("no panic").0.push(rejection.reason());
    }

    fn on_call(&self, outcome: Outcome) {
        self.0.lock().expect("no panic").1.push(outcome);
    }
}

impl Log {
    fn take(&self) -> (Vec<Reason>, Vec<Outcome>) {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

#[test]
fn every_call_ends_in_exactly_one_outcome() {
    let clock = VirtualClock::new();
    let log = Log::default();
    let env = Env::new().with_clock(clock.clone()).with_observer(log.clone());
    let layer = TimeoutLayer::with_env(TimeoutConfig::attempt(SECOND).expect("allowed"), env);

    let mut answered = Box::pin(layer.run(std::future::ready(Ok::<u32, Broken>(1))));
    assert!(poll(&mut answered).is_ready());
    drop(answered);
    assert_eq!(log.take(), (vec![], vec![Outcome::Finished(Class::Success)]));

    let mut failed = Box::pin(layer.run(std::future::ready(Err::<u32, _>(Broken))));
    assert!(poll(&mut failed).is_ready());
    drop(failed);
    assert_eq!(log.take(), (vec![], vec![Outcome::Finished(Class::Failure)]));

    let mut cut = Box::pin(layer.run(std::future::pending::<Result<u32, Broken>>()));
    clock.advance(SECOND);
    assert!(poll(&mut cut).is_ready());
    drop(cut);
    assert_eq!(log.take(), (vec![], vec![Outcome::TimedOut]));

    drop(layer.run(std::future::pending::<Result<u32, Broken>>()));
    assert_eq!(log.take(), (vec![], vec![Outcome::Cancelled]));

    let mut panics = Box::pin(layer.run(std::future::poll_fn(|_| -> Poll<Result<u32, Broken>> {
        panic!("inside");
    })));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut panics)));
    drop(panics);
    assert!(caught.is_err());
    assert_eq!(log.take(), (vec![], vec![Outcome::Panicked]));
}

/// Hears of refusals alone, or of every call and of cuts.
#[derive(Clone, Default)]
struct Told<const PER_CALL: bool>(Arc<Mutex<Vec<&'static str>>>);

impl<const PER_CALL: bool> Observer for Told<PER_CALL> {
    const PER_CALL: bool = PER_CALL;

    fn on_reject(&self, rejection: &Rejection) {
        self.0.lock().expect("no panic").push(rejection.reason().as_str());
    }

    fn on_call(&self, outcome: Outcome) {
        self.0.lock().expect("no panic").push(outcome.as_str());
    }
}

#[test]
fn a_cut_call_is_told_once_and_a_pair_of_observers_is_told_as_each_of_them_would_be() {
    let (refusals, calls) = (Told::<false>::default(), Told::<true>::default());
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock.clone()).with_observer((refusals.clone(), calls.clone()));
    let layer = TimeoutLayer::with_env(TimeoutConfig::attempt(SECOND).expect("allowed"), env);

    let mut cut = Box::pin(layer.run(std::future::pending::<Result<u32, Broken>>()));
    clock.advance(SECOND);
    assert!(poll(&mut cut).is_ready());

    assert_eq!(*refusals.0.lock().unwrap(), ["attempt_timeout"]);
    assert_eq!(*calls.0.lock().unwrap(), ["timed_out"]);
}

#[test]
fn a_panic_while_the_service_is_called_is_an_outcome_too() {
    let log = Log::default();
    let env = Env::new().with_clock(VirtualClock::new()).with_observer(log.clone());
    let layer = TimeoutLayer::with_env(TimeoutConfig::attempt(SECOND).expect("allowed"), env);
    let mut service = layer.layer(service_fn(|(): ()| -> std::future::Ready<Answer> { panic!("in call") }));

    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(service.call(()))));

    assert!(caught.is_err());
    assert_eq!(log.take(), (vec![], vec![Outcome::Panicked]));
}

#[test]
fn an_adaptive_timeout_follows_three_times_the_99th_percentile() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(100_000_000_000));
    let config = AdaptiveConfig::new(Duration::from_millis(1), 5 * SECOND).expect("allowed");
    let env = Env::new().with_clock(clock.clone());
    let layer = TimeoutLayer::with_env(TimeoutConfig::adaptive(config), env);
    assert_eq!(layer.limit(), 5 * SECOND);
    let (service, _) = answering(&clock, Duration::from_millis(20));
    for _ in 0..200 {
        let mut call = Box::pin(layer.layer(service.clone()).oneshot(()));
        assert!(poll(&mut call).is_pending());
        clock.advance(Duration::from_millis(20));
        assert_eq!(poll(&mut call), Poll::Ready(Ok(1)));
    }
    clock.advance(10 * SECOND);

    let (hangs, _) = answering(&clock, Duration::MAX);
    let mut call = Box::pin(layer.layer(hangs).oneshot(()));
    assert!(poll(&mut call).is_pending());
    clock.advance(Duration::from_millis(58));
    assert!(poll(&mut call).is_pending());
    clock.advance(Duration::from_millis(3));

    assert_eq!(reason(poll(&mut call)), Some(Reason::AttemptTimeout));
}

#[test]
fn failures_teach_an_adaptive_timeout_nothing() {
    let clock = VirtualClock::new();
    let config = AdaptiveConfig::new(Duration::from_millis(1), 5 * SECOND).expect("allowed");
    let layer = TimeoutLayer::with_env(TimeoutConfig::adaptive(config), Env::new().with_clock(clock.clone()));

    for _ in 0..1_000 {
        let mut call = Box::pin(layer.run(std::future::ready(Err::<u32, _>(Broken))));
        assert!(poll(&mut call).is_ready());
    }

    clock.advance(10 * SECOND);
    assert_eq!(layer.limit(), 5 * SECOND);
}

#[test]
fn calls_that_their_own_deadlines_cut_are_failures_to_an_adaptive_timeout() {
    let clock = VirtualClock::new();
    let config = AdaptiveConfig::new(Duration::from_millis(1), 5 * SECOND).expect("allowed");
    let env = Env::new().with_clock(clock.clone()).with_attributes(|deadline: &Option<Timestamp>| {
        deadline.map_or_else(CallContext::new, |deadline| CallContext::new().with_deadline(deadline))
    });
    let layer = TimeoutLayer::with_env(TimeoutConfig::adaptive(config), env);
    let hangs = service_fn(|_: Option<Timestamp>| std::future::pending::<Answer>());
    for _ in 0..200 {
        let mut call = Box::pin(layer.run(async {
            clock.sleep_until(clock.now().saturating_add(Duration::from_millis(20))).await;
            Ok::<u32, Broken>(1)
        }));
        assert!(poll(&mut call).is_pending());
        clock.advance(Duration::from_millis(20));
        assert!(poll(&mut call).is_ready());
    }
    clock.advance(10 * SECOND);
    let learnt = layer.limit();

    for _ in 0..1_000 {
        let deadline = clock.now().saturating_add(Duration::from_millis(30));
        let mut call = Box::pin(layer.layer(hangs).oneshot(Some(deadline)));
        assert!(poll(&mut call).is_pending());
        clock.advance(Duration::from_millis(30));
        assert_eq!(reason(poll(&mut call)), Some(Reason::DeadlineExceeded));
    }

    // Had nobody come for two windows, it would know nothing any more.
    assert!(learnt < Duration::from_millis(65));
    assert_eq!(layer.limit(), learnt);
}

#[tokio::test(start_paused = true)]
async fn it_works_over_a_limit_and_under_a_buffer() {
    let env = Env::new().with_clock(seawall_core::TokioClock);
    let layer = TimeoutLayer::with_env(TimeoutConfig::attempt(SECOND).expect("allowed"), env);
    let hangs = service_fn(|(): ()| std::future::pending::<Answer>());
    let mut service = Buffer::new(layer.layer(ConcurrencyLimit::new(hangs, 1)), 4);

    for _ in 0..3 {
        let cut = service.ready().await.expect("ready").call(()).await.expect_err("cut");
        let rejection = cut.downcast_ref::<Error<Broken>>().and_then(Error::rejection).expect("a rejection");
        assert_eq!(rejection.reason(), Reason::AttemptTimeout);
    }
}

#[test]
fn the_future_is_small_enough_to_move() {
    type Ready = std::future::Ready<Answer>;

    assert!(size_of::<seawall_timeout::TimeoutFuture<Ready, Env>>() <= size_of::<Ready>() + 80);
}

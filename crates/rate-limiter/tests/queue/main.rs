//! The limiter whose calls wait; only tasks that were woken are polled.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

mod keys;
mod limits;
mod lists;
mod moving_up;
mod oracle;
mod sharing;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Clock, Env, Gate, GateLayer, Reason, Rejection, Timer, Timestamp, TokioClock, VirtualClock,
};
use seawall_rate_limiter::{Error, QueueingGcra, QueueingQuota, Quota, RateLimiterWait};

const INTERVAL: u64 = 10;
const MAX_WAIT: u64 = 55;
const MAX_QUEUED: usize = 4;

/// A waiting call as a task: polled when it was woken, and at first.
struct Task {
    wait: Pin<Box<RateLimiterWait<VirtualClock>>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Task {
    fn new(wait: RateLimiterWait<VirtualClock>) -> Self {
        Self { wait: Box::pin(wait), woken: Arc::new(Woken(AtomicBool::new(true))) }
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(SeqCst)
    }

    fn poll_if_woken(&mut self) -> Option<Result<(), Rejection>> {
        if !self.woken.0.swap(false, SeqCst) {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.wait.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }
}

fn limiter(burst: u32) -> (QueueingGcra<VirtualClock>, VirtualClock) {
    let clock = VirtualClock::new();
    let quota = Quota::every(Duration::from_nanos(INTERVAL)).and_then(|quota| quota.with_burst(burst));
    let quota = quota
        .map(QueueingQuota::new)
        .and_then(|quota| quota.with_max_queued(MAX_QUEUED)?.with_max_wait(Duration::from_nanos(MAX_WAIT)))
        .expect("tests ask for a quota and a line");
    (QueueingGcra::new(quota, clock.clone()), clock)
}

fn ask(
    limiter: &QueueingGcra<VirtualClock>,
    clock: &VirtualClock,
    context: CallContext,
) -> Result<Option<Task>, Reason> {
    match limiter.admit(|| context, || clock.now()) {
        Admission::Admitted(()) => Ok(None),
        Admission::Queued(wait) => Ok(Some(Task::new(wait))),
        Admission::Refused(rejection) => Err(rejection.reason()),
    }
}

fn waits(limiter: &QueueingGcra<VirtualClock>, clock: &VirtualClock) -> Task {
    let mut task = ask(limiter, clock, CallContext::new()).expect("let in line").expect("not served at once");
    assert_eq!(task.poll_if_woken(), None);
    task
}

#[test]
fn waiters_are_served_first_come_first_served_at_the_rate_of_the_quota() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let (mut first, mut second) = (waits(&limiter, &clock), waits(&limiter, &clock));

    clock.advance(Duration::from_nanos(9));
    assert_eq!((first.poll_if_woken(), second.poll_if_woken()), (None, None));
    clock.advance(Duration::from_nanos(1));
    assert_eq!((second.poll_if_woken(), first.poll_if_woken()), (None, Some(Ok(()))));
    clock.advance(Duration::from_nanos(9));
    assert_eq!(second.poll_if_woken(), None);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(second.poll_if_woken(), Some(Ok(())));
    assert_eq!(limiter.queued(), 0);
}

/// How many of those who wait for a quota have been served when they were looked at every `step` for `looks` times.
fn served_by_late_looks(quota: Quota, step: Duration, looks: usize) -> usize {
    const WAITING: usize = 4_000;
    let clock = Deaf::default();
    let quota = QueueingQuota::new(quota).with_max_queued(WAITING).and_then(|quota| quota.with_max_wait(Duration::MAX));
    let limiter = QueueingGcra::new(quota.expect("tests ask for a line"), clock.clone());
    while limiter.standing(clock.now()).remaining() > 0 {
        assert!(matches!(limiter.admit(CallContext::new, || clock.now()), Admission::Admitted(())));
    }
    let _waiting: Vec<_> = (0..WAITING).map(|_| limiter.admit(CallContext::new, || clock.now())).collect();
    assert_eq!(limiter.queued(), WAITING);
    for _ in 0..looks {
        clock.0.advance(step);
        limiter.refund(0, clock.now());
    }
    WAITING - limiter.queued()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn turns_that_are_given_late_keep_the_rate_and_a_long_delay_is_not_made_up_for() {
    let (per_second, step) = (Quota::per_second(1_000).unwrap(), Duration::from_micros(1_700));

    assert_eq!(served_by_late_looks(per_second, step, 100), 170, "each look finds what became due since the last");
    assert_eq!(served_by_late_looks(per_second, SECOND, 1), 3, "those of 2 ms, and the one of now");
}

#[test]
fn at_once_comes_no_more_than_the_burst_or_what_a_timers_step_brings() {
    let late = |per_second, burst| {
        let quota = Quota::per_second(per_second).and_then(|quota| quota.with_burst(burst)).unwrap();
        served_by_late_looks(quota, SECOND, 1)
    };

    assert_eq!([1, 2, 1_500, 2_001].map(|burst| late(1_000_000, burst)), [2_001; 4], "two steps of a timer");
    assert_eq!((late(1_000_000, 3_000), late(1_000, 50), late(100, 1)), (3_000, 50, 1), "the burst");
}

/// Of three that wait at a late look, one turn each 1 ms, in debt until somebody pays it.
#[test]
fn what_comes_back_late_counts_from_then_and_not_from_when_it_would_have_been_due() {
    let (clock, quota) = (Deaf::default(), Quota::per_second(1_000).unwrap());
    let limiter = QueueingGcra::new(QueueingQuota::new(quota), clock.clone());
    limiter.charge(10, clock.now());
    let _waiting = [(); 3].map(|()| limiter.admit(CallContext::new, || clock.now()));
    clock.0.advance(Duration::from_millis(5));

    limiter.refund(10, clock.now());

    assert_eq!(limiter.queued(), 2);
}

#[test]
fn a_waiter_that_leaves_burns_nothing_and_those_behind_it_move_up() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let (first, mut second) = (waits(&limiter, &clock), waits(&limiter, &clock));

    drop(first);

    assert_eq!(second.poll_if_woken(), None);
    clock.advance(Duration::from_nanos(10));
    assert_eq!(second.poll_if_woken(), Some(Ok(())));
}

#[test]
fn a_waiter_that_is_dropped_just_as_its_turn_comes_gives_the_turn_on() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let (first, mut second) = (waits(&limiter, &clock), waits(&limiter, &clock));
    clock.advance(Duration::from_nanos(10));
    // Somebody else's look serves the first, whose task has not run yet.
    assert_eq!(
        ask(&limiter, &clock, CallContext::new().with_deadline(clock.now())).err(),
        Some(Reason::DeadlineTooClose)
    );
    assert_eq!(second.poll_if_woken(), None, "it has learnt when its turn is");

    drop(first);

    assert_eq!(second.poll_if_woken(), Some(Ok(())));
}

#[test]
fn a_waiter_whose_task_is_not_polled_keeps_those_behind_it_no_longer_than_their_own_turn() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let (mut stuck, mut second) = (waits(&limiter, &clock), waits(&limiter, &clock));

    clock.advance(Duration::from_nanos(20));

    assert_eq!((second.poll_if_woken(), stuck.poll_if_woken()), (Some(Ok(())), Some(Ok(()))));
}

#[test]
fn a_call_that_would_wait_too_long_is_refused_when_it_comes() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let close = CallContext::new().with_deadline(Timestamp::from_nanos(9));
    assert_eq!(ask(&limiter, &clock, close).err(), Some(Reason::DeadlineTooClose));
    assert_eq!(ask(&limiter, &clock, CallContext::new().with_cost(2)).err(), Some(Reason::TooHeavy));

    let _line: Vec<_> = (0..MAX_QUEUED).map(|_| waits(&limiter, &clock)).collect();

    let Admission::Refused(full) = limiter.admit(CallContext::new, || clock.now()) else { unreachable!("no room") };
    assert_eq!((full.reason(), full.queued()), (Reason::QueueFull, u32::try_from(MAX_QUEUED).ok()));
}

#[test]
fn a_charge_makes_the_line_wait_and_ends_the_patience_of_those_in_it() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let mut waiter = waits(&limiter, &clock);
    limiter.charge(100, clock.now());

    clock.advance(Duration::from_nanos(10));
    assert_eq!(waiter.poll_if_woken(), None);
    clock.advance(Duration::from_nanos(MAX_WAIT - 10));

    assert_eq!(
        waiter.poll_if_woken().map(|turn| turn.map_err(|refused| refused.reason())),
        Some(Err(Reason::QueueTimeout))
    );
    assert_eq!(limiter.queued(), 0);
}

#[test]
fn a_new_quota_serves_the_line_sooner_and_refuses_who_no_longer_fits() {
    let (limiter, clock) = limiter(2);
    assert!(ask(&limiter, &clock, CallContext::new().with_cost(2)).unwrap().is_none());
    let mut heavy = ask(&limiter, &clock, CallContext::new().with_cost(2)).unwrap().unwrap();
    let mut light = waits(&limiter, &clock);
    assert_eq!(heavy.poll_if_woken(), None);

    limiter.set_quota(Quota::every(Duration::from_nanos(1)).unwrap(), clock.now());

    assert_eq!(heavy.poll_if_woken().map(|turn| turn.map_err(|refused| refused.reason())), Some(Err(Reason::TooHeavy)));
    assert_eq!(light.poll_if_woken(), None);
    clock.advance(Duration::from_nanos(2));
    assert_eq!(light.poll_if_woken(), Some(Ok(())));
}

#[test]
fn a_call_that_does_not_wait_passes_nobody_who_does_though_the_quota_is_free_again() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let mut waiter = waits(&limiter, &clock);
    clock.advance(Duration::from_nanos(INTERVAL));

    assert_eq!(limiter.admit_at_once(CallContext::new, || clock.now()), None, "the turn is the waiter's");

    assert_eq!(waiter.poll_if_woken(), Some(Ok(())));
    clock.advance(Duration::from_nanos(INTERVAL));
    assert_eq!(limiter.admit_at_once(CallContext::new, || clock.now()), Some(()), "nobody waits");
}

#[test]
fn a_call_that_does_not_wait_takes_all_that_it_costs_or_nothing() {
    let (limiter, clock) = limiter(3);
    let dear = || limiter.admit_at_once(|| CallContext::new().with_cost(3), || clock.now());
    assert_eq!(limiter.admit_at_once(CallContext::new, || clock.now()), Some(()));

    assert_eq!((dear(), limiter.standing(clock.now()).remaining()), (None, 2));

    clock.advance(Duration::from_nanos(INTERVAL));
    assert_eq!((dear(), limiter.standing(clock.now()).remaining()), (Some(()), 0));
}

/// Wakes nobody, and holds no waker.
#[derive(Clone, Default)]
struct Deaf(VirtualClock);

impl Clock for Deaf {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Timer for Deaf {
    type Sleep = std::future::Pending<()>;

    fn sleep_until(&self, _: Timestamp) -> Self::Sleep {
        std::future::pending()
    }
}

#[test]
fn a_waiter_whose_last_waker_uses_the_limiter_when_it_goes_wedges_nothing() {
    struct Refunds(Arc<QueueingGcra<Deaf>>);
    impl Wake for Refunds {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Refunds {
        fn drop(&mut self) {
            self.0.refund(1, Timestamp::ZERO);
        }
    }
    let limiter = Arc::new(QueueingGcra::new(Quota::per_second(10).unwrap(), Deaf::default()));
    let admit = || limiter.admit(CallContext::new, || Timestamp::ZERO);
    assert!(matches!(admit(), Admission::Admitted(())));
    let Admission::Queued(wait) = admit() else { panic!("the quota is used up") };
    let mut wait = Box::pin(wait);
    let refunds = Waker::from(Arc::new(Refunds(Arc::clone(&limiter))));
    assert!(wait.as_mut().poll(&mut Context::from_waker(&refunds)).is_pending());
    drop(refunds);

    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());

    assert_eq!(limiter.queued(), 0, "the refund is the waiter's");
    assert_eq!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
}

#[test]
fn a_refund_serves_the_line_and_tells_the_next_when_its_turn_is() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let (mut first, mut second) = (waits(&limiter, &clock), waits(&limiter, &clock));

    limiter.refund(1, clock.now());

    assert_eq!((first.poll_if_woken(), second.poll_if_woken()), (Some(Ok(())), None));
    clock.advance(Duration::from_nanos(10));
    assert_eq!(second.poll_if_woken(), Some(Ok(())));
}

#[test]
fn the_first_in_line_learns_that_a_new_quota_has_moved_its_turn() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let mut first = waits(&limiter, &clock);

    limiter.set_quota(Quota::every(Duration::from_nanos(4)).unwrap(), clock.now());

    assert_eq!(first.poll_if_woken(), None, "it is woken to sleep for less");
    clock.advance(Duration::from_nanos(4));
    assert_eq!(first.poll_if_woken(), Some(Ok(())));
}

#[test]
fn who_would_wait_too_long_is_told_when_it_would_be_let_in_line() {
    let (limiter, clock) = limiter(3);
    assert!(ask(&limiter, &clock, CallContext::new().with_cost(3)).unwrap().is_none());
    let _line: Vec<_> = [3, 2].map(|cost| ask(&limiter, &clock, CallContext::new().with_cost(cost))).into();

    let Admission::Refused(refused) = limiter.admit(|| CallContext::new().with_cost(3), || clock.now()) else {
        panic!("its turn is in 80 ns, and nobody waits longer than {MAX_WAIT}")
    };

    assert_eq!((refused.reason(), refused.retry_after()), (Reason::RateLimited, Some(Duration::from_nanos(25))));
}

#[test]
fn it_is_idle_when_nobody_waits_and_the_whole_burst_is_there_and_a_call_costs_at_least_one() {
    let (limiter, clock) = limiter(1);
    assert!(limiter.is_idle(|| clock.now()));
    assert!(ask(&limiter, &clock, CallContext::new().with_cost(0)).unwrap().is_none());
    assert!(!limiter.is_idle(|| clock.now()));
    let waiter = waits(&limiter, &clock);
    limiter.charge(0, clock.now());

    // Its turn has come, and its task has not run: nobody has taken it.
    clock.advance(Duration::from_nanos(10));
    assert!(!limiter.is_idle(|| clock.now()));

    drop(waiter);
    assert!(limiter.is_idle(|| clock.now()));
}

#[test]
fn a_turn_that_comes_as_time_runs_out_is_a_turn() {
    let (limiter, clock) = limiter(1);
    assert!(ask(&limiter, &clock, CallContext::new()).unwrap().is_none());
    let mut waiter = waits(&limiter, &clock);
    limiter.charge(100, clock.now());
    clock.advance(Duration::from_nanos(MAX_WAIT));
    limiter.refund(101, clock.now());

    assert_eq!(waiter.poll_if_woken(), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn calls_through_a_layer_wait_for_their_turn() {
    let quota = Quota::per_second(10).unwrap();
    let layer = GateLayer::with_env(QueueingGcra::new(quota, TokioClock), Env::new().with_clock(TokioClock));
    let begin = TokioClock.now();

    let calls = (0..5).map(|_| tokio::spawn(layer.run(async { Ok::<_, Infallible>(TokioClock.now()) })));
    let mut answered = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answered.push(call.await.unwrap().unwrap().since(begin).as_millis() / 10);
    }
    let over = layer.run(async { Ok::<_, Infallible>(()) });
    let refused = one_more(over, 7, &layer).await;

    assert_eq!(answered, [0, 10, 20, 30, 40]);
    assert!(matches!(refused, Err(Error::Rejected(refused)) if refused.reason() == Reason::RateLimited));
}

/// Fills the line with `calls` that are never awaited to the end, then makes one more.
async fn one_more<F: Future<Output = Result<(), Error<Infallible>>>>(
    call: F,
    calls: usize,
    layer: &GateLayer<QueueingGcra<TokioClock>, Env<TokioClock>>,
) -> Result<(), Error<Infallible>> {
    let mut held: Vec<_> = (0..calls).map(|_| Box::pin(layer.run(async { Ok::<_, Infallible>(()) }))).collect();
    for held in &mut held {
        let _ = held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    call.await
}

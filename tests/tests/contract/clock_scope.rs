//! One reading of the clock for a whole stack, with a retry in its middle: no attempt sees the time of the one before.

use std::{
    future::{Ready, ready},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, Jitter, RetryConfig, RetryLayer},
    core::{
        Admission, CallContext, Clock, ClockScopeLayer, Gate, GateLayer, MonotonicClock, NoWait, Outcome,
        ScopeBoundaryLayer, Timestamp, WrapError,
    },
};
use seawall_testkit::{TestEnv, contract};
use tower::{Layer, ServiceExt, layer::util::Stack, service_fn};

const WORK: Duration = Duration::from_millis(3);
const DELAY: Duration = Duration::from_millis(5);

/// Notes when each call began and ended, as its gate was told.
#[derive(Clone, Debug, Default)]
struct Stopwatch(Arc<RwLock<Vec<[Timestamp; 2]>>>);

impl Stopwatch {
    fn seen(&self) -> Vec<[Timestamp; 2]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Gate for Stopwatch {
    type Ticket = Timestamp;
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<Timestamp> {
        Admission::Admitted(now())
    }

    fn finish(&self, began: Timestamp, _: Outcome, now: impl FnOnce() -> Timestamp) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push([began, now()]);
    }
}

/// Works for [`WORK`] and fails. Gives up where the clock stands still.
fn works_and_fails(_: u32) -> Ready<Result<(), &'static str>> {
    let end = MonotonicClock.now().saturating_add(WORK);
    assert!((0..20_000_000).any(|_| MonotonicClock.now() >= end), "the clock stands still");
    ready(Err("busy"))
}

/// When the outer gate, and each attempt of the inner one, began and ended.
async fn seen_with(delay: Duration) -> (Vec<[Timestamp; 2]>, Vec<[Timestamp; 2]>) {
    let (outer, inner) = (Stopwatch::default(), Stopwatch::default());
    let config = RetryConfig::new(IfUnknown::Repeat).with_attempts(2).unwrap();
    let backoff = Backoff::constant(delay).with_jitter(Jitter::None).unwrap();
    let retry = RetryLayer::new(config.with_backoff(backoff));
    let leaf = ScopeBoundaryLayer::new().layer(WrapError::new(service_fn(works_and_fails)));
    let attempts = retry.layer(GateLayer::<Stopwatch>::new(inner.clone()).layer(leaf));
    let stack = ClockScopeLayer::new().layer(GateLayer::<Stopwatch>::new(outer.clone()).layer(attempts));

    assert!(stack.oneshot(7).await.is_err());
    (outer.seen(), inner.seen())
}

#[tokio::test]
async fn an_attempt_after_a_sleep_begins_at_a_reading_of_its_own() {
    let (outer, inner) = seen_with(DELAY).await;

    let ([[began, ended]], [[began_1, ended_1], [began_2, ended_2]]) = (&outer[..], &inner[..]) else {
        panic!("{outer:?} {inner:?}")
    };
    assert_eq!(began, began_1, "one reading for all that happens before the first attempt");
    assert!(ended_1.since(*began_1) >= WORK && ended_2.since(*began_2) >= WORK, "{inner:?}");
    assert!(began_2.since(*ended_1) >= DELAY, "the second attempt was given the time before the sleep: {inner:?}");
    assert_eq!(ended_2, ended, "one reading for all that happens after the last attempt");
    assert!(ended.since(*began) >= WORK + DELAY + WORK);
}

/// Both in one poll: the work of the first has taken time nevertheless.
#[tokio::test]
async fn an_attempt_without_a_sleep_begins_after_the_work_of_the_one_before() {
    let (outer, inner) = seen_with(Duration::ZERO).await;

    let ([[began, ended]], [[began_1, ended_1], [began_2, ended_2]]) = (&outer[..], &inner[..]) else {
        panic!("{outer:?} {inner:?}")
    };
    assert!(began_2 >= ended_1 && ended_1.since(*began_1) >= WORK && ended_2.since(*began_2) >= WORK, "{inner:?}");
    assert!(ended.since(*began) >= WORK + WORK);
}

fn scoped(_: TestEnv) -> Stack<ScopeBoundaryLayer, ClockScopeLayer> {
    Stack::new(ScopeBoundaryLayer::new(), ClockScopeLayer::new())
}

/// They pass calls on.
#[tokio::test(start_paused = true)]
async fn scope_and_boundary_keep_the_contract() {
    contract::every_call_through_it_ends_once(scoped).await;
    contract::dropping_at_any_point_leaves_nothing_held(scoped, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(scoped).await;
    contract::works_under_a_buffer(scoped, contract::Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(scoped, contract::Crowd::Passes).await;
}

//! Waits that are slept without Tower.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_backoff_with_jitter::{Backoff, Jitter, Pauses};
use seawall_core::{Clock, InheritDeadline, SeededEntropy, VirtualClock};

const SECOND: Duration = Duration::from_secs(1);

/// 1, 2, 4, 8 s, without jitter.
fn pauses(clock: &VirtualClock) -> Pauses<VirtualClock, SeededEntropy> {
    let backoff = Backoff::unhurried().with_jitter(Jitter::None).expect("no jitter is allowed");
    backoff.pauses(SeededEntropy::new(1), clock.clone())
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_pause_lasts_as_long_as_the_wait_and_not_less() {
    let clock = VirtualClock::new();
    let mut pauses = pauses(&clock);

    for seconds in [1, 2, 4, 8] {
        let mut pause = pin!(pauses.pause());
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(pause.as_mut().poll(&mut cx), Poll::Pending);
        clock.advance((SECOND * seconds).saturating_sub(Duration::from_nanos(1)));
        assert_eq!(pause.as_mut().poll(&mut cx), Poll::Pending);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(pause.as_mut().poll(&mut cx), Poll::Ready(Some(SECOND * seconds)));
    }
}

#[test]
fn no_pause_ends_at_the_limit_or_after_it() {
    let clock = VirtualClock::new();
    let limited = |limit| poll(pauses(&clock).with_max_elapsed(limit).pause());

    assert_eq!(limited(SECOND), Poll::Ready(None));
    assert_eq!(limited(SECOND + Duration::from_nanos(1)), Poll::Pending);
    assert_eq!(limited(Duration::ZERO), Poll::Ready(None));
    assert_eq!(limited(Duration::MAX), Poll::Pending);
}

#[test]
fn no_pause_ends_at_the_deadline_that_the_task_has_inherited() {
    let clock = VirtualClock::new();
    let mut pauses = pauses(&clock);
    let deadline = clock.now().saturating_add(SECOND);

    let in_vain = poll(InheritDeadline::new(deadline, pauses.pause()));

    assert_eq!(in_vain, Poll::Ready(None));
}

#[test]
fn a_wait_of_zero_needs_no_timer_and_a_total_ends_the_waits_for_good() {
    let clock = VirtualClock::new();
    let none = Backoff::constant(Duration::ZERO);
    let listed = Backoff::listed([SECOND * 3, SECOND]).and_then(|backoff| backoff.with_jitter(Jitter::None));

    let mut waits = listed.expect("allowed").delays(SeededEntropy::new(1)).with_max_total(SECOND * 2);

    assert_eq!(poll(none.pauses(SeededEntropy::new(1), clock).pause()), Poll::Ready(Some(Duration::ZERO)));
    assert_eq!((waits.size_hint(), waits.next(), waits.next()), ((0, None), None, None));
}

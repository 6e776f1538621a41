//! Streams that stand still or go on for too long, in virtual time.
#![cfg(feature = "stream")]

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use seawall_core::{Clock, InheritDeadline, Reason, Timer, Timestamp, VirtualClock, VirtualSleep};
use seawall_timeout::{StallTimer, StreamLimits, TimedStream, TimeoutError};

const SECOND: Duration = Duration::from_secs(1);

/// Gives an item after each of these waits, which begin when the item is asked for.
struct Items {
    clock: VirtualClock,
    waits: VecDeque<Duration>,
    sleep: Option<Pin<Box<VirtualSleep>>>,
}

impl Stream for Items {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let Some(wait) = self.waits.front().copied() else { return Poll::Ready(None) };
        let at = self.clock.now().saturating_add(wait);
        let clock = self.clock.clone();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(clock.sleep_until(at)));
        std::task::ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        self.waits.pop_front();
        Poll::Ready(Some(()))
    }
}

type Timed = TimedStream<Items, VirtualClock>;

fn timed(clock: &VirtualClock, limits: StreamLimits, waits: &[Duration]) -> Pin<Box<Timed>> {
    let items = Items { clock: clock.clone(), waits: waits.iter().copied().collect(), sleep: None };
    Box::pin(TimedStream::with_clock(items, limits, clock.clone()))
}

fn poll(stream: &mut Pin<Box<Timed>>) -> Poll<Option<Result<(), Reason>>> {
    let polled = stream.as_mut().poll_next(&mut Context::from_waker(Waker::noop()));
    polled.map(|item| item.map(|item| item.map_err(|rejection| rejection.reason())))
}

fn idle(limit: Duration) -> StreamLimits {
    StreamLimits::new().with_idle(limit).expect("allowed")
}

#[test]
fn the_end_of_the_total_timeout_that_a_stream_is_made_in_is_none_of_the_streams() {
    let clock = VirtualClock::new();
    let end = clock.now().saturating_add(2 * SECOND);
    let made = async { timed(&clock, idle(60 * SECOND), &[3 * SECOND]) };
    let mut made = std::pin::pin!(InheritDeadline::until_total(end, made));
    let Poll::Ready(mut stream) = made.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("nothing to wait for")
    };
    assert!(poll(&mut stream).is_pending());

    clock.advance(3 * SECOND);

    assert_eq!(poll(&mut stream), Poll::Ready(Some(Ok(()))));
}

#[test]
fn a_stream_ends_with_the_deadline_of_the_call_that_it_is_made_in() {
    let clock = VirtualClock::new();
    let deadline = clock.now().saturating_add(2 * SECOND);
    let made = async { timed(&clock, idle(60 * SECOND), &[3 * SECOND]) };
    let mut made = std::pin::pin!(InheritDeadline::new(deadline, made));
    let Poll::Ready(mut stream) = made.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("nothing in there waits")
    };
    assert!(poll(&mut stream).is_pending());

    clock.advance(2 * SECOND);

    assert_eq!(poll(&mut stream), Poll::Ready(Some(Err(Reason::DeadlineExceeded))));
}

#[test]
fn a_stream_that_stands_still_is_cut_on_time_and_ends() {
    let clock = VirtualClock::new();
    let mut stream = timed(&clock, idle(SECOND), &[3 * SECOND]);
    assert!(poll(&mut stream).is_pending());
    clock.advance(SECOND.saturating_sub(Duration::from_nanos(1)));
    assert!(poll(&mut stream).is_pending());

    clock.advance(Duration::from_nanos(1));

    assert_eq!(poll(&mut stream), Poll::Ready(Some(Err(Reason::IdleTimeout))));
    assert_eq!((poll(&mut stream), clock.sleeping()), (Poll::Ready(None), 0));
}

#[test]
fn a_stream_that_keeps_going_is_not_idle_however_long_it_takes() {
    let clock = VirtualClock::new();
    let mut stream = timed(&clock, idle(SECOND), &[SECOND / 2; 10]);

    for _ in 0..10 {
        assert!(poll(&mut stream).is_pending());
        clock.advance(SECOND / 2);
        assert_eq!(poll(&mut stream), Poll::Ready(Some(Ok(()))));
    }

    assert_eq!(poll(&mut stream), Poll::Ready(None));
}

#[test]
fn time_in_which_nobody_reads_is_not_idle() {
    let clock = VirtualClock::new();
    let mut stream = timed(&clock, idle(SECOND), &[Duration::ZERO, SECOND / 2]);
    assert_eq!(poll(&mut stream), Poll::Ready(Some(Ok(()))));

    clock.advance(60 * SECOND);

    assert!(poll(&mut stream).is_pending());
    clock.advance(SECOND / 2);
    assert_eq!(poll(&mut stream), Poll::Ready(Some(Ok(()))));
}

#[test]
fn an_item_that_comes_in_the_poll_in_which_the_time_is_up_is_delivered() {
    let clock = VirtualClock::new();
    let mut stream = timed(&clock, idle(SECOND), &[SECOND]);
    assert!(poll(&mut stream).is_pending());

    clock.advance(SECOND);

    assert_eq!(poll(&mut stream), Poll::Ready(Some(Ok(()))));
}

#[test]
fn a_trickle_is_ended_by_the_total_limit() {
    let clock = VirtualClock::new();
    let limits = idle(SECOND).with_total(3 * SECOND).expect("allowed");
    let mut stream = timed(&clock, limits, &[SECOND / 2; 100]);
    let mut items = 0_u32;

    let end = loop {
        match poll(&mut stream) {
            Poll::Ready(Some(Ok(()))) => items = items.saturating_add(1),
            Poll::Ready(end) => break end,
            Poll::Pending => clock.advance(SECOND / 4),
        }
    };

    assert_eq!((items, end), (6, Some(Err(Reason::TotalTimeout))));
    assert_eq!(clock.now().as_nanos(), 3_000_000_000);
}

#[test]
fn a_limit_of_nothing_is_refused_and_the_longest_makes_no_timer() {
    assert_eq!(StreamLimits::new().with_idle(Duration::ZERO).unwrap_err(), TimeoutError::Zero { field: "idle" });
    assert_eq!(StreamLimits::new().with_total(Duration::ZERO).unwrap_err(), TimeoutError::Zero { field: "total" });
    let clock = VirtualClock::new();

    let mut stream = timed(&clock, StreamLimits::new(), &[SECOND]);

    assert!(poll(&mut stream).is_pending());
    assert_eq!(clock.sleeping(), 1, "the stream's own");
}

/// Why a stream on which nothing comes is cut, and when.
fn cut(limits: StreamLimits, deadline: Option<Timestamp>) -> (Reason, Duration) {
    let clock = VirtualClock::new();
    let mut timer = Box::pin(StallTimer::new(limits, clock.clone(), deadline));
    let mut expired = |seconds: u64| {
        if seconds > 0 {
            clock.advance(SECOND);
        }
        timer.as_mut().poll_expired(&mut Context::from_waker(Waker::noop())).map(|rejection| rejection.reason())
    };
    let cut = (0..100).find_map(|seconds| match expired(seconds) {
        Poll::Ready(reason) => Some((reason, Duration::from_secs(seconds))),
        Poll::Pending => None,
    });
    cut.expect("a limit within 100 s")
}

#[test]
fn the_first_of_idle_limit_total_limit_and_deadline_cuts_and_of_two_at_once_the_wider() {
    let limits = |idle: u32, total: u32| self::idle(idle * SECOND).with_total(total * SECOND).expect("allowed");
    let at = |seconds: u32| Some(Timestamp::ZERO.saturating_add(seconds * SECOND));

    assert_eq!(cut(limits(3, 9), None), (Reason::IdleTimeout, 3 * SECOND));
    assert_eq!(cut(limits(9, 9), None), (Reason::TotalTimeout, 9 * SECOND));
    assert_eq!(cut(limits(9, 7), at(7)), (Reason::TotalTimeout, 7 * SECOND));
    assert_eq!(cut(limits(9, 7), at(5)), (Reason::DeadlineExceeded, 5 * SECOND));
    assert_eq!(cut(limits(9, 7), at(8)), (Reason::TotalTimeout, 7 * SECOND));
}

#[test]
fn a_timer_that_has_expired_begins_anew_when_it_is_asked_again() {
    let clock = VirtualClock::new();
    let mut timer = Box::pin(StallTimer::new(idle(SECOND), clock.clone(), None));
    let mut expired = || timer.as_mut().poll_expired(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(!expired());
    clock.advance(SECOND);
    assert!(expired());

    assert!(!expired());
    clock.advance(SECOND);
    assert!(expired());
}

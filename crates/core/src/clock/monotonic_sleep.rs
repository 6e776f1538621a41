#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would keep each future in memory"
)]

use std::{
    fmt,
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::{
    MonotonicClock, Timer, Timestamp,
    alarm::Alarm,
    timer_thread::{TICK, has_passed},
};

impl Timer for MonotonicClock {
    type Sleep = MonotonicSleep;

    #[inline]
    fn sleep_until(&self, at: Timestamp) -> MonotonicSleep {
        MonotonicSleep { at, alarm: ManuallyDrop::new(None) }
    }
}

/// The future of [`MonotonicClock`]'s [`Timer::sleep_until`]: never early, and late by at most a tick of 1.05 ms plus what the
/// system takes to schedule.
///
/// One thread of the process, started by the first sleeper, wakes them all: they need no runtime, and may be polled in any.
/// It sleeps as long as nobody is due, however many begin and end in the meantime. A task whose sleepers are gone may be
/// woken once more for each of them, for nothing.
#[must_use = "a sleep does nothing until it is polled"]
pub struct MonotonicSleep {
    at: Timestamp,
    // Nothing is left in it once the sleep's own drop has seen to it: said, so that it is not looked at again.
    alarm: ManuallyDrop<Option<Box<Alarm>>>,
}

impl MonotonicSleep {
    /// The tick whose end is not before the time.
    #[inline]
    const fn tick(&self) -> u64 {
        self.at.as_nanos().div_ceil(TICK)
    }
}

/// Sets an alarm for a sleeper until `at` that found none to take over, or whose own has rung or is another task's. Told what
/// it needs by value: a future to which nobody points stands in registers.
#[cold]
#[inline(never)]
fn set_alarm(at: Timestamp, tick: u64, own: Option<Box<Alarm>>, waker: &Waker) -> (Poll<()>, Option<Box<Alarm>>) {
    if has_passed(tick) {
        return (Poll::Ready(()), own);
    }
    if at == Timestamp::MAX {
        return (Poll::Pending, own);
    }
    // The one that it had goes first: outside of the cells that alarms are left in.
    drop(own);
    let alarm = Alarm::take_over(tick, waker).or_else(|| Alarm::make(tick, waker));
    (if alarm.is_none() { poll_alone(at, waker) } else { Poll::Pending }, alarm)
}

/// Without an alarm: the time has passed, or there is no thread, or no room. The task asks again by itself.
#[cold]
fn poll_alone(at: Timestamp, waker: &Waker) -> Poll<()> {
    if MonotonicClock::read() >= at {
        return Poll::Ready(());
    }
    waker.wake_by_ref();
    Poll::Pending
}

impl Future for MonotonicSleep {
    type Output = ();

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (tick, waker) = (self.tick(), cx.waker());
        let is_set = if let Some(alarm) = &*self.alarm {
            !has_passed(tick) && alarm.is_set_for(waker)
        } else {
            // What can be taken over has yet to ring, and rings no later.
            self.alarm = ManuallyDrop::new(Alarm::take_over(tick, waker));
            self.alarm.is_some()
        };
        if is_set {
            return Poll::Pending;
        }
        let (polled, alarm) = set_alarm(self.at, tick, self.alarm.take(), waker);
        self.alarm = ManuallyDrop::new(alarm);
        polled
    }
}

impl Drop for MonotonicSleep {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            Alarm::put_by(alarm);
        }
    }
}

impl fmt::Debug for MonotonicSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonotonicSleep").field("at", &self.at).field("set", &self.alarm.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
            mpsc,
        },
        task::Wake,
        time::Duration,
    };

    use super::*;
    use crate::Clock;

    /// Sends a word when it is woken.
    struct Tell(mpsc::SyncSender<()>);

    impl Wake for Tell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_send(());
        }
    }

    fn telling() -> (Waker, mpsc::Receiver<()>) {
        let (send, receive) = mpsc::sync_channel(16);
        (Waker::from(Arc::new(Tell(send))), receive)
    }

    fn soon(by: Duration) -> MonotonicSleep {
        MonotonicClock.sleep_until(MonotonicClock.now().saturating_add(by))
    }

    fn poll(sleep: &mut MonotonicSleep, waker: &Waker) -> Poll<()> {
        Pin::new(sleep).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn sleepers_need_no_runtime_and_none_is_early() {
        let (waker, woken) = telling();
        for micros in [1, 300, 999, 1_000, 1_001, 2_500] {
            let mut sleep = soon(Duration::from_micros(micros));
            while poll(&mut sleep, &waker).is_pending() {
                woken.recv().unwrap();
            }

            assert!(MonotonicClock.now() >= sleep.at);
        }
    }

    #[test]
    fn an_earlier_sleeper_is_not_kept_waiting_by_a_later_one() {
        let [(late, _keep), (early, woken)] = [telling(), telling()];
        let mut later = soon(Duration::from_secs(3_600));
        assert!(poll(&mut later, &late).is_pending());
        let mut sooner = soon(Duration::from_millis(2));

        assert!(poll(&mut sooner, &early).is_pending());

        woken.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(poll(&mut sooner, &early).is_ready());
        assert!(poll(&mut later, &late).is_pending());
    }

    #[test]
    fn a_sleep_until_the_past_is_ready_and_one_until_never_is_not() {
        assert!(poll(&mut MonotonicClock.sleep_until(Timestamp::ZERO), Waker::noop()).is_ready());

        assert!(poll(&mut MonotonicClock.sleep_until(Timestamp::MAX), Waker::noop()).is_pending());
    }

    #[test]
    fn the_task_that_polled_last_is_woken() {
        let [(first, forgotten), (last, woken)] = [telling(), telling()];
        let mut sleep = soon(Duration::from_millis(3));

        assert!(poll(&mut sleep, &first).is_pending());
        if poll(&mut sleep, &last).is_pending() {
            woken.recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(poll(&mut sleep, &last).is_ready());
        }

        drop(first);
        assert!(forgotten.try_recv().is_err());
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_else_from_being_woken() {
        struct Panics(AtomicBool);
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                self.0.store(true, SeqCst);
                std::panic::resume_unwind(Box::new("woken"));
            }
        }
        let panics = Arc::new(Panics(AtomicBool::new(false)));
        let (waker, woken) = telling();
        let (mut bad, mut good) = (soon(Duration::from_millis(1)), soon(Duration::from_millis(4)));
        let _ = poll(&mut bad, &Waker::from(Arc::clone(&panics)));

        while poll(&mut good, &waker).is_pending() {
            woken.recv_timeout(Duration::from_secs(60)).unwrap();
        }

        assert!(panics.0.load(SeqCst) && poll(&mut bad, Waker::noop()).is_ready());
    }

    /// A task that owns another sleeper, which is dropped with its last waker.
    #[test]
    fn a_waker_whose_drop_drops_another_sleeper_does_no_harm() {
        struct Owner(#[expect(dead_code, reason = "held to be dropped")] MonotonicSleep);
        impl Wake for Owner {
            fn wake(self: Arc<Self>) {}
        }
        let mut inner = soon(Duration::from_secs(3_600));
        assert!(poll(&mut inner, Waker::noop()).is_pending());
        let owner = Waker::from(Arc::new(Owner(inner)));
        let mut outer = soon(Duration::from_secs(3_600));
        assert!(poll(&mut outer, &owner).is_pending());
        drop(owner);

        assert!(poll(&mut outer, Waker::noop()).is_pending());
        drop(outer);
    }

    #[test]
    fn a_sleep_is_small_enough_to_stand_in_a_future() {
        assert_eq!((size_of::<MonotonicSleep>(), size_of::<Option<MonotonicSleep>>()), (16, 24));
    }
}

//! Wakers and destructors that call back into the bulkhead: what they find is never locked.

use std::{
    future::{Future, Pending, pending},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use seawall_bulkhead::{Order, Shares};
use seawall_core::{CallContext, Clock, Reason, Timer, Timestamp};

use super::{Held, QueueingLayer, begin, hold, ordered, poll, queueing, reason};

/// Stands still, rings never and keeps no waker: the bulkhead's own copy is the last.
#[derive(Clone, Debug)]
struct Silent;

impl Clock for Silent {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(1)
    }
}

impl Timer for Silent {
    type Sleep = Pending<()>;

    fn sleep_until(&self, _: Timestamp) -> Pending<()> {
        pending()
    }
}

/// Goes all the ways through the bulkhead that take its lock, when it is woken and when its last copy goes.
struct Reenters {
    layer: QueueingLayer<Silent>,
    times: Arc<AtomicU32>,
}

impl Reenters {
    /// A call that waits, of whose waker the bulkhead holds the last copy, and how often that waker went back in.
    fn waits(layer: &QueueingLayer<Silent>) -> (Held<Silent>, Arc<AtomicU32>) {
        let times = Arc::new(AtomicU32::new(0));
        let waker = Waker::from(Arc::new(Self { layer: layer.clone(), times: Arc::clone(&times) }));
        let mut waiting: Held<Silent> = Box::pin(layer.run(pending()));
        assert!(poll_with(waiting.as_mut(), &waker).is_pending());
        drop(waker);
        assert_eq!(times.load(Relaxed), 0, "the bulkhead holds the last copy");
        (waiting, times)
    }

    fn reenter(&self) {
        self.times.fetch_add(1, Relaxed);
        let queued = self.layer.gate().queued();
        // It waits, or is refused because the queue is full; either way it asks under the lock.
        let mut call = Box::pin(hold(&self.layer));
        let _ = poll(&mut call);
        drop(call);
        assert!(self.layer.gate().queued() <= queued);
    }
}

impl Wake for Reenters {
    fn wake(self: Arc<Self>) {
        self.reenter();
    }
}

impl Drop for Reenters {
    fn drop(&mut self) {
        self.reenter();
    }
}

fn poll_with<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Runs `scene` in a thread of its own: what locks itself up fails here instead of hanging.
fn in_time(scene: impl FnOnce() + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    let scene = std::thread::spawn(move || {
        scene();
        let _ = done.send(());
    });
    let result = finished.recv_timeout(Duration::from_secs(20));
    assert_ne!(result, Err(std::sync::mpsc::RecvTimeoutError::Timeout), "it waits for its own lock");
    scene.join().expect("the scene holds");
}

#[test]
fn a_waker_that_is_replaced_goes_outside_of_the_lock() {
    in_time(|| {
        let layer = queueing(1, 10, Silent);
        let _inside = begin(&layer, CallContext::new());
        let (mut waiting, times) = Reenters::waits(&layer);

        assert!(poll(&mut waiting).is_pending());

        assert_eq!(times.load(Relaxed), 1);
    });
}

#[test]
fn a_waiter_that_leaves_drops_its_waker_outside_of_the_lock() {
    in_time(|| {
        let layer = queueing(1, 10, Silent);
        let _inside = begin(&layer, CallContext::new());
        let (waiting, times) = Reenters::waits(&layer);

        drop(waiting);

        assert_eq!((times.load(Relaxed), layer.gate().queued()), (1, 0));
    });
}

#[test]
fn a_waiter_is_woken_outside_of_the_lock_whatever_it_is_told() {
    for order in [Order::OldestFirst, Order::NewestFirst, Order::ByShare(Shares::equal())] {
        in_time(move || {
            let layer = ordered(1, 1, order.clone(), Silent);
            let inside = begin(&layer, CallContext::new());
            let (_waiting, times) = Reenters::waits(&layer);

            drop(inside);

            assert_eq!(times.load(Relaxed), 2, "{order:?}: woken once, gone once");
            layer.gate().close();
        });
    }
}

#[test]
fn a_waiter_that_makes_room_is_woken_outside_of_the_lock() {
    in_time(|| {
        let layer = ordered(1, 1, Order::NewestFirst, Silent);
        let _inside = begin(&layer, CallContext::new());
        let (mut displaced, times) = Reenters::waits(&layer);

        let mut newcomer = Box::pin(hold(&layer));
        let _ = poll(&mut newcomer);

        assert_eq!(times.load(Relaxed), 2);
        let Poll::Ready(told) = poll(&mut displaced) else { panic!("it was told") };
        assert_eq!(reason(told), Reason::QueueFull);
    });
}

#[test]
fn closing_wakes_those_who_wait_outside_of_the_lock() {
    in_time(|| {
        let layer = queueing(1, 10, Silent);
        let _inside = begin(&layer, CallContext::new());
        let (_waiting, times) = Reenters::waits(&layer);

        layer.gate().close();

        assert_eq!(times.load(Relaxed), 2);
    });
}

/// Waits for the end of a drain when it goes.
struct Drains(QueueingLayer<Silent>, Arc<AtomicU32>);

impl Wake for Drains {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Drains {
    fn drop(&mut self) {
        assert!(poll_with(pin!(self.0.gate().drain()), Waker::noop()).is_pending());
        self.1.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_drain_that_is_given_up_or_polled_anew_drops_its_waker_outside_of_the_lock() {
    for polled_anew in [false, true] {
        in_time(move || {
            let layer = queueing(1, 10, Silent);
            let _inside = begin(&layer, CallContext::new());
            let times = Arc::new(AtomicU32::new(0));
            let waker = Waker::from(Arc::new(Drains(layer.clone(), Arc::clone(&times))));
            let gate = layer.clone();
            let mut drain = Box::pin(gate.gate().drain());
            assert!(poll_with(drain.as_mut(), &waker).is_pending());
            drop(waker);
            assert_eq!(times.load(Relaxed), 0, "the drain holds the last copy");

            if polled_anew {
                assert!(poll(&mut drain).is_pending());
            } else {
                drop(drain);
            }

            assert_eq!(times.load(Relaxed), 1);
        });
    }
}

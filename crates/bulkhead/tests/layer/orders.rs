//! Whose turn it is, and who makes room, in each order.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_bulkhead::{Order, Reserve, Shares};
use seawall_core::{CallContext, Criticality, Reason, Timestamp, VirtualClock};

use super::{Count, Held, QueueingLayer, begin, hold, ordered, poll, reason};

/// Calls that hold one place in turn, and calls that wait for it.
struct Crowd {
    clock: VirtualClock,
    layer: QueueingLayer<VirtualClock>,
    inside: Option<Held<VirtualClock>>,
    waiting: Vec<(&'static str, Held<VirtualClock>, Arc<Count>)>,
}

impl Crowd {
    /// One place, which is taken, and room for `max_queued` to wait.
    fn new(order: Order, max_queued: usize) -> Self {
        let clock = VirtualClock::new();
        let layer = ordered(1, max_queued, order, clock.clone());
        let inside = Some(begin(&layer, CallContext::new().with_criticality(Criticality::Critical)));
        Self { clock, layer, inside, waiting: Vec::new() }
    }

    fn join(&mut self, name: &'static str, context: CallContext) {
        let mut call = Box::pin(self.layer.run_with(context, std::future::pending()));
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{name} waits");
        self.waiting.push((name, call, count));
    }

    /// Who gets the place when the call that has it ends.
    fn next(&mut self) -> &'static str {
        self.inside = None;
        let served = self.waiting.iter().position(|(_, _, count)| count.0.load(Relaxed) > 0);
        let (name, mut call, count) = self.waiting.remove(served.expect("somebody is served"));
        assert_eq!(count.0.load(Relaxed), 1, "{name} is woken once");
        assert!(poll(&mut call).is_pending(), "{name} was refused");
        self.inside = Some(call);
        name
    }

    /// Why the call of that name was refused.
    fn told(&mut self, name: &str) -> Reason {
        let index = self.waiting.iter().position(|(known, ..)| *known == name).expect("it is known");
        let Poll::Ready(told) = poll(&mut self.waiting.remove(index).1) else { unreachable!("{name} still waits") };
        reason(told)
    }
}

fn orders() -> [Order; 5] {
    [
        Order::OldestFirst,
        Order::NewestFirst,
        Order::EarliestDeadlineFirst,
        Order::MostCriticalFirst(Reserve::none()),
        Order::ByShare(Shares::equal()),
    ]
}

fn until(nanos: u64) -> CallContext {
    CallContext::new().with_deadline(Timestamp::from_nanos(nanos))
}

fn of(criticality: Criticality) -> CallContext {
    CallContext::new().with_criticality(criticality)
}

#[test]
fn the_newest_comes_first_and_the_oldest_makes_room() {
    let mut crowd = Crowd::new(Order::NewestFirst, 3);
    for name in ["first", "second", "third", "fourth"] {
        crowd.join(name, CallContext::new());
    }

    assert_eq!(crowd.told("first"), Reason::QueueFull);
    assert_eq!([crowd.next(), crowd.next(), crowd.next()], ["fourth", "third", "second"]);
}

#[test]
fn the_nearest_deadline_comes_first_and_the_farthest_makes_room() {
    let mut crowd = Crowd::new(Order::EarliestDeadlineFirst, 4);
    crowd.join("none", CallContext::new());
    crowd.join("late", until(30));
    crowd.join("soon", until(10));
    crowd.join("as soon, but later", until(10));

    crowd.join("between", until(20));

    assert_eq!(crowd.told("none"), Reason::QueueFull);
    let Poll::Ready(refused) = poll(&mut Box::pin(hold(&crowd.layer))) else { panic!("it would be the last") };
    assert_eq!(reason(refused), Reason::QueueFull);
    let served = [crowd.next(), crowd.next(), crowd.next(), crowd.next()];
    assert_eq!(served, ["soon", "as soon, but later", "between", "late"]);
}

#[test]
fn nobody_whose_deadline_has_passed_takes_the_place_of_one_who_can_still_use_it() {
    for order in orders() {
        let mut crowd = Crowd::new(order, 10);
        crowd.join("expired first", until(10));
        crowd.join("patient", until(50));
        crowd.join("expired last", until(10));
        // The timers of the two have rung, but they were not polled since.
        crowd.clock.advance(Duration::from_nanos(10));

        crowd.inside = None;

        assert_eq!(crowd.layer.gate().in_flight(), 1, "somebody has the place");
        assert_eq!([crowd.told("expired first"), crowd.told("expired last")], [Reason::QueueTimeout; 2]);
        assert_eq!(
            (crowd.layer.gate().in_flight(), crowd.layer.gate().queued()),
            (1, 0),
            "the other one has the place"
        );
    }
}

#[test]
fn the_most_critical_comes_first_the_oldest_among_equals() {
    let mut crowd = Crowd::new(Order::MostCriticalFirst(Reserve::none()), 10);
    crowd.join("sheddable", of(Criticality::Sheddable));
    crowd.join("critical", of(Criticality::Critical));
    crowd.join("degraded", of(Criticality::Degraded));
    crowd.join("as critical", of(Criticality::Critical));
    crowd.join("default", of(Criticality::Default));

    let served = [crowd.next(), crowd.next(), crowd.next(), crowd.next(), crowd.next()];

    assert_eq!(served, ["critical", "as critical", "default", "degraded", "sheddable"]);
}

#[test]
fn the_newest_of_the_least_critical_makes_room_for_one_that_is_more_so() {
    let mut crowd = Crowd::new(Order::MostCriticalFirst(Reserve::none()), 3);
    crowd.join("sheddable", of(Criticality::Sheddable));
    crowd.join("newest sheddable", of(Criticality::Sheddable));
    crowd.join("default", of(Criticality::Default));

    crowd.join("degraded", of(Criticality::Degraded));
    let mut late = Box::pin(crowd.layer.run_with(of(Criticality::Sheddable), async { Ok::<(), ()>(()) }));

    assert_eq!(crowd.told("newest sheddable"), Reason::QueueFull);
    let Poll::Ready(refused) = poll(&mut late) else { panic!("nobody is less critical than it") };
    assert_eq!(reason(refused), Reason::QueueFull);
    assert_eq!([crowd.next(), crowd.next(), crowd.next()], ["default", "degraded", "sheddable"]);
}

#[test]
fn a_place_that_is_kept_for_the_critical_is_theirs_while_others_wait() {
    let clock = VirtualClock::new();
    let layer = ordered(5, 10, Order::MostCriticalFirst(Reserve::default()), clock);
    let inside: Vec<_> = (0..4).map(|_| begin(&layer, of(Criticality::Sheddable))).collect();
    let waiting = begin(&layer, of(Criticality::Sheddable));
    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (4, 1), "the fifth place is kept");

    let critical = begin(&layer, of(Criticality::Critical));

    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (5, 1));
    drop(critical);
    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (4, 1), "and stays kept");
    drop(inside);
    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (1, 0));
    drop(waiting);
}

#[test]
fn a_call_that_weighs_more_than_its_criticality_may_take_never_waits() {
    let layer = ordered(5, 10, Order::MostCriticalFirst(Reserve::default()), VirtualClock::new());
    let _inside = begin(&layer, CallContext::new());
    let heavy = of(Criticality::Sheddable).with_cost(5);

    let Poll::Ready(refused) = poll(&mut Box::pin(layer.run_with(heavy, async { Ok::<(), ()>(()) }))) else {
        panic!("it would wait for ever")
    };

    assert_eq!(reason(refused), Reason::TooHeavy);
}

#[test]
fn a_refusal_says_how_long_the_call_waited_that_was_served_last_and_spreads_it() {
    let mut crowd = Crowd::new(Order::OldestFirst, 1);
    let asks = |crowd: &Crowd| {
        let Poll::Ready(Err(refused)) = poll(&mut Box::pin(hold(&crowd.layer))) else { panic!("the queue is full") };
        refused.rejection().expect("by the bulkhead").retry_after()
    };
    crowd.join("first", CallContext::new());
    assert_eq!(asks(&crowd), None, "nobody was served out of the queue yet");

    crowd.clock.advance(Duration::from_millis(30));
    assert_eq!(crowd.next(), "first");
    crowd.join("second", CallContext::new());

    let mut waits: Vec<_> = (0..30).map(|_| asks(&crowd).expect("a turn has come").as_micros()).collect();
    waits.sort_unstable();
    let spread = (15_000..45_000).step_by(1_000);
    assert!(waits.iter().zip(spread).all(|(wait, even)| wait.abs_diff(even) < 2_000), "{waits:?}");
    crowd.clock.advance(Duration::from_millis(100));
    let Poll::Ready(Err(late)) = poll(&mut crowd.waiting.remove(0).1) else { panic!("its time is up") };
    assert!(late.rejection().expect("by the bulkhead").retry_after().is_some());
}

#[test]
fn the_oldest_wait_is_that_of_the_one_in_line_longest_in_any_order() {
    for order in orders() {
        let mut crowd = Crowd::new(order, 10);
        assert_eq!(crowd.layer.gate().oldest_wait(), None);
        crowd.join("oldest", of(Criticality::Sheddable).with_tenant(1));
        crowd.clock.advance(Duration::from_millis(7));
        crowd.join("newer", of(Criticality::Critical).with_tenant(2));
        crowd.clock.advance(Duration::from_millis(1));

        assert_eq!(crowd.layer.gate().oldest_wait(), Some(Duration::from_millis(8)));
        drop(crowd.waiting.remove(0));
        assert_eq!(crowd.layer.gate().oldest_wait(), Some(Duration::from_millis(1)));
    }
}

//! Calls that have so much time and no more.
use seawall_load_shedder::{LimitAlgorithm, Window, WindowSize};

use super::*;

#[test]
fn a_call_does_not_wait_past_its_deadline() {
    let (layer, clock) = queueing(1, 10);
    let _inside = usual(&layer);
    let soon = CallContext::new().with_deadline(clock.now().saturating_add(MILLISECOND));
    let mut waiting = Box::pin(layer.run_with(soon, pending::<Result<(), Infallible>>()));
    assert!(poll(&mut waiting).is_pending());

    clock.advance(MILLISECOND);

    assert_eq!(reason(poll(&mut waiting)), Reason::Overloaded);
}

#[test]
fn by_deadline_the_nearest_is_served_first_the_farthest_makes_room_and_what_comes_too_late_is_not_run() {
    let config = QueueingShedderConfig::default().with_discipline(QueueDiscipline::EarliestDeadlineFirst);
    let (layer, clock) = configured(1, config.with_max_queued(3).unwrap());
    warm(layer.gate(), &clock, 2 * MILLISECOND);
    let inside = usual(&layer);
    let run = std::cell::RefCell::new(Vec::new());
    let call = |name, left: Option<u32>| {
        let context = left.map_or_else(CallContext::new, |left| {
            CallContext::new().with_deadline(clock.now().saturating_add(left * MILLISECOND))
        });
        let run = &run;
        let mut call = Box::pin(layer.run_with(context, async move {
            run.borrow_mut().push(name);
            Ok::<_, Infallible>(())
        }));
        let polled = poll(&mut call);
        (call, polled)
    };

    let (mut whenever, _) = call("whenever", None);
    let (mut in_fifteen, _) = call("in 15 ms", Some(15));
    let (mut in_four, _) = call("in 4 ms", Some(4));
    let (_, also_whenever) = call("also whenever", None);
    let (mut in_twelve, _) = call("in 12 ms", Some(12));
    assert_eq!(reason(also_whenever), Reason::Overloaded, "it would be served last");
    assert_eq!(reason(poll(&mut whenever)), Reason::Overloaded, "it makes room");
    clock.advance(3 * MILLISECOND);
    drop(inside);
    assert!(poll(&mut in_fifteen).is_pending());
    assert_eq!(reason(poll(&mut in_four)), Reason::Overloaded);
    assert!(poll(&mut in_twelve).is_ready() && poll(&mut in_fifteen).is_ready());

    assert_eq!(*run.borrow(), ["in 12 ms", "in 15 ms"]);
    assert_eq!((layer.gate().in_flight(), layer.gate().queued()), (0, 0));
}

#[test]
fn by_deadline_a_newcomer_of_another_tenant_or_more_critical_is_taken_in_though_its_deadline_is_farther() {
    let config = QueueingShedderConfig::default().with_discipline(QueueDiscipline::EarliestDeadlineFirst);
    let in_ms =
        |left: u32| CallContext::new().with_deadline(Timestamp::ZERO.saturating_add((1_000 + left) * MILLISECOND));
    for (waiting, newcomer) in [
        (in_ms(10).with_tenant(1), in_ms(15).with_tenant(2)),
        (in_ms(10).with_criticality(Criticality::Sheddable), in_ms(15)),
    ] {
        let (layer, _clock) = configured(1, config.with_max_queued(2).unwrap());
        let _inside = usual(&layer);
        let [mut first, mut last, mut newcomer] = [waiting, waiting, newcomer]
            .map(|context| Box::pin(layer.run_with(context, ready(Ok::<_, Infallible>(())))));
        assert!(poll(&mut first).is_pending() && poll(&mut last).is_pending());

        assert!(poll(&mut newcomer).is_pending());
        let refused = [poll(&mut first), poll(&mut last)].iter().filter(|polled| polled.is_ready()).count();
        assert_eq!((refused, layer.gate().queued()), (1, 2));
    }
}

#[test]
fn a_waiter_whose_time_no_longer_suffices_is_refused_when_its_turn_comes() {
    let (layer, clock) = queueing(1, 10);
    warm(layer.gate(), &clock, 10 * MILLISECOND);
    let inside = usual(&layer);
    let in_12_ms = CallContext::new().with_deadline(clock.now().saturating_add(12 * MILLISECOND));
    let mut waiting = Box::pin(layer.run_with(in_12_ms, ready(Ok::<_, Infallible>(1))));
    let mut other = Box::pin(layer.run(ready(Ok::<_, Infallible>(2))));
    assert!(poll(&mut waiting).is_pending() && poll(&mut other).is_pending());

    clock.advance(11 * MILLISECOND);
    drop(inside);

    assert_eq!(reason(poll(&mut waiting)), Reason::Overloaded);
    assert_eq!(poll(&mut other), Poll::Ready(Ok(2)));
}

#[test]
fn a_call_whose_deadline_cannot_be_met_is_refused_on_arrival_though_there_is_room() {
    let (layer, clock) = queueing(10, 10);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(10).unwrap());
    warm(layer.gate(), &clock, 100 * MILLISECOND);
    warm(&failing_fast, &clock, 100 * MILLISECOND);
    let left = |left| CallContext::new().with_deadline(clock.now().saturating_add(left));
    let verdict = |context: CallContext| {
        let one = match layer.gate().admit(|| context, || clock.now()) {
            Admission::Refused(rejection) => Some(rejection.reason()),
            _ => None,
        };
        let other = match failing_fast.admit(|| context, || clock.now()) {
            Admission::Refused(rejection) => Some(rejection.reason()),
            _ => None,
        };
        assert_eq!(one, other);
        one
    };

    assert_eq!(verdict(left(99 * MILLISECOND)), Some(Reason::DeadlineTooClose));
    assert_eq!(verdict(left(100 * MILLISECOND)), None);
    assert_eq!(verdict(left(Duration::ZERO).with_exempt(true)), None);
    assert_eq!((layer.gate().in_flight(), failing_fast.in_flight()), (2, 2));
    let let_in = (0..128).filter(|_| verdict(left(MILLISECOND)).is_none()).count();
    assert_eq!(let_in, 4, "one in 32 sees whether calls have become quicker");
}

/// Has no use for windows of less than a second.
struct Resting;

impl LimitAlgorithm for Resting {
    fn limit(&self) -> f64 {
        100.0
    }

    fn window_size(&self) -> WindowSize {
        WindowSize { full: 10, enough: 10, at_most: Duration::from_secs(10) }
    }

    fn resting_window(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn update(&mut self, _: &Window) {}
}

/// How many calls find out that calls have become quicker, of those that bring less time along than calls took.
fn looks_until_calls_are_known_to_be_quick<G: Gate>(gate: &G, clock: &VirtualClock) -> u32 {
    warm(gate, clock, MILLISECOND);
    let hurried = CallContext::new().with_deadline(clock.now().saturating_add(Duration::from_micros(500)));
    let mut looks = 0_u32;
    for _ in 0..10_000 {
        let Admission::Admitted(ticket) = gate.admit(|| hurried, || clock.now()) else { continue };
        gate.finish(ticket, Outcome::Finished(Class::Success), || clock.now());
        looks = looks.saturating_add(1);
        if matches!(gate.admit(|| hurried, || clock.now()), Admission::Admitted(_)) {
            break;
        }
    }
    looks
}

#[test]
fn while_few_calls_are_timed_those_that_look_whether_calls_have_become_quicker_all_are() {
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000));
    let queueing = QueueingLoadShedder::with_algorithm(Resting, QueueingShedderConfig::default(), clock.clone());

    let looks = [
        looks_until_calls_are_known_to_be_quick(&LoadShedder::with_algorithm(Resting), &clock),
        looks_until_calls_are_known_to_be_quick(&queueing, &clock),
    ];

    assert!(looks.iter().all(|looks| *looks <= 20), "windows are of ten: {looks:?}");
}

//! Queues of whose refusals only a part is enforced.
use seawall_core::Enforced;
use seawall_load_shedder::{Enforcement, Percent};

use super::*;

#[test]
fn deadlines_are_tried_in_the_dark_while_the_load_is_shed() {
    let (layer, clock) = queueing(1, 10);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(1).unwrap());
    warm(layer.gate(), &clock, 10 * MILLISECOND);
    warm(&failing_fast, &clock, 10 * MILLISECOND);
    layer.gate().enforce_deadlines(Enforcement::Shadow);
    failing_fast.enforce_deadlines(Enforcement::Shadow);
    let in_9_ms = CallContext::new().with_deadline(clock.now().saturating_add(9 * MILLISECOND));
    let in_11_ms = CallContext::new().with_deadline(clock.now().saturating_add(11 * MILLISECOND));

    let inside = layer.gate().admit(|| in_9_ms, || clock.now());
    let _inside = failing_fast.admit(|| in_9_ms, || clock.now());
    let mut waiting = Box::pin(layer.run_with(in_11_ms, ready(Ok::<_, Infallible>(1))));
    assert!(poll(&mut waiting).is_pending());
    assert!(matches!(failing_fast.admit(|| in_11_ms, || clock.now()), Admission::Refused(_)));
    clock.advance(2 * MILLISECOND);
    let Admission::Admitted(inside) = inside else { unreachable!("there was room") };
    layer.gate().finish(inside, Outcome::Finished(Class::Success), || clock.now());

    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(1)));
    assert_eq!((layer.gate().would_have_refused(), layer.gate().would_have_refused_for_deadlines()), (2, 2));
    assert_eq!((failing_fast.would_have_refused(), failing_fast.would_have_refused_for_deadlines()), (1, 1));
}

#[test]
fn a_call_that_was_let_off_for_its_deadline_is_not_asked_for_it_again_in_its_turn() {
    let (layer, clock) = queueing(1, 10);
    warm(layer.gate(), &clock, 10 * MILLISECOND);
    layer.gate().enforce_deadlines(Enforcement::Percent(Percent::new(50).unwrap()));
    let mut served = 0;
    for _ in 0..100 {
        let Admission::Admitted(inside) = layer.gate().admit(CallContext::new, || clock.now()) else {
            unreachable!("nobody is inside")
        };
        let late = CallContext::new().with_deadline(clock.now().saturating_add(5 * MILLISECOND));
        let mut waiting = Box::pin(layer.run_with(late, pending::<Result<(), Infallible>>()));
        let refused = poll(&mut waiting).is_ready();
        clock.advance(MILLISECOND);
        layer.gate().finish(inside, Outcome::Finished(Class::Ignored), || clock.now());
        if !refused && poll(&mut waiting).is_pending() && layer.gate().in_flight() == 1 {
            served += 1;
        }
    }

    // One in 32 goes in whatever its deadline says.
    assert!((48..=56).contains(&served), "{served}");
}

#[test]
fn of_a_hundred_calls_that_find_no_room_as_many_are_refused_as_was_asked() {
    let (layer, clock) = queueing(1, 1);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(1).unwrap());
    let quarter = Enforcement::Percent(Percent::new(25).unwrap());
    layer.gate().enforce(quarter);
    failing_fast.enforce(quarter);
    let _full = (usual(&layer), failing_fast.admit(CallContext::new, || clock.now()));

    let mut waiting: Vec<_> = (0..100).map(|_| layer.gate().admit(CallContext::new, || clock.now())).collect();
    let refused = (0..100)
        .filter(|_| matches!(failing_fast.admit(CallContext::new, || clock.now()), Admission::Refused(_)))
        .count();

    waiting.retain(|admission| !matches!(admission, Admission::Admitted(_)));
    assert_eq!((waiting.len(), refused), (25, 25));
    assert_eq!((layer.gate().in_flight(), failing_fast.in_flight()), (76, 76), "those that are let through count");
    assert_eq!((layer.gate().would_have_refused(), failing_fast.would_have_refused()), (75, 75));
    failing_fast.enforce(Enforcement::Off);
    assert!(matches!(failing_fast.admit(CallContext::new, || clock.now()), Admission::Admitted(_)));
    assert_eq!(failing_fast.would_have_refused(), 75, "off, nothing is counted");
}

#[test]
fn in_the_shadow_a_call_that_comes_too_late_goes_in_and_is_counted() {
    let (layer, clock) = queueing(10, 10);
    let failing_fast = LoadShedder::with_algorithm(Fixed::new(10).unwrap());
    layer.gate().enforce(Enforcement::Shadow);
    failing_fast.enforce(Enforcement::Shadow);
    let late = || CallContext::new().with_deadline(clock.now());

    let admissions = (layer.gate().admit(late, || clock.now()), failing_fast.admit(late, || clock.now()));

    assert!(matches!(admissions, (Admission::Admitted(_), Admission::Admitted(_))));
    assert_eq!((layer.gate().would_have_refused(), failing_fast.would_have_refused()), (1, 1));
    assert_eq!((layer.gate().in_flight(), failing_fast.in_flight()), (1, 1));
}

#[test]
fn a_call_that_is_spared_before_a_full_queue_takes_nobodys_place_in_it() {
    let config = QueueingShedderConfig::default().with_max_queued(1).unwrap();
    let clock = VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000));
    let gate = QueueingLoadShedder::with_algorithm(Fixed::new(1).unwrap(), config, clock.clone());
    let layer: GateLayer<Enforced<QueueingLoadShedder<Fixed, VirtualClock>>, _> =
        GateLayer::with_env(Enforced::new(gate, Enforcement::Enforce), Env::new().with_clock(clock));
    let mut inside = Box::pin(layer.run(pending::<Result<(), Infallible>>()));
    let mut waits = Box::pin(layer.run(ready(Ok::<_, Infallible>(1))));
    assert!(poll(&mut inside).is_pending() && poll(&mut waits).is_pending());

    layer.gate().enforce(Enforcement::Shadow);
    assert_eq!(poll(&mut Box::pin(layer.run(ready(Ok::<_, Infallible>(2))))), Poll::Ready(Ok(2)));

    assert_eq!((layer.gate().spared(), layer.gate().gate().queued()), (1, 1));
    assert!(poll(&mut waits).is_pending());
    drop(inside);
    assert_eq!(poll(&mut waits), Poll::Ready(Ok(1)));
    assert_eq!(layer.gate().gate().in_flight(), 0);
}

#[test]
fn who_does_not_wait_goes_in_as_who_would_and_is_refused_where_who_would_is() {
    let (layer, clock) = queueing(1, 1);
    let (gate, now) = (layer.gate(), || clock.now());
    let at_once = |context: CallContext| gate.admit_at_once(|| context, now);

    let passage = at_once(CallContext::new()).expect("there is room");
    assert!(at_once(CallContext::new()).is_none());
    let exempt = at_once(CallContext::new().with_exempt(true)).expect("whatever the load");
    assert_eq!((gate.in_flight(), gate.queued()), (2, 0));
    for passage in [passage, exempt] {
        gate.finish(passage, Outcome::Finished(Class::Success), now);
    }

    gate.shed_below(Criticality::Critical);
    assert!(at_once(CallContext::new()).is_none());
    assert_eq!(gate.in_flight(), 0);
}

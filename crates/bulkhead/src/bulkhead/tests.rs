#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::sync::{
    Barrier,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use proptest::prelude::*;
use seawall_core::{Class, Reason};

use super::*;

const LIMIT: usize = 40;

fn bulkhead(limit: usize) -> Bulkhead {
    let spares = Spares::of_cores(2);
    Bulkhead { spares, ..Bulkhead::new(BulkheadConfig::new(limit).expect("allowed")) }
}

fn admit(bulkhead: &Bulkhead, weight: u32) -> Result<Place, Reason> {
    match bulkhead.admit(|| CallContext::new().with_cost(weight), || Timestamp::ZERO) {
        Admission::Admitted(place) => Ok(place),
        Admission::Refused(rejection) => Err(rejection.reason()),
        Admission::Queued(wait) => match wait {},
    }
}

fn finish(bulkhead: &Bulkhead, place: Place) {
    bulkhead.finish(place, Outcome::Finished(Class::Success), || Timestamp::ZERO);
}

fn is_idle(bulkhead: &Bulkhead) -> bool {
    bulkhead.is_idle(|| Timestamp::ZERO)
}

/// As after two calls that got in each other's way.
fn spread(bulkhead: &Bulkhead) {
    bulkhead.spares.spread(&bulkhead.places, bulkhead.places.seen());
}

/// One place is free, and lies with this core.
fn full_but_for_a_spare() -> (Bulkhead, Vec<Place>) {
    let bulkhead = bulkhead(LIMIT);
    spread(&bulkhead);
    let mut inside: Vec<_> = (0..LIMIT).map(|_| admit(&bulkhead, 1).expect("free")).collect();
    finish(&bulkhead, inside.pop().expect("inside"));
    assert_eq!(bulkhead.spares.count(), 1);
    (bulkhead, inside)
}

#[derive(Debug, Clone)]
enum Step {
    Arrive { weight: u32 },
    Finish { which: prop::sample::Index },
    Resize { limit: usize },
    Spread,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => (1..6_u32).prop_map(|weight| Step::Arrive { weight }),
        40 => any::<prop::sample::Index>().prop_map(|which| Step::Finish { which }),
        2 => (1..60_usize).prop_map(|limit| Step::Resize { limit }),
        10 => Just(Step::Spread),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn decides_as_if_no_core_kept_a_place(steps in prop::collection::vec(step(), 1..300)) {
        let bulkhead = bulkhead(LIMIT);
        let (mut limit, mut inside) = (u32::try_from(LIMIT).unwrap(), Vec::<Place>::new());
        for step in steps {
            let taken: u32 = inside.iter().map(Place::weight).sum();
            match step {
                Step::Arrive { weight } => {
                    let expected = match limit {
                        0 => Err(Reason::Closed),
                        _ if weight > limit => Err(Reason::TooHeavy),
                        _ if taken + weight > limit => Err(Reason::BulkheadFull),
                        _ => Ok(weight),
                    };
                    let admitted = admit(&bulkhead, weight);
                    prop_assert_eq!(admitted.as_ref().map(Place::weight).map_err(|reason| *reason), expected);
                    inside.extend(admitted);
                }
                Step::Finish { .. } if inside.is_empty() => {}
                Step::Finish { which } => finish(&bulkhead, inside.swap_remove(which.index(inside.len()))),
                Step::Resize { limit: new } => {
                    bulkhead.set_limit(new).unwrap();
                    limit = if limit == 0 { 0 } else { u32::try_from(new).unwrap() };
                }
                Step::Spread => spread(&bulkhead),
                Step::Close => {
                    bulkhead.close();
                    limit = 0;
                }
            }
            let taken: u32 = inside.iter().map(Place::weight).sum();
            prop_assert_eq!((bulkhead.limit(), bulkhead.in_flight()), (limit, taken));
        }
    }
}

#[test]
fn cores_that_come_and_go_together_keep_places_and_never_exceed_the_limit() {
    let bulkhead = bulkhead(LIMIT);
    let (inside, most, together) = (AtomicU32::new(0), AtomicU32::new(0), Barrier::new(2));
    spread(&bulkhead);

    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                together.wait();
                for call in 0..20_000_u32 {
                    // Now all places, now a few.
                    let wanted = if call % 100 == 0 { 40 } else { 1 + call % 3 };
                    let places: Vec<_> = (0..wanted).map_while(|_| admit(&bulkhead, 1).ok()).collect();
                    let here = u32::try_from(places.len()).unwrap();
                    most.fetch_max(inside.fetch_add(here, SeqCst) + here, SeqCst);
                    inside.fetch_sub(here, SeqCst);
                    for place in places {
                        finish(&bulkhead, place);
                    }
                    if call % 50 == 0 {
                        spread(&bulkhead);
                    }
                }
            });
        }
    });

    assert!(most.load(SeqCst) <= 40);
    assert_eq!(bulkhead.in_flight(), 0);
    assert!(is_idle(&bulkhead));
}

#[test]
fn a_core_that_is_alone_at_it_keeps_no_places() {
    let bulkhead = bulkhead(LIMIT);

    for _ in 0..100 {
        finish(&bulkhead, admit(&bulkhead, 1).unwrap());
    }

    assert!(!bulkhead.spares.era().is_spread());
    assert_eq!(bulkhead.places.seen().taken(), 0);
}

#[test]
fn a_call_takes_the_place_that_its_core_kept_before_it_asks_for_another() {
    let bulkhead = bulkhead(LIMIT);
    spread(&bulkhead);

    for _ in 0..3 {
        finish(&bulkhead, admit(&bulkhead, 1).unwrap());
    }

    assert_eq!((bulkhead.places.seen().taken(), bulkhead.spares.count(), bulkhead.in_flight()), (1, 1, 0));
}

#[test]
fn a_core_keeps_no_more_than_an_eighth_of_the_places_of_two() {
    let bulkhead = bulkhead(LIMIT);
    spread(&bulkhead);

    let inside: Vec<_> = (0..20).map(|_| admit(&bulkhead, 1).unwrap()).collect();
    for place in inside {
        finish(&bulkhead, place);
    }

    assert_eq!((bulkhead.spares.count(), bulkhead.in_flight()), (5, 0));
}

#[test]
fn the_last_place_is_found_where_a_core_keeps_it() {
    let (bulkhead, inside) = full_but_for_a_spare();
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| admit(&bulkhead, 1)).join().unwrap());

    assert!(elsewhere.is_ok());
    assert_eq!(admit(&bulkhead, 1).unwrap_err(), Reason::BulkheadFull);
    assert!(!bulkhead.spares.era().is_spread());
    assert_eq!(bulkhead.in_flight() as usize, inside.len() + 1);
}

#[test]
fn places_are_spread_again_only_when_half_of_them_are_free() {
    let bulkhead = bulkhead(LIMIT);
    let mut inside: Vec<_> = (0..=LIMIT / 2).map(|_| admit(&bulkhead, 1).unwrap()).collect();

    spread(&bulkhead);
    assert!(!bulkhead.spares.era().is_spread());

    finish(&bulkhead, inside.pop().unwrap());
    spread(&bulkhead);
    assert!(bulkhead.spares.era().is_spread());
}

#[test]
fn a_lower_limit_finds_no_place_left_with_a_core() {
    let (bulkhead, inside) = full_but_for_a_spare();

    bulkhead.set_limit(inside.len()).unwrap();

    assert_eq!(admit(&bulkhead, 1).unwrap_err(), Reason::BulkheadFull);
    assert_eq!(bulkhead.in_flight() as usize, inside.len());
}

#[test]
fn a_call_too_heavy_for_all_places_leaves_the_spares_where_they_are() {
    let (bulkhead, _inside) = full_but_for_a_spare();

    assert_eq!(admit(&bulkhead, 41).unwrap_err(), Reason::TooHeavy);

    assert_eq!(bulkhead.spares.count(), 1);
}

#[test]
fn a_bulkhead_whose_free_places_lie_with_cores_is_idle() {
    let bulkhead = bulkhead(LIMIT);
    spread(&bulkhead);
    let place = admit(&bulkhead, 1).unwrap();
    finish(&bulkhead, admit(&bulkhead, 1).unwrap());

    assert!(!is_idle(&bulkhead));
    finish(&bulkhead, place);
    assert!(is_idle(&bulkhead));
}

//! Alternatives within bounds: for so long, and for so many calls at the same time.

use std::{
    cell::Cell,
    future::{Future, pending, poll_fn, ready},
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use proptest::prelude::*;
use seawall_core::{Clock, Env, Error, InheritDeadline, Timestamp, VirtualClock, inherited_deadline};
use seawall_fallback::{
    Alternative, Bounded, BoundedError, Bounds, ChainError, Combine, FallbackError, FallbackLayer, FromFn, Nothing,
    Value, from_fn,
};

use super::{Failing, Fault, down, poll_once};

const MS: Duration = Duration::from_millis(1);

fn bounds() -> Bounds {
    Bounds::new(100 * MS).expect("a limit")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the layer calls it")]
fn hanging<T>((): &(), _: Result<&u32, &T>) -> std::future::Pending<Result<u32, Fault>> {
    pending()
}

type TestLayer<A> = FallbackLayer<A, Nothing, Env<VirtualClock>>;
type Ended<F> = Result<u32, FallbackError<Failing, F>>;

/// A call that found its service down and has the alternative to help it out.
fn call<A>(layer: &TestLayer<A>) -> Pin<Box<impl Future<Output = Ended<A::Error>> + use<A>>>
where
    A: Alternative<(), u32, Failing>,
{
    Box::pin(layer.run_carrying((), ready(down())))
}

fn layer<A>(clock: &VirtualClock, alternative: A) -> TestLayer<A> {
    FallbackLayer::with_env(alternative, Env::new().with_clock(clock.clone()))
}

fn failed<F>(how: BoundedError<F>) -> Poll<Ended<BoundedError<F>>> {
    Poll::Ready(Err(FallbackError::new(Error::Inner(Fault("down"))).with_fallback(how)))
}

#[test]
fn one_that_hangs_is_cut_on_time_and_the_next_one_answers() {
    let clock = VirtualClock::new();
    let first = from_fn(hanging::<Failing>).bounded(bounds()).with_clock(clock.clone());
    let layer = layer(&clock, first.then(Value::new(7)));
    let mut call = call(&layer);

    assert_eq!(poll_once(&mut call), Poll::Pending);
    clock.advance(Duration::from_nanos(99_999_999));
    assert_eq!(poll_once(&mut call), Poll::Pending);
    clock.advance(Duration::from_nanos(1));

    assert_eq!(poll_once(&mut call), Poll::Ready(Ok(7)));
}

#[test]
fn each_of_a_chain_has_its_own_slice_and_gives_its_place_back_before_the_next_begins() {
    let clock = VirtualClock::new();
    let bounded = || from_fn(hanging::<Failing>).bounded(bounds()).with_clock(clock.clone());
    let first = bounded();
    let layer = layer(&clock, first.clone().then(bounded()));
    let mut call = call(&layer);
    assert_eq!(poll_once(&mut call), Poll::Pending);
    assert_eq!(first.free(), 9);
    clock.advance(150 * MS);
    assert_eq!(poll_once(&mut call), Poll::Pending);
    assert_eq!(first.free(), 10);
    clock.advance(99 * MS);
    assert_eq!(poll_once(&mut call), Poll::Pending);
    clock.advance(MS);

    let Poll::Ready(Err(error)) = poll_once(&mut call) else { panic!("it goes on") };
    let ChainError { first, second, .. } = error.fallback().unwrap();

    assert_eq!((first, second), (&Some(BoundedError::TookTooLong), &Some(BoundedError::TookTooLong)));
}

#[test]
fn no_more_calls_than_it_has_places_are_helped_out_at_once_and_a_place_comes_back() {
    let clock = VirtualClock::new();
    let layer = layer(&clock, from_fn(hanging::<Failing>).bounded(bounds()).with_clock(clock.clone()));
    let mut under_way: Vec<_> = (0..10).map(|_| call(&layer)).collect();
    assert!(under_way.iter_mut().all(|call| poll_once(call).is_pending()));

    assert_eq!(poll_once(&mut call(&layer)), failed(BoundedError::Full));
    assert_eq!(layer.alternative().free(), 0);
    under_way.pop();
    assert!(poll_once(&mut call(&layer)).is_pending());
    clock.advance(100 * MS);
    for call in &mut under_way {
        assert_eq!(poll_once(call), failed(BoundedError::TookTooLong));
    }

    assert_eq!(layer.alternative().free(), 10);
}

#[test]
fn a_deadline_gives_it_its_share() {
    let clock = VirtualClock::new();
    let half = bounds().with_share(0.5).unwrap();
    let layer = layer(&clock, from_fn(hanging::<Failing>).bounded(half).with_clock(clock.clone()));
    let until = |left: Duration| clock.now().saturating_add(left);
    let mut in_time = Box::pin(InheritDeadline::new(until(60 * MS), call(&layer)));
    assert!(poll_once(&mut in_time).is_pending());
    clock.advance(29 * MS);
    assert!(poll_once(&mut in_time).is_pending());
    clock.advance(MS);

    assert_eq!(poll_once(&mut in_time), failed(BoundedError::TookTooLong));
}

#[test]
fn nothing_is_begun_after_the_deadline() {
    let clock = VirtualClock::new();
    let begun =
        from_fn(|(): &(), _: Result<&u32, &Failing>| -> std::future::Ready<Result<u32, Fault>> { panic!("begun") });
    let layer = layer(&clock, begun.bounded(bounds()).with_clock(clock.clone()));
    let mut late = Box::pin(InheritDeadline::new(clock.now(), call(&layer)));

    assert_eq!(poll_once(&mut late), failed(BoundedError::TookTooLong));
    assert_eq!(layer.alternative().free(), 10);
}

#[test]
fn what_it_calls_inherits_its_end() {
    let clock = VirtualClock::new();
    let seen = Rc::new(Cell::new(None));
    let look = from_fn({
        let seen = Rc::clone(&seen);
        move |(): &(), _: Result<&u32, &Failing>| {
            let seen = Rc::clone(&seen);
            poll_fn(move |_| {
                seen.set(inherited_deadline());
                Poll::Ready(Ok::<_, Fault>(1))
            })
        }
    });
    let layer = layer(&clock, look.bounded(bounds()).with_clock(clock.clone()));

    assert_eq!(poll_once(&mut call(&layer)), Poll::Ready(Ok(1)));

    assert_eq!((seen.get(), inherited_deadline()), (Some(clock.now().saturating_add(100 * MS)), None));
}

#[test]
fn an_answer_in_the_poll_in_which_its_time_is_up_counts() {
    let clock = VirtualClock::new();
    let at_100_ms = from_fn({
        let clock = clock.clone();
        move |(): &(), _: Result<&u32, &Failing>| {
            let clock = clock.clone();
            let begun = clock.now();
            poll_fn(move |_| {
                let over = clock.now().since(begun) >= 100 * MS;
                if over { Poll::Ready(Ok::<_, Fault>(1)) } else { Poll::Pending }
            })
        }
    });
    let layer = layer(&clock, at_100_ms.bounded(bounds()).with_clock(clock.clone()));
    let mut call = call(&layer);
    assert!(poll_once(&mut call).is_pending());
    clock.advance(100 * MS);

    assert_eq!(poll_once(&mut call), Poll::Ready(Ok(1)));
}

#[test]
fn the_longest_limit_without_a_deadline_makes_no_timer() {
    let clock = VirtualClock::new();
    let endless = Bounds::new(Duration::MAX).unwrap();
    let layer = layer(&clock, from_fn(hanging::<Failing>).bounded(endless).with_clock(clock.clone()));
    let mut call = call(&layer);

    assert!(poll_once(&mut call).is_pending());

    assert_eq!((clock.next_deadline(), layer.alternative().free()), (None, 9));
    clock.advance_to(Timestamp::MAX);
    assert!(poll_once(&mut call).is_pending());
}

type Hanging =
    Bounded<FromFn<fn(&(), Result<&u32, &Failing>) -> std::future::Pending<Result<u32, Fault>>>, VirtualClock>;

proptest! {
    /// Against a count kept by hand: calls come, are given up on, and time passes in which some are cut.
    #[test]
    fn places_are_those_of_the_calls_that_are_under_way(places in 1_u32..5, steps in prop::collection::vec(0_u64..12, 1..100)) {
        let clock = VirtualClock::new();
        let alternative: Hanging = from_fn(hanging::<Failing> as fn(&(), Result<&u32, &Failing>) -> _)
            .bounded(bounds().with_places(places).unwrap())
            .with_clock(clock.clone());
        let layer = layer(&clock, alternative);
        let mut under_way = Vec::new();
        for step in steps {
            match step {
                0..6 => {
                    let mut call = call(&layer);
                    let full = under_way.len() == places as usize;
                    prop_assert_eq!(poll_once(&mut call), if full { failed(BoundedError::Full) } else { Poll::Pending });
                    if !full {
                        under_way.push((clock.now(), call));
                    }
                }
                6 if !under_way.is_empty() => drop(under_way.remove(0)),
                _ => {
                    clock.advance(Duration::from_millis(step * 5));
                    under_way.retain_mut(|(begun, call)| {
                        let cut = clock.now().since(*begun) >= 100 * MS;
                        assert_eq!(poll_once(call), if cut { failed(BoundedError::TookTooLong) } else { Poll::Pending });
                        !cut
                    });
                }
            }
            prop_assert_eq!(layer.alternative().free() as usize, places as usize - under_way.len());
        }
    }
}

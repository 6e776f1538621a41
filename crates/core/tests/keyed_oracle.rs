//! A table of keys against a list that is looked through from end to end.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Env, Gate, Gated, KeyedLayer, NoWait, Outcome, Shared, Timestamp};

/// Knows its number; idle unless told otherwise.
struct Numbered {
    number: AtomicUsize,
    is_busy: AtomicBool,
}

#[derive(Clone)]
struct Unnumbered;

impl From<Unnumbered> for Numbered {
    fn from(_: Unnumbered) -> Self {
        Self { number: AtomicUsize::new(0), is_busy: AtomicBool::new(false) }
    }
}

impl Gate for Numbered {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        Admission::Admitted(())
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}

    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        !self.is_busy.load(SeqCst)
    }
}

#[derive(Debug)]
struct Place {
    key: u8,
    number: usize,
    is_used: bool,
    is_busy: bool,
    held: usize,
}

impl Place {
    const fn is_free(&self) -> bool {
        !self.is_busy && self.held == 0
    }
}

/// The truth: keys in the order in which it is asked whether they can go.
struct Truth {
    most: usize,
    places: Vec<Place>,
    made: usize,
}

impl Truth {
    /// The number of the key's gate and whether it was made now; nothing when the key shares the gate of those for whom
    /// there is no place.
    fn look(&mut self, key: u8) -> Option<(usize, bool)> {
        if let Some(place) = self.places.iter_mut().find(|place| place.key == key) {
            place.is_used = true;
            return Some((place.number, false));
        }
        if self.places.len() == self.most {
            self.make_room()?;
        }
        self.made += 1;
        self.places.push(Place { key, number: self.made, is_used: false, is_busy: false, held: 0 });
        Some((self.made, true))
    }

    /// The first that is free and was not used since it was last asked, or else the first that is free. Who is asked
    /// goes to the end.
    fn make_room(&mut self) -> Option<()> {
        let first_free = self.places.iter().position(Place::is_free)?;
        let unused = self.places.iter().position(|place| place.is_free() && !place.is_used);
        let goes = unused.unwrap_or(first_free);
        let asked = if unused.is_some() { goes } else { self.places.len() };
        let is_asked = self.places.iter_mut().enumerate().filter(|(at, place)| *at < asked && place.is_free());
        is_asked.for_each(|(_, place)| place.is_used = false);
        self.places.rotate_left(goes);
        self.places.remove(0);
        Some(())
    }

    fn numbered(&mut self, number: usize) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.number == number)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Look(u8),
    Hold(u8),
    Release(prop::sample::Index),
    /// Of a gate that is held.
    Busy(prop::sample::Index, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..12_u8).prop_map(Step::Look),
        3 => (0..12_u8).prop_map(Step::Hold),
        3 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, is_busy)| Step::Busy(which, is_busy)),
    ]
}

/// Never asked for by a step.
const STRANGER: u8 = 100;

proptest! {
    #[test]
    fn a_table_keeps_and_forgets_as_a_searched_list_does(
        most in 1..7_usize, steps in prop::collection::vec(step(), 1..200),
    ) {
        let identity: fn(&u8) -> &u8 = |key| key;
        let layer = KeyedLayer::<u8, _, Numbered>::new(most, Unnumbered, identity).unwrap();
        let mut truth = Truth { most, places: Vec::new(), made: 0 };
        let mut held: Vec<(Shared<Gated<Numbered, Env>>, usize)> = Vec::new();

        for step in steps {
            match step {
                Step::Look(key) | Step::Hold(key) => {
                    let gate = layer.gate(&key);
                    let Some((number, is_new)) = truth.look(key) else {
                        prop_assert!(gate.same(&layer.gate(&STRANGER)), "there is no place for {}", key);
                        continue;
                    };
                    let before = gate.gate().number.swap(number, Relaxed);
                    prop_assert_eq!(before, if is_new { 0 } else { number }, "key {}, {:?}", key, truth.places);
                    if let (Step::Hold(_), Some(place)) = (step, truth.numbered(number)) {
                        place.held += 1;
                        held.push((gate, number));
                    }
                }
                Step::Release(which) if !held.is_empty() => {
                    let (_, number) = held.swap_remove(which.index(held.len()));
                    truth.numbered(number).expect("it was held").held -= 1;
                }
                Step::Busy(which, is_busy) if !held.is_empty() => {
                    let (gate, number) = &held[which.index(held.len())];
                    gate.gate().is_busy.store(is_busy, SeqCst);
                    truth.numbered(*number).expect("it is held").is_busy = is_busy;
                }
                Step::Release(_) | Step::Busy(..) => {}
            }
            prop_assert_eq!(layer.len(), truth.places.len());
        }
    }
}

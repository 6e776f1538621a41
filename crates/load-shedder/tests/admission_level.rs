//! The level from which on calls are let in, held against what its documentation says.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Class, Criticality, Gate, Outcome, Timestamp};
use seawall_load_shedder::{AdmissionLevel, ByLevel, Fixed, Level, LoadShedder};

const CRITICALITIES: [Criticality; 4] =
    [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical];

proptest! {
    /// Of any calls, after any windows: who is more critical is refused only where all who are less critical are, one user is treated
    /// alike, and each window moves what is let in by as much as it should and no further than one level.
    #[test]
    fn whole_criticalities_go_first_and_users_are_treated_alike(
        windows in prop::collection::vec((any::<bool>(), prop::collection::vec((0..4_usize, 0..50_u64), 0..300)), 1..30),
    ) {
        let mut threshold = AdmissionLevel::new();
        for (overloaded, calls) in windows {
            let levels: Vec<Level> =
                calls.iter().map(|(class, tenant)| Level::of(CRITICALITIES[*class], *tenant, 0)).collect();
            let let_in = |threshold: &AdmissionLevel| levels.iter().filter(|level| threshold.would_admit(**level)).count();
            let refused: Vec<usize> = calls
                .iter()
                .zip(&levels)
                .filter_map(|((class, _), level)| (!threshold.admits(*level)).then_some(*class))
                .collect();
            let lowest_let_in =
                calls.iter().zip(&levels).filter(|(_, level)| threshold.would_admit(**level)).map(|((class, _), _)| *class).min();
            prop_assert!(lowest_let_in.is_none_or(|lowest| refused.iter().all(|class| *class <= lowest)));

            let (before, from) = (let_in(&threshold), threshold.lowest());
            threshold.close_window(overloaded);

            let (after, top) = (let_in(&threshold), threshold.lowest() == 511);
            if overloaded {
                prop_assert!(threshold.lowest() >= from);
                prop_assert!(top || after <= before - (before / 20).max(usize::from(before > 0)));
            } else {
                prop_assert!(threshold.lowest() <= from);
                prop_assert!(threshold.lowest() == 0 || after >= before + (before / 100).max(1));
            }
        }
    }
}

#[test]
fn a_user_keeps_its_level_for_a_turn_and_has_another_in_the_next() {
    let level = |turn| Level::of(Criticality::Default, 42, turn);

    assert_eq!(level(3), level(3));
    assert!((0..10).any(|turn| level(turn) != level(0)));
    assert_eq!(level(0).number() >> 7, 2);
}

#[test]
fn users_are_spread_over_all_levels() {
    let mut users = [0_u32; 128];
    for tenant in 0..12_800 {
        users[usize::from(Level::of(Criticality::Sheddable, tenant, 1).number())] += 1;
    }

    assert!(users.iter().all(|count| (50..150).contains(count)), "{users:?}");
}

#[test]
fn once_the_overload_is_over_all_are_let_in_again() {
    let mut threshold = AdmissionLevel::new();
    let mut windows = |overloaded, count| {
        for _ in 0..count {
            for tenant in 0..500 {
                threshold.admits(Level::of(Criticality::Default, tenant, 0));
            }
            threshold.close_window(overloaded);
        }
        threshold.lowest()
    };

    assert!(windows(true, 10) > 256, "some of the default ones");
    assert_eq!(windows(false, 200), 0);
}

/// In each of so many seconds 500 users make ten calls each while half of them fit; how many of its calls each had in the last.
fn seconds(gate: &ByLevel<LoadShedder<Fixed>>, seconds: std::ops::Range<u64>, demand: u64) -> Vec<u32> {
    let mut served = vec![0; 500];
    for second in seconds {
        served.fill(0);
        let mut inside = Vec::new();
        for call in 0..10 * demand {
            let now = Timestamp::from_nanos((1 + second) * 1_000_000_000 + call * 100_000);
            let tenant = call % demand;
            let context = CallContext::new().with_tenant(tenant + 1);
            if let Admission::Admitted(passage) = gate.admit(|| context, || now) {
                served[usize::try_from(tenant).unwrap_or_default()] += 1;
                inside.push(passage);
            }
        }
        for passage in inside {
            gate.finish(passage, Outcome::Finished(Class::Success), || Timestamp::ZERO);
        }
    }
    served
}

#[test]
fn before_a_full_gate_a_user_has_all_of_its_calls_or_none() {
    let gate = ByLevel::new(LoadShedder::with_algorithm(Fixed::new(2_500).unwrap()));

    let served = seconds(&gate, 0..40, 500);

    let (all, none) =
        (served.iter().filter(|calls| **calls == 10).count(), served.iter().filter(|calls| **calls == 0).count());
    assert!(all >= 200 && none >= 200, "{all} have all and {none} none");
    seconds(&gate, 40..200, 100);
    assert_eq!(gate.lowest(), 0, "the overload is over");
    assert!(gate.is_idle(|| Timestamp::ZERO));
}

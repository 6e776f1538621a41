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
    for tenant in 0..11_200 {
        users[usize::from(Level::of(Criticality::Sheddable, tenant, 1).number())] += 1;
    }

    assert!(users[16..].iter().all(|count| (50..150).contains(count)), "{users:?}");
    assert!(users[..16].iter().all(|count| *count == 0), "those are for what is beyond a share: {users:?}");
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
    assert!(all >= 180 && none >= 200, "{all} have all and {none} none");
    seconds(&gate, 40..200, 100);
    assert_eq!(gate.lowest(), 0, "the overload is over");
    assert!(gate.is_idle(|| Timestamp::ZERO));
}

/// As many calls of each tenant a second, evenly mixed, before a gate for so many; how many of them were let in in the last of so
/// many seconds.
fn let_in(calls: &[(u64, u64)], places: u32, seconds: u64) -> Vec<u64> {
    let gate = ByLevel::new(LoadShedder::with_algorithm(Fixed::new(places).expect("tests ask for some")));
    let most = calls.iter().map(|(_, calls)| *calls).max().expect("there are some");
    let mut served = Vec::new();
    for second in 1..=seconds {
        served = vec![0; calls.len()];
        let mut inside = Vec::new();
        for round in 0..most {
            let now = Timestamp::from_nanos(second * 1_000_000_000 + round * (900_000_000 / most));
            for ((tenant, calls), served) in calls.iter().zip(&mut served) {
                if round * calls / most == (round + 1) * calls / most {
                    continue;
                }
                let context = CallContext::new().with_tenant(*tenant);
                if let Admission::Admitted(passage) = gate.admit(|| context, || now) {
                    *served += 1;
                    inside.push(passage);
                }
            }
        }
        for passage in inside {
            gate.finish(passage, Outcome::Finished(Class::Success), || Timestamp::ZERO);
        }
    }
    served
}

#[test]
fn a_tenant_that_floods_is_cut_by_itself_and_left_its_share() {
    let mut calls: Vec<(u64, u64)> = (2..502).map(|tenant| (tenant, 4)).collect();
    calls.push((1, 4_000));

    // 6,000 calls for 3,000 places: 2,000 of the others, which leaves it 1,000.
    let served = let_in(&calls, 3_000, 60);

    let (flood, others) = (served[500], &served[..500]);
    let whole = others.iter().filter(|served| **served == 4).count();
    assert!(whole >= 490 && (700..=1_050).contains(&flood), "{whole} of 500 have all, it has {flood}");

    // 1,500 places: the others are cut, too, and it keeps a 64th of what all ask for.
    let served = let_in(&calls, 1_500, 120);

    let flood = served[500];
    assert!((20..=200).contains(&flood), "{flood} of a share of 94");
}

#[test]
fn of_two_that_flood_the_heavier_is_cut_to_what_the_other_has() {
    let mut calls: Vec<(u64, u64)> = (3..203).map(|tenant| (tenant, 10)).collect();
    calls.extend([(1, 6_000), (2, 2_000)]);

    // 10,000 calls for 7,000 places.
    let served = let_in(&calls, 7_000, 60);

    let (heaviest, next, others) = (served[200], served[201], served[..200].iter().sum::<u64>());
    assert!(heaviest < 3_300 && next >= 1_850 && others >= 1_850, "{heaviest}, {next} and {others}");
}

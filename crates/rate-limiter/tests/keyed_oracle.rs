//! The table of keys against a limiter for each key, kept in a map that forgets nothing.
use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;
use seawall_core::{Reason, Timestamp};
use seawall_rate_limiter::{Gcra, KeyedGcra, KeyedQuota, Quota};

const INTERVAL: u64 = 100;

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Take { key: u16, cost: u32 },
    Charge { key: u16, cost: u32 },
    Refund { key: u16, cost: u32 },
}

fn quota(burst: u32) -> Quota {
    Quota::every(Duration::from_nanos(INTERVAL)).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

fn steps(keys: u16, longest: u64) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop_oneof![Just(1), Just(INTERVAL), 0..longest].prop_map(Step::Pass),
        8 => (0..keys, 1..4_u32).prop_map(|(key, cost)| Step::Take { key, cost }),
        1 => (0..keys, 1..4_u32).prop_map(|(key, cost)| Step::Charge { key, cost }),
        1 => (0..keys, 1..4_u32).prop_map(|(key, cost)| Step::Refund { key, cost }),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn keys_for_which_there_is_room_are_each_limited_as_if_they_were_alone(
        burst in 1..6_u32,
        steps in steps(8, INTERVAL * 3),
    ) {
        // One bucket: eight keys have a slot each, whatever their hashes.
        let table = KeyedGcra::new(KeyedQuota::new(quota(burst)).with_max_keys(1).expect("in range"));
        let mut truth: HashMap<u16, Gcra> = HashMap::new();
        let mut now = Timestamp::from_nanos(5);
        for step in steps {
            match step {
                Step::Pass(nanos) => now = now.saturating_add(Duration::from_nanos(nanos)),
                Step::Take { key, cost } => {
                    let alone = truth.entry(key).or_insert_with(|| Gcra::new(quota(burst)));
                    prop_assert_eq!(table.take(&key, cost, now), alone.take(cost, now));
                }
                Step::Charge { key, cost } => {
                    table.charge(&key, cost, now);
                    truth.entry(key).or_insert_with(|| Gcra::new(quota(burst))).charge(cost, now);
                }
                Step::Refund { key, cost } => {
                    table.refund(&key, cost);
                    truth.entry(key).or_insert_with(|| Gcra::new(quota(burst))).refund(cost);
                }
            }
            for (key, alone) in &truth {
                prop_assert_eq!(table.standing(key, now), alone.standing(now));
            }
        }
    }

    #[test]
    fn a_flood_of_keys_never_gets_one_of_them_more_than_its_quota(
        burst in 1..6_u32,
        steps in steps(60, INTERVAL / 4),
    ) {
        let table = KeyedGcra::new(KeyedQuota::new(quota(burst)).with_max_keys(9).expect("in range"));
        let mut truth: HashMap<u16, Gcra> = HashMap::new();
        let mut now = Timestamp::from_nanos(5);
        for step in steps {
            match step {
                Step::Pass(nanos) => now = now.saturating_add(Duration::from_nanos(nanos)),
                Step::Take { key, cost } | Step::Charge { key, cost } | Step::Refund { key, cost } => {
                    let alone = truth.entry(key).or_insert_with(|| Gcra::new(quota(burst)));
                    match table.take(&key, cost, now) {
                        Ok(()) => prop_assert_eq!(alone.take(cost, now), Ok(())),
                        // Refused by the debt of its neighbours at worst: for no longer than a burst takes.
                        Err(refused) if refused.reason() == Reason::RateLimited => {
                            let wait = refused.retry_after().expect("an exact wait");
                            prop_assert!(wait <= Duration::from_nanos(INTERVAL * u64::from(burst)));
                        }
                        Err(_) => prop_assert!(cost > burst),
                    }
                }
            }
        }
    }
}

#[test]
fn a_flood_of_strangers_below_their_quota_locks_nobody_out() {
    let quota = quota(100);
    let table = KeyedGcra::new(KeyedQuota::new(quota).with_max_keys(1_000).expect("in range"));
    let now = Timestamp::from_nanos(1_000_000);

    for stranger in 0..100_000_u32 {
        let _ = table.take(&("stranger", stranger), 1, now);
    }

    // Each of a hundred thousand strangers has called once: a newcomer owes what the idlest of sixteen owes, and that is
    // what those before it owed and one more.
    let left = table.standing("regular", now).remaining();
    assert!(left >= 20, "{left} calls of 100 are left");
}

#[test]
fn a_million_keys_have_their_own_quota_in_memory_that_was_taken_at_the_start() {
    const KEYS: u32 = 1_000_000;
    let quota = quota(2);
    let table = KeyedGcra::new(KeyedQuota::new(quota).with_max_keys(1_000_000).expect("in range"));
    let (memory, now) = (table.memory(), Timestamp::from_nanos(1_000_000));

    let both = (0..KEYS).filter(|key| table.take(key, 1, now).is_ok() && table.take(key, 1, now).is_ok()).count();
    let third = (0..KEYS).filter(|key| table.take(key, 1, now).is_ok()).count();

    assert!(both >= 999_950, "{both} keys had their two calls");
    assert_eq!(third, 0);
    assert_eq!((memory, table.memory()), (25_508_192, 25_508_192));
}

//! Questions and answers that are lost, in any order: never is more admitted than may be.

use proptest::prelude::*;
use seawall_core::Timestamp;
use seawall_rate_limiter::{DistributedGcra, IfGone, Quota};

use super::{MILLIS, PROCESSES, shared, world::Bucket};

/// One of the things that can happen to a process, the network or the time.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Call {
        process: usize,
        cost: u32,
    },
    Ask(usize),
    /// The question arrives, and so does the answer.
    Answer(usize),
    /// The question arrives, the answer does not.
    LoseAnswer(usize),
    /// The question does not arrive.
    LoseQuestion(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..PROCESSES;
    prop_oneof![
        3 => (0..20 * MILLIS).prop_map(Step::Pass),
        12 => (process.clone(), 1..4_u32).prop_map(|(process, cost)| Step::Call { process, cost }),
        4 => process.clone().prop_map(Step::Ask),
        4 => process.clone().prop_map(Step::Answer),
        1 => process.clone().prop_map(Step::LoseAnswer),
        1 => process.prop_map(Step::LoseQuestion),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_is_lost_no_more_is_admitted_than_the_quota_and_while_the_store_is_away_the_local_shares(
        refuse in any::<bool>(),
        steps in prop::collection::vec(step(), 1..600),
    ) {
        let if_gone = if refuse { IfGone::Refuse } else { IfGone::LocalShare };
        let quota = Quota::per_second(200).and_then(|quota| quota.with_burst(40)).unwrap();
        let quota = shared(quota).with_if_gone(if_gone);
        let processes: Vec<_> = (0..PROCESSES).map(|_| DistributedGcra::new(quota)).collect();
        let (mut needs, mut bucket) = ([None; PROCESSES], Bucket::new(quota.quota()));
        let (mut now, mut admitted) = (0, 0_u64);
        for step in steps {
            let at = Timestamp::from_nanos(now);
            match step {
                Step::Pass(nanos) => now += nanos,
                Step::Call { process, cost } => {
                    if processes[process].take(cost, at).is_ok() {
                        admitted += u64::from(cost);
                    }
                }
                Step::Ask(process) => {
                    if needs[process].is_none() {
                        needs[process] = processes[process].ask(at);
                    }
                }
                Step::Answer(process) => {
                    if let Some(need) = needs[process].take() {
                        processes[process].answered(need, bucket.exchange(need, now), at);
                    }
                }
                Step::LoseAnswer(process) => {
                    if let Some(need) = needs[process].take() {
                        let _lost = bucket.exchange(need, now);
                        processes[process].failed(need, at);
                    }
                }
                Step::LoseQuestion(process) => {
                    if let Some(need) = needs[process].take() {
                        processes[process].failed(need, at);
                    }
                }
            }
            let one_bucket = now / (5 * MILLIS) + 40;
            // As much again by the local shares, if none of it can be settled.
            let most = if refuse { one_bucket } else { 2 * one_bucket };
            prop_assert!(admitted <= most, "{} admitted, {} allowed", admitted, most);
        }
    }
}

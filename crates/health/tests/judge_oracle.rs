//! The judge beside one that looks through the whole history for every answer.

use std::time::Duration;

use proptest::prelude::*;
use seawall_core::Timestamp;
use seawall_health::{CheckConfig, Judge, Status};

/// Whether the last `count` runs, and there are that many, are all as wanted.
fn end_with(runs: &[Status], count: u32, up: bool) -> bool {
    let count = usize::try_from(count).expect("a small number");
    runs.len() >= count && runs.iter().rev().take(count).all(|run| run.is_up() == up)
}

/// What a run found, and whether a failure needs no other to confirm it.
type Run = (Status, bool);

fn truth(config: &CheckConfig, history: &[(Run, Timestamp)], now: Timestamp) -> Status {
    let silent = |from: Timestamp, to: Timestamp| to.since(from) > config.interval.saturating_mul(3);
    let (mut status, mut runs, mut since_silence) = (Status::Unknown, Vec::new(), Vec::new());
    let mut before = history.first().map_or(now, |run| run.1);
    for &((found, conclusive), at) in history {
        if silent(before, at) {
            status = Status::Fail;
            since_silence.clear();
        }
        before = at;
        runs.push(found);
        since_silence.push(found);
        let mends = status != Status::Fail || end_with(&since_silence, config.successes, true);
        if end_with(&runs, config.failures, false) || (conclusive && !found.is_up()) {
            status = Status::Fail;
        } else if found.is_up() && mends {
            status = found;
        }
    }
    if silent(before, now) { Status::Fail } else { status }
}

fn run() -> impl Strategy<Value = (Run, u64)> {
    let found = prop::sample::select(vec![
        (Status::Pass, false),
        (Status::Warn, false),
        (Status::Fail, false),
        (Status::Fail, true),
    ]);
    (found, 1_u64..45)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn judges_as_the_history_says(
        failures in 1_u32..5,
        successes in 1_u32..5,
        runs in prop::collection::vec(run(), 0..60),
        looks in any::<bool>(),
        later in 0_u64..60,
    ) {
        let config = CheckConfig::application().with_failures(failures).with_successes(successes);
        let mut judge = Judge::new(&config);
        let mut now = Timestamp::ZERO;
        let mut history = Vec::new();
        for (found, gap) in runs {
            now = now.saturating_add(Duration::from_secs(gap));
            if looks {
                judge.look(now);
            }
            history.push((found, now));

            let judged = match found {
                (_, true) => judge.record_conclusive_failure(now),
                (found, false) => judge.record(found, now),
            };
            prop_assert_eq!(judged, truth(&config, &history, now));
        }
        let now = now.saturating_add(Duration::from_secs(later));
        prop_assert_eq!(judge.status(now), truth(&config, &history, now));
        prop_assert_eq!(judge.look(now), truth(&config, &history, now));
    }
}

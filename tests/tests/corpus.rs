//! Replays what fuzzing of the parsers of outside text has found worth keeping, and what can be made of it.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{fs, path::Path, time::Duration};

use seawall::core::{Clock, Entropy, MonotonicClock, SeededEntropy};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a crate of its own where it is fuzzed")]
mod holds;

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 5] = [
    ("deadline_headers", holds::deadline_headers),
    ("retry_hints", holds::retry_hints),
    ("rate_limit", holds::rate_limit),
    ("traceparent", holds::traceparent),
    ("told_headers", holds::told_headers),
];

/// The inputs kept for one target.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(folder).expect("the folder of the target").map(|file| file.expect("a file").path());
    files.map(|file| fs::read(file).expect("readable")).collect()
}

#[test]
fn what_holds_for_any_bytes_holds_for_those_that_reach_the_furthest() {
    for (target, check) in TARGETS {
        let inputs = kept(target);
        assert!(inputs.len() > 10, "{target}");

        for value in inputs {
            check(&value);
        }
    }
}

/// Half a minute per parser in the gate (`SEAWALL_FUZZ_SECONDS=30`), a moment elsewhere.
#[test]
fn what_holds_for_those_holds_for_what_can_be_made_of_them() {
    let seconds: u64 = std::env::var("SEAWALL_FUZZ_SECONDS").map_or(0, |set| set.parse().expect("whole seconds"));
    for (target, check) in TARGETS {
        let (inputs, mut made) = (kept(target), 0_u64);
        // Another seed each time where there is time for it; what breaks is told by the check itself.
        let chance = SeededEntropy::new(if seconds == 0 { 5 } else { MonotonicClock.now().as_nanos() });
        let until = MonotonicClock.now().saturating_add(Duration::from_secs(seconds));
        while made < 20_000 || MonotonicClock.now() < until {
            check(&made_of(&inputs, &chance));
            made += 1;
        }
        println!("{target}: {made} inputs made of {}", inputs.len());
    }
}

/// One of `inputs`, changed in one to four places.
fn made_of(inputs: &[Vec<u8>], chance: &SeededEntropy) -> Vec<u8> {
    /// What the grammars are made of.
    const TELLING: &[u8] = b"0123456789-+.,;:=\"% \tHMSmunGTfa\x00\x7f\xff";
    let below = |bound: usize| usize::try_from(chance.next_u64() % bound.max(1) as u64).expect("below a usize");
    let any = || inputs[below(inputs.len())].as_slice();
    let mut value = any().to_vec();
    for _ in 0..=below(4) {
        let at = below(value.len() + 1);
        match below(5) {
            0 => value.insert(at, TELLING[below(TELLING.len())]),
            1 => drop((at < value.len()).then(|| value.remove(at))),
            2 => value.iter_mut().skip(at).take(1).for_each(|byte| *byte = TELLING[below(TELLING.len())]),
            3 => value.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << below(8)),
            _ => {
                let other = any();
                value.splice(at.., other[below(other.len() + 1)..].iter().copied());
            }
        }
    }
    value
}

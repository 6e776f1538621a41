//! Replays what fuzzing of the parsers of outside text has found worth keeping.

use std::{fs, path::Path};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a crate of its own where it is fuzzed")]
mod holds;

/// The inputs kept for one target.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(folder).expect("the folder of the target").map(|file| file.expect("a file").path());
    files.map(|file| fs::read(file).expect("readable")).collect()
}

#[test]
fn what_holds_for_any_bytes_holds_for_those_that_reach_the_furthest() {
    type Check = fn(&[u8]);
    let targets: [(&str, Check); 4] = [
        ("deadline_headers", holds::deadline_headers),
        ("retry_hints", holds::retry_hints),
        ("rate_limit", holds::rate_limit),
        ("traceparent", holds::traceparent),
    ];
    for (target, check) in targets {
        let inputs = kept(target);
        assert!(inputs.len() > 10, "{target}");

        for value in inputs {
            check(&value);
        }
    }
}

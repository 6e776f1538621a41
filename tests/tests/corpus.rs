//! Replays what fuzzing of the parsers of outside text has found worth keeping.

use std::{fs, path::Path};

use seawall::http::{format_grpc_timeout, parse_grpc_timeout, parse_timeout_ms};

/// The inputs kept for one target.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(folder).expect("the folder of the target").map(|file| file.expect("a file").path());
    files.map(|file| fs::read(file).expect("readable")).collect()
}

#[test]
fn no_deadline_header_panics_and_what_is_read_is_never_more_than_what_is_written() {
    let inputs = kept("deadline_headers");
    assert!(inputs.len() > 20);

    for value in inputs {
        if let Some(timeout) = parse_grpc_timeout(&value) {
            let again = parse_grpc_timeout(format_grpc_timeout(timeout).as_bytes());
            assert!(again.is_some_and(|again| again <= timeout), "{value:?}");
        }
        if let Some(timeout) = parse_timeout_ms(&value) {
            let digits: u128 = String::from_utf8(value).expect("digits").parse().expect("digits");
            assert_eq!(timeout.as_millis(), digits);
        }
    }
}

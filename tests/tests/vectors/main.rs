//! Replays the recorded cases of other implementations and of specifications.
//!
//! The folder comes from `SEAWALL_VECTORS`; the default is the copy beside this package. Prints one line per file,
//! `file passed/total`, also for files that nothing here answers yet.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the lines are the result")]

mod http;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Says what is wrong with one case, if something is.
type Check = fn(&Value) -> Result<(), String>;

fn folder() -> PathBuf {
    std::env::var_os("SEAWALL_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), PathBuf::from)
}

fn checks() -> BTreeMap<&'static str, Check> {
    BTreeMap::from([
        ("grpc_pushback.json", http::grpc_pushback as Check),
        ("grpc_timeout.json", http::grpc_timeout),
        ("http_methods.json", http::http_methods),
        ("http_status.json", http::http_status),
        ("retry_after.json", http::retry_after),
        ("traceparent.json", http::traceparent),
    ])
}

/// Compares, and says both sides when they differ.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, recorded: &T) -> Result<(), String> {
    if ours == recorded { Ok(()) } else { Err(format!("{what}: ours is {ours:?}, recorded is {recorded:?}")) }
}

#[test]
fn every_recorded_case_that_applies_passes() {
    let checks = checks();
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap_or_else(|error| panic!("{}: {error}", folder().display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no vectors", folder().display());

    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let cases = file["cases"].as_array().unwrap();
        let Some(check) = checks.get(name.as_str()) else {
            println!("{name} 0/{} (not applicable)", cases.len());
            continue;
        };
        let failed: Vec<_> = cases
            .iter()
            .enumerate()
            .filter_map(|(index, case)| check(case).err().map(|why| format!("{name} case {index}: {why}")))
            .collect();
        println!("{name} {}/{}", cases.len() - failed.len(), cases.len());
        wrong.extend(failed);
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

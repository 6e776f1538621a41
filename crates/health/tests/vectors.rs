//! The recorded documents of other services, read from the folder that `SEAWALL_VECTORS` names.

use std::path::PathBuf;

use seawall_health::Status;
use serde_json::Value;

fn folder() -> PathBuf {
    std::env::var_os("SEAWALL_VECTORS")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors").into(), PathBuf::from)
}

#[test]
fn health_documents_are_judged_as_recorded() {
    let text = std::fs::read_to_string(folder().join("health_json.json")).expect("the vectors are there");
    let vectors: Value = serde_json::from_str(&text).expect("the vectors are JSON");
    let cases = vectors["cases"].as_array().expect("there are cases");

    let passed = cases.iter().filter(|case| judged_as_recorded(case)).count();

    println!("health_json.json {passed}/{}", cases.len());
    assert!(passed == cases.len() && passed > 0, "{passed} of {}", cases.len());
}

fn judged_as_recorded(case: &Value) -> bool {
    let status = Status::from_body(&case["body"].to_string()).ok();
    let http_ok = status.map(|status| (200..400).contains(&status.http_status()));
    case["valid"].as_bool() == Some(status.is_some())
        && case["up"].as_bool() == status.map(Status::is_up)
        && case["http_ok"].as_bool() == http_ok
}

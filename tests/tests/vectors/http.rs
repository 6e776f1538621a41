//! What HTTP and gRPC say in headers, methods and statuses.

use std::time::{Duration, SystemTime};

use seawall::{
    core::{Class, Classify},
    http::{Http, is_idempotent, is_safe, parse_grpc_timeout, parse_pushback, parse_retry_after, parse_traceparent},
};
use serde_json::Value;

use crate::expect;

/// Sun, 06 Nov 1994 08:49:37 GMT, the clock of the cases.
const NOW: Duration = Duration::from_secs(784_111_777);

fn text(case: &Value) -> &[u8] {
    case["value"].as_str().unwrap().as_bytes()
}

pub(crate) fn retry_after(case: &Value) -> Result<(), String> {
    let ours =
        parse_retry_after(text(case), SystemTime::UNIX_EPOCH.checked_add(NOW).unwrap()).map(|wait| wait.as_secs());
    expect("delay_s", &ours, &case["delay_s"].as_u64())
}

pub(crate) fn grpc_timeout(case: &Value) -> Result<(), String> {
    let recorded = case["timeout_ns"].as_number().map(|nanos| nanos.to_string().parse::<u128>().unwrap());
    expect("timeout_ns", &parse_grpc_timeout(text(case)).map(|timeout| timeout.as_nanos()), &recorded)
}

pub(crate) fn grpc_pushback(case: &Value) -> Result<(), String> {
    let ours = parse_pushback(text(case)).map(|wait| wait.as_millis());
    expect("retry_after_ms", &ours, &case["retry_after_ms"].as_u64().map(u128::from))
}

pub(crate) fn http_methods(case: &Value) -> Result<(), String> {
    let method =
        http::Method::from_bytes(case["method"].as_str().unwrap().as_bytes()).map_err(|error| error.to_string())?;
    expect("safe", &is_safe(&method), &case["safe"].as_bool().unwrap())?;
    expect("idempotent", &is_idempotent(&method), &case["idempotent"].as_bool().unwrap())
}

pub(crate) fn http_status(case: &Value) -> Result<(), String> {
    let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
    let answer = http::Response::builder().status(status).body(()).unwrap();
    let class = Http.classify(Ok::<_, &()>(&answer)).class;
    expect("breaker_failure", &(class == Class::Failure), &case["breaker_failure"].as_bool().unwrap())?;
    expect("retryable", &matches!(class, Class::Failure | Class::Overload), &case["retryable"].as_bool().unwrap())
}

pub(crate) fn traceparent(case: &Value) -> Result<(), String> {
    let ours = parse_traceparent(text(case))
        .map(|parent| (format!("{:032x}", parent.trace_id), format!("{:016x}", parent.parent_id), parent.sampled));
    let recorded = case["parsed"].as_object().map(|parsed| {
        let text = |field: &str| parsed[field].as_str().unwrap().to_owned();
        (text("trace_id"), text("parent_id"), parsed["sampled"].as_bool().unwrap())
    });
    expect("parsed", &ours, &recorded)
}

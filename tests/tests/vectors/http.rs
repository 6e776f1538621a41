//! What HTTP and gRPC say in headers, methods and statuses.

use std::time::{Duration, SystemTime};

use seawall::{
    core::{Class, Classify},
    http::{Http, is_idempotent, is_safe, parse_grpc_timeout, parse_pushback, parse_retry_after, parse_traceparent},
};
use serde::Deserialize;
use serde_json::{Number, Value};

use crate::{accepted, expect, parse};

/// Sun, 06 Nov 1994 08:49:37 GMT, the clock of the cases.
const NOW: Duration = Duration::from_secs(784_111_777);
/// The methods of RFC 9110 and RFC 5789, which everybody knows.
const WELL_KNOWN: [&str; 9] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryAfter {
    value: String,
    #[serde(deserialize_with = "Option::deserialize")]
    delay_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrpcTimeout {
    value: String,
    #[serde(deserialize_with = "Option::deserialize")]
    timeout_ns: Option<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrpcPushback {
    value: String,
    #[serde(deserialize_with = "Option::deserialize")]
    retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MethodCase {
    method: String,
    safe: bool,
    idempotent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusCase {
    status: u16,
    retryable: bool,
    breaker_failure: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceParent {
    value: String,
    #[serde(deserialize_with = "Option::deserialize")]
    parsed: Option<Parsed>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parsed {
    trace_id: String,
    parent_id: String,
    sampled: bool,
}

pub(crate) fn retry_after(case: &Value) -> Result<(), String> {
    let case: RetryAfter = parse(case)?;
    let now = SystemTime::UNIX_EPOCH.checked_add(NOW).ok_or("a clock that does not reach 1994")?;
    let ours = parse_retry_after(case.value.as_bytes(), now).map(|wait| wait.as_secs());
    let number = !case.value.is_empty() && case.value.bytes().all(|byte| byte.is_ascii_digit());
    // Too many seconds for a number may be ignored or be a very long time.
    if number && case.value.parse::<u64>().is_err() && matches!(ours, None | Some(u64::MAX)) {
        return Ok(());
    }
    expect("delay_s", &ours, &case.delay_s)
}

pub(crate) fn grpc_timeout(case: &Value) -> Result<(), String> {
    /// 2⁶⁴: from here on whether it saturates or is exact is all the same.
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    let case: GrpcTimeout = parse(case)?;
    let recorded = match case.timeout_ns {
        None => None,
        Some(nanos) => match (nanos.as_u64(), nanos.as_f64()) {
            (Some(nanos), _) => Some(nanos),
            (None, Some(nanos)) if nanos >= BEYOND => Some(u64::MAX),
            _ => return Err(format!("timeout_ns is {nanos}, no whole number of nanoseconds")),
        },
    };
    let ours = parse_grpc_timeout(case.value.as_bytes());
    expect("timeout_ns", &ours.map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)), &recorded)
}

pub(crate) fn grpc_pushback(case: &Value) -> Result<(), String> {
    let case: GrpcPushback = parse(case)?;
    let ours = parse_pushback(case.value.as_bytes()).map(|wait| wait.as_millis());
    expect("retry_after_ms", &ours, &case.retry_after_ms.map(u128::from))
}

pub(crate) fn http_methods(case: &Value) -> Result<(), String> {
    let case: MethodCase = parse(case)?;
    let method = accepted(http::Method::from_bytes(case.method.as_bytes()))?;
    // Of the less common ones a few may be unknown, and so neither.
    let known = WELL_KNOWN.contains(&case.method.as_str()) || is_idempotent(&method);
    expect("safe", &is_safe(&method), &(case.safe && known))?;
    expect("idempotent", &is_idempotent(&method), &(case.idempotent && known))
}

pub(crate) fn http_status(case: &Value) -> Result<(), String> {
    let case: StatusCase = parse(case)?;
    let answer = accepted(http::Response::builder().status(case.status).body(()))?;
    let class = Http.classify(Ok::<_, &()>(&answer)).class;
    expect("breaker_failure", &(class == Class::Failure), &case.breaker_failure)?;
    expect("retryable", &matches!(class, Class::Failure | Class::Overload), &case.retryable)
}

pub(crate) fn traceparent(case: &Value) -> Result<(), String> {
    let case: TraceParent = parse(case)?;
    let ours = parse_traceparent(case.value.as_bytes()).map(|parent| Parsed {
        trace_id: format!("{:032x}", parent.trace_id),
        parent_id: format!("{:016x}", parent.parent_id),
        sampled: parent.sampled,
    });
    expect("parsed", &ours, &case.parsed)
}

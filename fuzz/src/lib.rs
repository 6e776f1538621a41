//! What holds for any bytes that a parser of outside text is given. The fuzz targets check it, and so does the replay of
//! what they found worth keeping, tests/tests/corpus.rs.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Request, Response, header::AGE};
use seawall_core::{Attributes, Criticality};
use seawall_fallback::{Degraded, Mark};
use seawall_http::{
    CRITICALITY_HEADER, HttpAttributes, MarkDegraded, PREVIOUS_ATTEMPTS_HEADER, format_grpc_timeout,
    parse_grpc_timeout, parse_pushback, parse_rate_limit, parse_rate_limit_reset, parse_retry_after, parse_timeout_ms,
    parse_traceparent, previous_attempts,
};

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `grpc-timeout` and `x-request-timeout-ms`: what is written is never more than what was read.
pub fn deadline_headers(value: &[u8]) {
    if let Some(timeout) = parse_grpc_timeout(value) {
        let again = parse_grpc_timeout(format_grpc_timeout(timeout).as_bytes());
        assert!(again.is_some_and(|again| again <= timeout), "{value:?}");
    }
    if let Some(timeout) = parse_timeout_ms(value) {
        assert_eq!(Some(timeout.as_millis()), number(value));
    }
}

/// `Retry-After`, `x-ratelimit-reset` and `grpc-retry-pushback-ms`: numbers are read as they stand, and who reads a date
/// later waits no longer.
pub fn retry_hints(value: &[u8]) {
    let at =
        |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).expect("a time of this century");
    let (now, later) = (at(1_800_000_000), at(1_800_003_600));
    if let Some(wait) = parse_retry_after(value, now) {
        let seconds = number(value).map(Duration::from_secs);
        assert!(seconds.is_none_or(|seconds| seconds == wait), "{value:?}");
        assert!(parse_retry_after(value, later).is_some_and(|then| then <= wait), "{value:?}");
    }
    if let Some(wait) = parse_rate_limit_reset(value, now) {
        assert!(number(value).is_some_and(|seconds| wait <= Duration::from_secs(seconds)), "{value:?}");
        assert!(parse_rate_limit_reset(value, later).is_some_and(|then| then <= wait), "{value:?}");
    }
    if let Some(wait) = parse_pushback(value) {
        assert_eq!(i128::try_from(wait.as_millis()).ok(), number(value));
    }
}

/// `RateLimit`: no more quotas are read than there are bytes to name them.
pub fn rate_limit(value: &[u8]) {
    if let Some(quotas) = parse_rate_limit(value) {
        let named: usize = quotas.iter().map(|quota| quota.name.len()).sum();
        assert!(named <= value.len() && quotas.len() <= value.len(), "{value:?}");
    }
}

/// `traceparent`: what is read and written again reads the same.
pub fn traceparent(value: &[u8]) {
    if let Some(parent) = parse_traceparent(value) {
        let (trace, span, flags) = (parent.trace_id, parent.parent_id, u8::from(parent.sampled));
        let written = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
        assert_eq!(parse_traceparent(written.as_bytes()), Some(parent));
    }
}

/// What is told in `x-previous-attempts`, `x-criticality` and `age` is what it says, or nothing.
pub fn told_headers(value: &[u8]) {
    let Ok(header) = HeaderValue::from_bytes(value) else { return };
    let attempts = previous_attempts(&HeaderMap::from_iter([(PREVIOUS_ATTEMPTS_HEADER, header.clone())]));
    assert!(attempts == 0 || number::<u32>(value) == Some(attempts), "{value:?}");

    let mut request = Request::new(());
    request.headers_mut().insert(CRITICALITY_HEADER, header.clone());
    let name = match HttpAttributes.context(&request).criticality {
        Criticality::Sheddable => Some("sheddable"),
        Criticality::Degraded => Some("degraded"),
        Criticality::Critical => Some("critical"),
        Criticality::Default => None,
    };
    assert!(name.is_none_or(|name| value.eq_ignore_ascii_case(name.as_bytes())), "{value:?}");

    // An age that was there is added to, unless it is none.
    let before = header.to_str().ok().and_then(|age| age.parse::<u64>().ok()).unwrap_or(0);
    let mut response = Response::new(());
    response.headers_mut().insert(AGE, header);
    let degraded = Degraded::new("value").with_age(Duration::from_secs(7));
    Mark::<_, ()>::degraded(&MarkDegraded, &mut response, &degraded);
    let after = response.headers()[AGE].to_str().ok().and_then(|age| age.parse::<u64>().ok());
    assert_eq!(after, Some(before.saturating_add(7)), "{value:?}");
}

use std::time::Duration;

use http::{HeaderMap, HeaderName, Response};
use seawall_core::{Class, Classify, Verdict};

use crate::do_not_retry;

/// The header that carries a gRPC status, among the headers when there is no body.
pub(crate) const STATUS_HEADER: HeaderName = HeaderName::from_static("grpc-status");
/// The header by which a gRPC server steers retries.
pub(crate) const PUSHBACK_HEADER: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// gRPC allows this many digits in a timeout.
const MAX_TIMEOUT_DIGITS: usize = 8;

/// Reads a `grpc-timeout`: 1 to 8 digits and a unit (`H` hours, `M` minutes, `S` seconds, `m` milli-, `u` micro-,
/// `n` nanoseconds). `None` when it is anything else.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(seawall_http::parse_grpc_timeout(b"100m"), Some(Duration::from_millis(100)));
/// assert_eq!(seawall_http::parse_grpc_timeout(b"1s"), None);
/// ```
///
/// # Source
/// gRPC over HTTP/2, section "Requests".
pub fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > MAX_TIMEOUT_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount.saturating_mul(3600)),
        b'M' => Duration::from_secs(amount.saturating_mul(60)),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Writes a `grpc-timeout` in the finest unit that fits 8 digits, rounded down: the receiver never has more time than
/// the sender. The longest that can be said is 99,999,999 hours.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(seawall_http::format_grpc_timeout(Duration::from_secs(2)), "2000000u");
/// ```
pub fn format_grpc_timeout(timeout: Duration) -> String {
    const MAX: u128 = 99_999_999;
    let nanos = timeout.as_nanos();
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    for (size, unit) in units {
        let amount = nanos.checked_div(size).unwrap_or(nanos);
        if amount <= MAX {
            return format!("{amount}{unit}");
        }
    }
    let hours = timeout.as_secs().checked_div(3600).unwrap_or(0);
    format!("{}H", u128::from(hours).min(MAX))
}

/// Reads a `grpc-retry-pushback-ms`: the wait before another attempt; `None` (negative or not a 32-bit number) means
/// that the server wants no further attempt.
///
/// # Source
/// gRPC proposal A6, "Pushback".
pub fn parse_pushback(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return None;
    }
    let wait: i32 = text.parse().ok()?;
    u64::try_from(wait).ok().map(Duration::from_millis)
}

/// Classifies gRPC answers by `grpc-status` among the headers, where servers put it when a call fails before its first
/// message; an answer without one is a success so far.
///
/// `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNKNOWN` and `DATA_LOSS` are failures, `RESOURCE_EXHAUSTED` is an
/// overload, everything else is the caller's own affair and ignored. A pushback is passed on; one that is negative, or no
/// number, forbids a retry.
///
/// [`Http`](crate::Http) does the same with answers over HTTP/2 that have a `grpc-status`: this one is for clients that
/// call nothing else, since it takes an HTTP 429 for a success.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Grpc;

impl<B, Err: ?Sized> Classify<Response<B>, Err> for Grpc {
    fn classify(&self, result: Result<&Response<B>, &Err>) -> Verdict {
        let Ok(response) = result else { return Verdict::new(Class::Failure) };
        if response.status().is_server_error() {
            return Verdict::new(Class::Failure);
        }
        verdict(response.headers()).unwrap_or(Verdict::new(Class::Success))
    }
}

/// What the `grpc-status` among `headers` says, if there is one.
pub(crate) fn verdict(headers: &HeaderMap) -> Option<Verdict> {
    let class = match headers.get(STATUS_HEADER)?.as_bytes() {
        b"0" => return Some(Verdict::new(Class::Success)),
        b"2" | b"4" | b"13" | b"14" | b"15" => Class::Failure,
        b"8" => Class::Overload,
        _ => Class::Ignored,
    };
    let mut verdict = Verdict::new(class);
    if let Some(value) = headers.get(PUSHBACK_HEADER) {
        verdict = match parse_pushback(value.as_bytes()) {
            Some(wait) => verdict.with_retry_after(wait),
            None => verdict.with_do_not_retry(),
        };
    }
    Some(if do_not_retry::is_marked(headers) { verdict.with_do_not_retry() } else { verdict })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exhausted_resources_are_an_overload_with_the_servers_wait() {
        let answer = Response::builder().header(STATUS_HEADER, "8").header(PUSHBACK_HEADER, "250").body(()).unwrap();

        let verdict = Grpc.classify(Ok::<_, &()>(&answer));

        assert_eq!(verdict, Verdict::new(Class::Overload).with_retry_after(Duration::from_millis(250)));
    }

    #[test]
    fn a_negative_or_malformed_pushback_forbids_a_retry() {
        for value in ["-1", "soon", "", "+5", "2147483648"] {
            let answer =
                Response::builder().header(STATUS_HEADER, "14").header(PUSHBACK_HEADER, value).body(()).unwrap();
            let verdict = Grpc.classify(Ok::<_, &()>(&answer));
            assert_eq!(verdict, Verdict::new(Class::Failure).with_do_not_retry(), "{value}");
        }
    }

    #[test]
    fn an_answer_that_asks_not_to_be_repeated_is_not() {
        let answer = Response::builder().header(STATUS_HEADER, "14").header(do_not_retry::DO_NOT_RETRY_HEADER, "1");

        let verdict = Grpc.classify(Ok::<_, &()>(&answer.body(()).unwrap()));

        assert_eq!(verdict, Verdict::new(Class::Failure).with_do_not_retry());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_never_longer(nanos in any::<u64>()) {
            let timeout = Duration::from_nanos(nanos);

            let read = parse_grpc_timeout(format_grpc_timeout(timeout).as_bytes()).unwrap();

            prop_assert!(read <= timeout);
            prop_assert!(loses_little(read, timeout), "{:?} of {:?}", read, timeout);
        }

        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..32)) {
            let _ = (parse_grpc_timeout(&value), parse_pushback(&value));
        }
    }

    /// The coarsest step, from milliseconds to seconds, leaves five digits: 100,000 s of what was 99,999,999 ms and more.
    fn loses_little(read: Duration, timeout: Duration) -> bool {
        read.as_secs_f64() >= timeout.as_secs_f64() * 0.999_99 - 1e-9
    }

    #[test]
    fn the_step_from_milliseconds_to_seconds_loses_the_most() {
        let timeout = Duration::from_nanos(100_959_100_959_102);

        let read = parse_grpc_timeout(format_grpc_timeout(timeout).as_bytes()).unwrap();

        assert_eq!(read, Duration::from_secs(100_959));
        assert!(loses_little(read, timeout));
    }

    #[test]
    fn eight_digits_are_all_used_before_the_unit_grows() {
        let written = [99_999_999, 100_000_000].map(|nanos| format_grpc_timeout(Duration::from_nanos(nanos)));

        assert_eq!(written, ["99999999n", "100000u"]);
    }

    #[test]
    fn the_longest_duration_is_written_within_eight_digits() {
        assert_eq!(format_grpc_timeout(Duration::MAX), "99999999H");
    }
}

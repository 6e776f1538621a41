use std::time::{Duration, SystemTime};

use http::HeaderName;

/// The header by which many services say when a quota is full again.
pub(crate) const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Numbers from here on (the year 2001) are points in time, smaller ones are spans.
const EARLIEST_TIME: u64 = 1_000_000_000;

/// How long an `x-ratelimit-reset` asks to wait: whole seconds from now, or until a Unix time as of `now`, whichever the
/// number must mean. A time that has passed is no wait; anything but digits is `None`, to be ignored.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
/// assert_eq!(seawall_http::parse_rate_limit_reset(b"30", now), Some(Duration::from_secs(30)));
/// assert_eq!(seawall_http::parse_rate_limit_reset(b"1700000007", now), Some(Duration::from_secs(7)));
/// ```
///
/// # Source
/// No standard: seconds as in the drafts of RFC "`RateLimit` header fields", Unix times as GitHub sends them; Envoy's
/// rate-limited retry back-off reads both.
pub fn parse_rate_limit_reset(value: &[u8], now: SystemTime) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(value).ok()?.parse().ok()?;
    if number < EARLIEST_TIME {
        return Some(Duration::from_secs(number));
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(Duration::from_secs(number).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic_and_only_digits_are_read(value in prop::collection::vec(any::<u8>(), 0..32)) {
            let read = parse_rate_limit_reset(&value, SystemTime::UNIX_EPOCH);
            prop_assert!(read.is_none() || value.iter().all(u8::is_ascii_digit));
        }
    }

    #[test]
    fn the_second_that_the_time_began_is_a_time_and_the_one_before_it_a_span() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(999_999_999);

        assert_eq!(parse_rate_limit_reset(b"999999999", now), Some(Duration::from_secs(999_999_999)));
        assert_eq!(parse_rate_limit_reset(b"1000000000", now), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_time_that_has_passed_is_no_wait() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);

        assert_eq!(parse_rate_limit_reset(b"1999999999", now), Some(Duration::ZERO));
        assert_eq!(parse_rate_limit_reset(b"", now), None);
        assert_eq!(parse_rate_limit_reset(b"99999999999999999999", now), None);
    }
}

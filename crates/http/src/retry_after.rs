use std::time::{Duration, SystemTime};

/// How long a `Retry-After` asks to wait: whole seconds, or until a date as of `now`. A date that has passed is no
/// wait; anything that the grammar does not allow is `None`, to be ignored.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// let wait = seawall_http::parse_retry_after(b"120", SystemTime::UNIX_EPOCH);
/// assert_eq!(wait, Some(Duration::from_secs(120)));
/// ```
///
/// # Source
/// RFC 9110 §10.2.3 (`Retry-After`) and §5.6.7 (the three forms of dates).
pub fn parse_retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let date = parse_date(text)?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

fn parse_date(text: &str) -> Option<SystemTime> {
    // The library passes over space around a date, which belongs to no form of one.
    if text != text.trim() {
        return None;
    }
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_date_of_the_old_c_library_is_read_too() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();

        assert_eq!(parse_retry_after(b"Sun Nov  6 08:50:37 1994", now), Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_date_with_anything_around_it_is_none() {
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            for value in [format!("{date} "), format!(" {date}"), format!("{date}+1")] {
                assert_eq!(parse_retry_after(value.as_bytes(), SystemTime::UNIX_EPOCH), None, "{value:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_retry_after(&value, SystemTime::UNIX_EPOCH);
        }

        #[test]
        fn seconds_are_read_as_they_are_written(seconds in any::<u64>()) {
            let wait = parse_retry_after(seconds.to_string().as_bytes(), SystemTime::UNIX_EPOCH);
            prop_assert_eq!(wait, Some(Duration::from_secs(seconds)));
        }
    }
}

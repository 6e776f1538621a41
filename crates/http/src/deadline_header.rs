use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use crate::{format_grpc_timeout, parse_grpc_timeout};

/// The header that carries what remains of a request's time, in whole milliseconds: 1 to 18 digits.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";
/// The header in which gRPC carries the same.
const GRPC_TIMEOUT_HEADER: &str = "grpc-timeout";
/// What Envoy tells the service behind it.
const ENVOY_EXPECTED_HEADER: &str = "x-envoy-expected-rq-timeout-ms";
/// What a client tells Envoy.
const ENVOY_UPSTREAM_HEADER: &str = "x-envoy-upstream-rq-timeout-ms";

/// Reads the value of an `x-request-timeout-ms`: 1 to 18 digits.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(seawall_http::parse_timeout_ms(b"250"), Some(Duration::from_millis(250)));
/// assert_eq!(seawall_http::parse_timeout_ms(b"-1"), None);
/// ```
pub fn parse_timeout_ms(value: &[u8]) -> Option<Duration> {
    const MAX_DIGITS: usize = 18;
    if value.is_empty() || value.len() > MAX_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok().map(Duration::from_millis)
}

/// What the headers of a request say about its time.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The least of what is said.
    pub(crate) remaining: Option<Duration>,
    /// How many headers say something that cannot be read.
    pub(crate) malformed: u64,
}

impl Asked {
    pub(crate) fn by(headers: &HeaderMap) -> Self {
        let mut asked = Self::default();
        asked.read(headers, TIMEOUT_HEADER, parse_timeout_ms);
        asked.read(headers, GRPC_TIMEOUT_HEADER, parse_grpc_timeout);
        asked.read(headers, ENVOY_EXPECTED_HEADER, parse_timeout_ms);
        asked
    }

    fn read(&mut self, headers: &HeaderMap, name: &str, parse: fn(&[u8]) -> Option<Duration>) {
        for value in headers.get_all(name) {
            match parse(value.as_bytes()) {
                Some(asked) => self.remaining = Some(self.remaining.map_or(asked, |least| least.min(asked))),
                None => self.malformed = self.malformed.saturating_add(1),
            }
        }
    }
}

/// Writes what remains: rounded down, so that the receiver never has more time than the sender.
pub(crate) fn write(headers: &mut HeaderMap, remaining: Duration, to_envoy: bool) {
    let millis = HeaderValue::from(u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX));
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if let Some(value) = is_grpc.then(|| HeaderValue::try_from(format_grpc_timeout(remaining)).ok()).flatten() {
        headers.insert(HeaderName::from_static(GRPC_TIMEOUT_HEADER), value);
    }
    if to_envoy {
        headers.insert(HeaderName::from_static(ENVOY_UPSTREAM_HEADER), millis.clone());
    }
    headers.insert(HeaderName::from_static(TIMEOUT_HEADER), millis);
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs
            .iter()
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?)))
            .collect()
    }

    #[test]
    fn the_least_of_what_is_said_counts_and_what_cannot_be_read_is_counted() {
        let said: &[(_, &[u8])] =
            &[(TIMEOUT_HEADER, b"300"), (GRPC_TIMEOUT_HEADER, b"200m"), (ENVOY_EXPECTED_HEADER, b"soon")];

        let asked = Asked::by(&headers(said));

        assert_eq!(asked, Asked { remaining: Some(Duration::from_millis(200)), malformed: 1 });
        assert_eq!(Asked::by(&HeaderMap::new()), Asked::default());
    }

    #[test]
    fn a_header_that_is_repeated_counts_with_its_least_value() {
        for [first, second] in [["300", "100"], ["100", "300"]] {
            let mut twice = headers(&[(TIMEOUT_HEADER, first.as_bytes())]);
            twice.append(TIMEOUT_HEADER, HeaderValue::from_static(second));

            assert_eq!(Asked::by(&twice).remaining, Some(Duration::from_millis(100)), "{first}, {second}");
        }
    }

    #[test]
    fn eighteen_digits_are_a_time_and_nineteen_are_none() {
        assert_eq!(parse_timeout_ms(&[b'9'; 18]), Some(Duration::from_millis(999_999_999_999_999_999)));
        assert_eq!(parse_timeout_ms(&[b'1'; 19]), None);
    }

    #[test]
    fn what_is_left_to_the_longest_is_still_a_header() {
        let mut written = headers(&[("content-type", b"application/grpc+proto")]);

        write(&mut written, Duration::MAX, true);

        assert_eq!(written[TIMEOUT_HEADER], "18446744073709551615");
        assert_eq!(written[GRPC_TIMEOUT_HEADER], "99999999H");
        assert_eq!(written[ENVOY_UPSTREAM_HEADER], "18446744073709551615");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_never_longer(nanos in 0..u64::MAX / 2) {
            let remaining = Duration::from_nanos(nanos);
            let mut written = headers(&[("content-type", b"application/grpc")]);

            write(&mut written, remaining, false);

            let read = Asked::by(&written).remaining.unwrap();
            let lost = remaining.saturating_sub(read);
            prop_assert!(read <= remaining && lost <= remaining / 50_000 + Duration::from_millis(1), "{lost:?}");
        }

        #[test]
        fn no_bytes_panic_and_each_header_is_read_or_counted(
            own in proptest::collection::vec(any::<u8>(), 0..24),
            grpc in proptest::collection::vec(prop_oneof![b'0'..=b'9', any::<u8>()], 0..12),
        ) {
            let said = headers(&[(TIMEOUT_HEADER, &own), (GRPC_TIMEOUT_HEADER, &grpc)]);

            let asked = Asked::by(&said);

            let read = [parse_timeout_ms(&own), parse_grpc_timeout(&grpc)].into_iter().flatten();
            prop_assert_eq!(asked.remaining, read.clone().min());
            prop_assert_eq!(asked.malformed, said.len() as u64 - read.count() as u64);
        }
    }
}

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

/// The header that says how many attempts went before this one. Absent on the first.
pub const PREVIOUS_ATTEMPTS_HEADER: HeaderName = HeaderName::from_static("x-previous-attempts");
/// The same for gRPC.
const GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
/// More digits than any honest client needs.
const MAX_DIGITS: usize = 9;

/// How many attempts a request says went before it: `x-previous-attempts`, or `grpc-previous-rpc-attempts`. 0 where it
/// says nothing, or nonsense. A server that is told of attempts may weigh a request accordingly.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// assert_eq!(seawall_http::previous_attempts(&headers), 0);
/// headers.insert("x-previous-attempts", "2".parse().unwrap());
/// assert_eq!(seawall_http::previous_attempts(&headers), 2);
/// ```
///
/// # Source
/// gRPC proposal A6, "Exposed Retry Metadata".
pub fn previous_attempts(headers: &HeaderMap) -> u32 {
    let read = |name: HeaderName| headers.get(name).and_then(|value| parse(value.as_bytes()));
    read(PREVIOUS_ATTEMPTS_HEADER).or_else(|| read(GRPC_PREVIOUS_ATTEMPTS)).unwrap_or(0)
}

fn parse(value: &[u8]) -> Option<u32> {
    if value.is_empty() || value.len() > MAX_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Says how many attempts went before, if any did, to gRPC servers in their own header.
#[cfg_attr(not(any(feature = "retry", test)), expect(dead_code, reason = "retries write it"))]
pub(crate) fn tell_previous_attempts(headers: &mut HeaderMap, attempts: u32) {
    if attempts == 0 {
        return;
    }
    let grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    headers.insert(PREVIOUS_ATTEMPTS_HEADER, HeaderValue::from(attempts));
    if grpc {
        headers.insert(GRPC_PREVIOUS_ATTEMPTS, HeaderValue::from(attempts));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(attempts in prop_oneof![Just(0), 1..1_000_000_000_u32]) {
            let mut headers = HeaderMap::new();
            tell_previous_attempts(&mut headers, attempts);
            prop_assert_eq!(previous_attempts(&headers), attempts);
            prop_assert_eq!(headers.is_empty(), attempts == 0);
        }

        #[test]
        fn no_bytes_panic(value in prop::collection::vec(any::<u8>(), 0..16)) {
            let read = parse(&value);
            prop_assert!(read.is_none() || value.iter().all(u8::is_ascii_digit));
        }
    }

    #[test]
    fn a_grpc_server_is_told_in_its_own_header_and_nonsense_counts_as_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        tell_previous_attempts(&mut headers, 3);

        assert_eq!(headers[GRPC_PREVIOUS_ATTEMPTS], "3");
        for nonsense in ["", "-1", "+1", "1.0", " 1", "4294967296"] {
            headers.insert(PREVIOUS_ATTEMPTS_HEADER, HeaderValue::from_static(nonsense));
            headers.remove(GRPC_PREVIOUS_ATTEMPTS);
            assert_eq!(previous_attempts(&headers), 0, "{nonsense}");
        }
    }
}

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header by which an answer asks that nobody repeats its request, at any tier: `x-seawall-do-not-retry: 1`.
///
/// Any value but `0` counts. [`Http`](crate::Http) and [`Grpc`](crate::Grpc) read it, so a retry stops and gives the
/// answer on as it is, mark included: a gateway that passes it on stops the tiers above as well.
pub const DO_NOT_RETRY_HEADER: HeaderName = HeaderName::from_static("x-seawall-do-not-retry");

/// Whether the answer with these headers asks not to be retried.
pub(crate) fn is_marked(headers: &HeaderMap) -> bool {
    headers.get(DO_NOT_RETRY_HEADER).is_some_and(|value| value.as_bytes() != b"0")
}

/// Asks not to be retried.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(DO_NOT_RETRY_HEADER, HeaderValue::from_static("1"));
}

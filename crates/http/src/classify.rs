use http::{HeaderMap, Response, StatusCode, header::RETRY_AFTER};
use seawall_core::{Class, Classify, Verdict};

use crate::parse_retry_after;

/// Classifies HTTP answers by status.
///
/// | answer | class |
/// |---|---|
/// | 1xx, 2xx, 3xx | success |
/// | 429, and 503 that says when to come back | overload: the other side works, and says that it has too much to do |
/// | 501, 505, any other 4xx | ignored: the request is at fault |
/// | any other 5xx, and every error of the client | failure |
///
/// A `Retry-After` is passed on with a failure and an overload. A 503 without one is a failure: that is what a proxy
/// answers whose servers are gone, and a breaker must see it.
///
/// # Source
/// RFC 9110 §15.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Http;

impl<B, Err: ?Sized> Classify<Response<B>, Err> for Http {
    fn classify(&self, result: Result<&Response<B>, &Err>) -> Verdict {
        result.map_or(Verdict::new(Class::Failure), |response| verdict(response.status(), response.headers()))
    }
}

#[cfg(feature = "reqwest")]
impl<Err: ?Sized> Classify<reqwest::Response, Err> for Http {
    fn classify(&self, result: Result<&reqwest::Response, &Err>) -> Verdict {
        result.map_or(Verdict::new(Class::Failure), |response| verdict(response.status(), response.headers()))
    }
}

fn verdict(status: StatusCode, headers: &HeaderMap) -> Verdict {
    let hint = || {
        let value = headers.get(RETRY_AFTER)?;
        #[expect(clippy::disallowed_methods, reason = "a date on the wire is wall-clock time, which no Clock gives")]
        parse_retry_after(value.as_bytes(), std::time::SystemTime::now())
    };
    let class = match status.as_u16() {
        100..=399 => return Verdict::new(Class::Success),
        429 => Class::Overload,
        503 if headers.contains_key(RETRY_AFTER) => Class::Overload,
        400..=499 | 501 | 505 => return Verdict::new(Class::Ignored),
        _ => Class::Failure,
    };
    match hint() {
        Some(wait) => Verdict::new(class).with_retry_after(wait),
        None => Verdict::new(class),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn class(status: u16, retry_after: Option<&str>) -> Verdict {
        let mut answer = Response::builder().status(status);
        if let Some(wait) = retry_after {
            answer = answer.header(RETRY_AFTER, wait);
        }
        Http.classify(Ok::<_, &()>(&answer.body(()).unwrap()))
    }

    #[test]
    fn a_server_that_says_when_to_come_back_is_overloaded_and_one_that_does_not_has_failed() {
        assert_eq!(class(503, Some("7")), Verdict::new(Class::Overload).with_retry_after(Duration::from_secs(7)));
        assert_eq!(class(503, None), Verdict::new(Class::Failure));
        assert_eq!(class(429, None), Verdict::new(Class::Overload));
    }

    #[test]
    fn the_callers_mistakes_say_nothing_about_the_server() {
        for status in [400, 401, 404, 409, 422, 499, 501, 505] {
            assert_eq!(class(status, None), Verdict::new(Class::Ignored), "{status}");
        }
    }
}

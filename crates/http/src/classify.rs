use http::{HeaderMap, Response, StatusCode, Version, header::RETRY_AFTER};
use seawall_core::{Class, Classify, Verdict};

use crate::{do_not_retry, grpc, parse_rate_limit_reset, parse_retry_after, rate_limit_reset::RATE_LIMIT_RESET};

/// Classifies HTTP answers by status.
///
/// | answer | class |
/// |---|---|
/// | 1xx, 2xx, 3xx | success |
/// | 429, and 503 that says when to come back | overload: the other side works, and says that it has too much to do |
/// | 501, 505, any other 4xx | ignored: the request is at fault |
/// | any other 5xx, and every error of the client | failure |
///
/// A `Retry-After`, or else an `x-ratelimit-reset`, is passed on with a failure and an overload, and so is the mark
/// `x-seawall-do-not-retry`. A 503 without one is a failure: that is what a proxy
/// answers whose servers are gone, and a breaker must see it.
///
/// A success over HTTP/2 with a `grpc-status` among its headers is what [`Grpc`](crate::Grpc) says of it, so clients of
/// gRPC services need no environment of their own.
///
/// # Source
/// RFC 9110 §15.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Http;

impl<B, Err: ?Sized> Classify<Response<B>, Err> for Http {
    fn classify(&self, result: Result<&Response<B>, &Err>) -> Verdict {
        result.map_or(Verdict::new(Class::Failure), |response| {
            verdict(response.status(), response.version(), response.headers())
        })
    }
}

#[cfg(feature = "reqwest")]
impl<Err: ?Sized> Classify<reqwest::Response, Err> for Http {
    fn classify(&self, result: Result<&reqwest::Response, &Err>) -> Verdict {
        result.map_or(Verdict::new(Class::Failure), |response| {
            verdict(response.status(), response.version(), response.headers())
        })
    }
}

fn verdict(status: StatusCode, version: Version, headers: &HeaderMap) -> Verdict {
    #[expect(clippy::disallowed_methods, reason = "a date on the wire is wall-clock time, which no Clock gives")]
    let now = std::time::SystemTime::now;
    let hint = || {
        let after = headers.get(RETRY_AFTER).and_then(|value| parse_retry_after(value.as_bytes(), now()));
        after.or_else(|| parse_rate_limit_reset(headers.get(RATE_LIMIT_RESET)?.as_bytes(), now()))
    };
    let class = match status.as_u16() {
        // Every gRPC answer is a 200, and none comes over another version: HTTP/1 pays no look at its headers.
        200 if version == Version::HTTP_2 => return grpc::verdict(headers).unwrap_or(Verdict::new(Class::Success)),
        100..=399 => return Verdict::new(Class::Success),
        429 => Class::Overload,
        503 if headers.contains_key(RETRY_AFTER) => Class::Overload,
        400..=499 | 501 | 505 => return Verdict::new(Class::Ignored),
        _ => Class::Failure,
    };
    let verdict = match hint() {
        Some(wait) => Verdict::new(class).with_retry_after(wait),
        None => Verdict::new(class),
    };
    if do_not_retry::is_marked(headers) { verdict.with_do_not_retry() } else { verdict }
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
    fn a_quota_that_says_when_it_is_full_again_and_a_mark_are_passed_on() {
        let answer = |status: u16, name: &str, value: &str| {
            let answer = Response::builder().status(status).header(name, value).body(()).unwrap();
            Http.classify(Ok::<_, &()>(&answer))
        };

        let reset = Verdict::new(Class::Overload).with_retry_after(Duration::from_secs(9));
        assert_eq!(answer(429, "x-ratelimit-reset", "9"), reset);
        assert_eq!(answer(503, "x-seawall-do-not-retry", "1"), Verdict::new(Class::Failure).with_do_not_retry());
        assert_eq!(answer(503, "x-seawall-do-not-retry", "0"), Verdict::new(Class::Failure));
        assert_eq!(answer(200, "x-seawall-do-not-retry", "1"), Verdict::new(Class::Success));
    }

    #[test]
    fn a_grpc_status_over_http_2_outranks_the_200_that_carries_it() {
        let answer = |version, name: &str, value: &str| {
            let answer = Response::builder().version(version).header(name, value).body(()).unwrap();
            Http.classify(Ok::<_, &()>(&answer)).class
        };

        assert_eq!(answer(Version::HTTP_2, "grpc-status", "14"), Class::Failure);
        assert_eq!(answer(Version::HTTP_2, "grpc-status", "8"), Class::Overload);
        assert_eq!(answer(Version::HTTP_2, "grpc-status", "0"), Class::Success);
        assert_eq!(answer(Version::HTTP_2, "content-type", "text/plain"), Class::Success);
        assert_eq!(answer(Version::HTTP_11, "grpc-status", "14"), Class::Success);
    }

    #[test]
    fn the_callers_mistakes_say_nothing_about_the_server() {
        for status in [400, 401, 404, 409, 422, 499, 501, 505] {
            assert_eq!(class(status, None), Verdict::new(Class::Ignored), "{status}");
        }
    }
}

use http::{HeaderValue, Response, StatusCode, header};
use seawall_core::{Reason, Rejection};

use crate::do_not_retry;

/// The media type of RFC 9457.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What a refused caller is told: status, `Retry-After` and an `application/problem+json` body.
///
/// ```
/// use seawall_core::{Pattern, Reason, Rejection};
/// use seawall_http::Problem;
/// use std::time::Duration;
///
/// let rejection = Rejection::new(Pattern::LoadShedder, Reason::Overloaded).with_retry_after(Duration::from_millis(1500));
/// let answer = Problem::from(rejection).into_response(String::from);
/// assert_eq!(answer.status(), 503);
/// assert_eq!(answer.headers()["retry-after"], "2");
/// ```
///
/// # Source
/// RFC 9457 (problem details), RFC 9110 §15.6.4 (503), §15.6.5 (504), RFC 6585 §4 (429).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    rejection: Rejection,
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        Self { rejection }
    }
}

impl Problem {
    /// 429 for a quota, 504 for time that ran out, 503 for everything else.
    pub const fn status(&self) -> StatusCode {
        match self.rejection.reason() {
            Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Reason::DeadlineTooClose => StatusCode::GATEWAY_TIMEOUT,
            reason if reason.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whole seconds for `Retry-After`, rounded up, so that nobody comes back too early. Present on 429 and 503: at
    /// least 1.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        if self.status() == StatusCode::GATEWAY_TIMEOUT {
            return None;
        }
        let wait = self.rejection.retry_after().unwrap_or_default();
        let partial = u64::from(wait.subsec_nanos() > 0);
        Some(wait.as_secs().saturating_add(partial).max(1))
    }

    /// Whether repeating the request is known to be pointless: its time is over, or it weighs too much.
    pub const fn forbids_retry(&self) -> bool {
        matches!(self.rejection.reason(), Reason::DeadlineExceeded | Reason::DeadlineTooClose | Reason::TooHeavy)
    }

    /// The body.
    pub fn to_json(&self) -> String {
        let (status, rejection) = (self.status(), &self.rejection);
        // Nothing here needs escaping: titles, names and texts are this project's own, without quotes.
        format!(
            r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{rejection}","pattern":"{}","reason":"{}"}}"#,
            status.canonical_reason().unwrap_or_default(),
            status.as_u16(),
            rejection.pattern().as_str(),
            rejection.reason().as_str(),
        )
    }

    /// The response, with a body made from the JSON text.
    pub fn into_response<B>(self, body: impl FnOnce(String) -> B) -> Response<B> {
        let mut response = Response::new(body(self.to_json()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.forbids_retry() {
            do_not_retry::mark(headers);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seawall_core::Pattern;

    use super::*;

    #[test]
    fn every_refusal_that_can_pass_says_when() {
        let shed = Problem::from(Rejection::new(Pattern::LoadShedder, Reason::Overloaded));
        let limited = Problem::from(
            Rejection::new(Pattern::RateLimiter, Reason::RateLimited).with_retry_after(Duration::from_millis(2001)),
        );
        let late = Problem::from(Rejection::new(Pattern::Timeout, Reason::DeadlineExceeded));

        assert_eq!((shed.status().as_u16(), shed.retry_after_seconds()), (503, Some(1)));
        assert_eq!((limited.status().as_u16(), limited.retry_after_seconds()), (429, Some(3)));
        assert_eq!((late.status().as_u16(), late.retry_after_seconds()), (504, None));
    }

    #[test]
    fn the_body_is_a_problem_document() {
        let problem = Problem::from(Rejection::new(Pattern::CircuitBreaker, Reason::CircuitOpen));

        assert_eq!(
            problem.to_json(),
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"refused by the circuit breaker: the circuit is open","pattern":"circuit_breaker","reason":"circuit_open"}"#
        );
    }
}

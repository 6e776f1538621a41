use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use seawall_core::{Pattern, Reason, Rejection};

use crate::{
    do_not_retry, grpc,
    grpc_status::{self, grpc_status},
};

/// The media type of RFC 9457.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The header that says a gRPC status in words.
const MESSAGE_HEADER: HeaderName = HeaderName::from_static("grpc-message");
/// What those words may not hold as it is, beside everything that is not ASCII.
const MESSAGE_ESCAPES: &AsciiSet = &CONTROLS.add(b'%');
/// The pushback by which no further attempt is wanted.
const NO_FURTHER_ATTEMPT: HeaderValue = HeaderValue::from_static("-1");

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
/// RFC 9457 (problem details), RFC 9110 §15.5.14 (413), §15.6.4 (503), §15.6.5 (504), RFC 6585 §4 (429).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    rejection: Rejection,
    overload: OnOverload,
}

/// What is told to those whom overload turns away.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnOverload {
    /// Only when to come back: another instance may have room.
    #[default]
    ComeBack,
    /// Not to repeat the request.
    DoNotRetry,
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, overload: OnOverload::ComeBack }
    }
}

impl Problem {
    /// Asks not to repeat what overload turned away: where there is one instance, or all are overloaded together. By
    /// default a retry may reach an instance that has room.
    #[must_use]
    pub const fn without_retries_on_overload(mut self) -> Self {
        self.overload = OnOverload::DoNotRetry;
        self
    }

    pub(crate) const fn with(rejection: Rejection, overload: OnOverload) -> Self {
        Self { rejection, overload }
    }

    /// 429 for a quota, 413 for a request that weighs more than there will ever be room for, 504 for time that ran out, 503
    /// for everything else: also where a load shedder found that too little time is left, which says of the server that it
    /// is slow and not that it is broken.
    pub const fn status(&self) -> StatusCode {
        match self.rejection.reason() {
            Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Reason::TooHeavy => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::DeadlineTooClose if is_shed(&self.rejection) => StatusCode::SERVICE_UNAVAILABLE,
            Reason::DeadlineTooClose => StatusCode::GATEWAY_TIMEOUT,
            reason if reason.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whole seconds for `Retry-After`, rounded up, so that nobody comes back too early. Present on 429 and 503: at
    /// least 1.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        if !matches!(self.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return None;
        }
        let wait = self.rejection.retry_after().unwrap_or_default();
        let partial = u64::from(wait.subsec_nanos() > 0);
        Some(wait.as_secs().saturating_add(partial).max(1))
    }

    /// Whether repeating the request is known to be pointless: its time is over, it weighs too much, or it was turned away
    /// by overload and [nobody is to come back](Self::without_retries_on_overload).
    pub const fn forbids_retry(&self) -> bool {
        match self.rejection.reason() {
            Reason::DeadlineExceeded | Reason::DeadlineTooClose | Reason::TooHeavy => true,
            reason => matches!(self.overload, OnOverload::DoNotRetry) && grpc_status::is_overload(reason),
        }
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

    /// The same for a gRPC caller: an answer without messages, whose headers end the call with [`grpc_status`], its text
    /// and, where another attempt may succeed, the wait before it in `grpc-retry-pushback-ms`. Negative where a repetition
    /// is pointless.
    ///
    /// ```
    /// use seawall_core::{Pattern, Reason, Rejection};
    /// use seawall_http::Problem;
    /// use std::time::Duration;
    ///
    /// let rejection = Rejection::new(Pattern::LoadShedder, Reason::Overloaded).with_retry_after(Duration::from_millis(150));
    /// let answer = Problem::from(rejection).into_grpc_response(());
    /// assert_eq!(answer.headers()["grpc-status"], "8");
    /// assert_eq!(answer.headers()["grpc-retry-pushback-ms"], "150");
    /// ```
    ///
    /// # Source
    /// gRPC over HTTP/2, section "Responses" (trailers only); gRPC proposal A6, "Pushback".
    pub fn into_grpc_response<B>(self, empty: B) -> Response<B> {
        let mut response = Response::new(empty);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(grpc::STATUS_HEADER, HeaderValue::from(u16::from(grpc_status(&self.rejection))));
        let text = self.rejection.to_string();
        let text = utf8_percent_encode(&text, MESSAGE_ESCAPES).to_string();
        // Nothing but printable ASCII is left in it.
        if let Ok(text) = HeaderValue::try_from(text) {
            headers.insert(MESSAGE_HEADER, text);
        }
        if self.forbids_retry() {
            headers.insert(grpc::PUSHBACK_HEADER, NO_FURTHER_ATTEMPT);
            do_not_retry::mark(headers);
        } else if let Some(wait) = self.rejection.retry_after() {
            // Rounded up, so that nobody comes back too early, and within the 32 bits that the protocol has for it.
            let millis = wait.as_nanos().div_ceil(1_000_000);
            headers.insert(grpc::PUSHBACK_HEADER, HeaderValue::from(i32::try_from(millis).unwrap_or(i32::MAX)));
        }
        response
    }
}

/// Whether a load shedder refused the call.
pub(crate) const fn is_shed(rejection: &Rejection) -> bool {
    matches!(rejection.pattern(), Pattern::LoadShedder)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seawall_core::{Class, Classify};

    use super::*;
    use crate::Http;

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
    fn what_a_shedder_finds_too_late_is_overload_and_what_is_too_heavy_the_requests_fault() {
        let told = |pattern, reason| {
            let answer = Problem::from(Rejection::new(pattern, reason)).into_response(String::from);
            let verdict = Http.classify(Ok::<_, &()>(&answer));
            (
                answer.status().as_u16(),
                answer.headers().contains_key("retry-after"),
                verdict.class,
                verdict.do_not_retry,
            )
        };

        let late = told(Pattern::LoadShedder, Reason::DeadlineTooClose);
        assert_eq!(late, (503, true, Class::Overload, true));
        assert_eq!(told(Pattern::Timeout, Reason::DeadlineTooClose).0, 504);
        for pattern in [Pattern::RateLimiter, Pattern::Bulkhead] {
            let (status, says_when, class, _) = told(pattern, Reason::TooHeavy);
            assert_eq!((status, says_when, class), (413, false, Class::Ignored));
        }
    }

    #[test]
    fn time_that_ran_out_is_a_504_that_says_which_limit_it_was() {
        let told = |reason| {
            let problem = Problem::from(Rejection::new(Pattern::Timeout, reason));
            let json = problem.to_json();
            (problem.status().as_u16(), json.rsplit('"').nth(1).unwrap().to_owned())
        };

        for (reason, name) in [
            (Reason::AttemptTimeout, "attempt_timeout"),
            (Reason::TotalTimeout, "total_timeout"),
            (Reason::DeadlineExceeded, "deadline_exceeded"),
            (Reason::DeadlineTooClose, "deadline_too_close"),
        ] {
            assert_eq!(told(reason), (504, name.to_owned()));
        }
    }

    #[test]
    fn a_grpc_caller_reads_status_words_and_pushback_among_the_headers() {
        let answer = |reason, wait: Option<Duration>| {
            let rejection = Rejection::new(Pattern::LoadShedder, reason);
            let rejection = wait.map_or(rejection, |wait| rejection.with_retry_after(wait));
            let answer = Problem::from(rejection).into_grpc_response(());
            let value = |name| answer.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            (value("grpc-status").unwrap(), value("grpc-retry-pushback-ms"), value("grpc-message").unwrap())
        };

        let (status, pushback, text) = answer(Reason::Overloaded, Some(Duration::from_micros(250)));
        assert_eq!((status.as_str(), pushback.as_deref()), ("8", Some("1")));
        assert_eq!(text, "refused by the load shedder: the server is overloaded; retry after 1ms");
        assert_eq!(answer(Reason::Overloaded, Some(Duration::MAX)).1.as_deref(), Some("2147483647"));
        assert_eq!(answer(Reason::Overloaded, None).1, None);
        assert_eq!(answer(Reason::DeadlineExceeded, None).1.as_deref(), Some("-1"));
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

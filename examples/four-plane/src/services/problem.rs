//! Errors as they are answered: `application/problem+json`, RFC 9457.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use seawall_core::{Error, Rejection};
use serde::Serialize;

use super::client::CallError;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// With a status and a sentence that says what was wrong with this request.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    /// The client's mistake: `field` is `value`, and `allowed` says what it may be.
    pub fn not_allowed(field: &str, value: &str, allowed: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("{field} is {value:?}; allowed is {allowed}"))
    }

    /// Says when to try again, in whole seconds, rounded up.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Document {
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        // Three plain fields always serialize.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What a call ended with that got no answer.
pub fn of_call(error: &Error<CallError>) -> Response {
    match error {
        Error::Rejected(rejection) => of_rejection(*rejection),
        Error::Inner(error) => Problem::new(StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// What a layer's refusal is answered with: 503 or 504, and when to try again. Where overload is the reason, also that
/// nobody is to try at once: the next attempt would go to the same process, or to one that has as much to do.
pub fn of_rejection(rejection: Rejection) -> Response {
    seawall::http::Problem::from(rejection).without_retries_on_overload().into_response(Body::from)
}

/// What every path answers that no service knows.
pub async fn not_found(uri: http::Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("nothing is at {}", uri.path()))
}

/// What every path answers to a method that it does not take.
pub async fn method_not_allowed(method: http::Method, uri: http::Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

//! Speaks HTTP for seawall's layers: what a status says, when to try again, and what a refused caller is told.
//!
//! A layer in the default environment takes an HTTP 500 for a success, since it is an `Ok`. [`env()`](env()) knows better:
//!
//! ```
//! use seawall_core::{Class, Classify};
//! use seawall_http::Http;
//!
//! let answer = http::Response::builder().status(502).body(()).unwrap();
//! let verdict = Http.classify(Ok::<_, &std::io::Error>(&answer));
//! assert_eq!(verdict.class, Class::Failure);
//! ```
//!
//! On a server, [`RespondLayer`] goes outermost: it turns what the layers refuse into 503, 429 or 504 with `Retry-After`
//! and a `application/problem+json` body, so that axum sees an infallible service again.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "timeout")]
mod asked_time;
mod attempts;
mod attributes;
mod body_end;
#[cfg(feature = "timeout")]
mod body_timeout;
#[cfg(feature = "timeout")]
mod body_timeout_layer;
mod classify;
mod close_connections;
#[cfg(feature = "fallback")]
mod content;
mod deadline;
mod deadline_header;
mod deadline_service;
#[cfg(feature = "fallback")]
mod degraded;
mod do_not_retry;
mod env;
#[cfg(feature = "fallback")]
mod good_answers;
mod grpc;
mod grpc_status;
#[cfg(feature = "rate-limiter")]
mod heed_quota;
mod method;
mod problem;
#[cfg(feature = "rate-limiter")]
mod rate_limit;
#[cfg(feature = "rate-limiter")]
mod rate_limit_layer;
mod rate_limit_reset;
mod receive_deadline;
#[cfg(feature = "retry")]
mod replay;
#[cfg(feature = "retry")]
mod replay_body;
#[cfg(feature = "reqwest")]
mod reqwest_body;
mod respond;
mod retry_after;
mod send_deadline;
#[cfg(feature = "reqwest")]
mod timed_request;
mod trace_context;
#[cfg(feature = "retry")]
mod unsent;
mod whole_body;
#[cfg(feature = "reqwest")]
mod whole_reqwest;

#[cfg(feature = "timeout")]
pub use asked_time::AskedTime;
pub use attempts::{PREVIOUS_ATTEMPTS_HEADER, previous_attempts};
pub use attributes::{CRITICALITY_HEADER, Cost, Exempt, HttpAttributes, Idempotent, Tenant, parse_criticality};
pub use body_end::{AtBodyEnd, GuardedBody};
#[cfg(feature = "timeout")]
pub use body_timeout::TimedBody;
#[cfg(feature = "timeout")]
pub use body_timeout_layer::{
    RequestBodyTimeout, RequestBodyTimeoutLayer, ResponseBodyTimeout, ResponseBodyTimeoutFuture,
    ResponseBodyTimeoutLayer,
};
pub use classify::Http;
pub use close_connections::{CloseConnections, CloseConnectionsFuture, CloseConnectionsLayer};
#[cfg(feature = "fallback")]
pub use content::Content;
#[cfg(feature = "timeout")]
pub use deadline::CarryInRequest;
pub use deadline::Deadline;
pub use deadline_header::{TIMEOUT_HEADER, parse_timeout_ms};
pub use deadline_service::{DeadlineFuture, DeadlineService, StampDeadline};
#[cfg(feature = "fallback")]
pub use degraded::{
    DEGRADED_HEADER, DEGRADED_REASON_HEADER, FallbackFailure, HttpFallbackLayer, MarkDegraded, fallback,
};
pub use do_not_retry::DO_NOT_RETRY_HEADER;
pub use env::{HttpEnv, env};
#[cfg(feature = "fallback")]
pub use good_answers::{GoodAnswers, KeptAnswer, shared_page};
pub use grpc::{Grpc, format_grpc_timeout, parse_grpc_timeout, parse_pushback};
pub use grpc_status::grpc_status;
#[cfg(feature = "rate-limiter")]
pub use heed_quota::HeedQuota;
pub use method::{is_idempotent, is_safe};
pub use problem::Problem;
#[cfg(feature = "rate-limiter")]
pub use rate_limit::{QuotaName, QuotaNameError, RateLimitFields, RemainingQuota, parse_rate_limit};
#[cfg(feature = "rate-limiter")]
pub use rate_limit_layer::{RateLimitHeaders, RateLimitHeadersFuture, RateLimitHeadersLayer};
pub use rate_limit_reset::parse_rate_limit_reset;
pub use receive_deadline::{ReceiveDeadline, ReceiveDeadlineLayer};
#[cfg(feature = "retry")]
pub use replay::{HttpReplay, Recorded, ReplayBodies};
#[cfg(feature = "retry")]
pub use replay_body::ReplayBody;
pub use respond::{Respond, RespondBody, RespondFuture, RespondLayer};
pub use retry_after::parse_retry_after;
pub use seawall_core::{Error, Rejection, WrapErrorLayer};
pub use send_deadline::{SendDeadline, SendDeadlineLayer};
#[cfg(all(feature = "reqwest", feature = "timeout"))]
pub use timed_request::CarryInTimedRequest;
#[cfg(feature = "reqwest")]
pub use timed_request::{SendTimed, SendTimedLayer, TakeTimed, TimedRequest, TimedRequestLayer};
pub use trace_context::{TraceParent, parse_traceparent};
#[cfg(feature = "retry")]
pub use unsent::HttpAdvice;
pub use whole_body::{HeldBody, WholeBody, WholeBodyFuture, WholeBodyLayer};
#[cfg(all(feature = "reqwest", feature = "fallback"))]
pub use whole_reqwest::shared_reqwest_page;
#[cfg(feature = "reqwest")]
pub use whole_reqwest::{WholeReqwest, WholeReqwestFuture, WholeReqwestLayer};

//! Every layer keeps every promise of the contract suite.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod axum;
mod bulkhead;
mod circuit_breaker;
mod fallback;
mod load_shedder;
mod outcomes_of_timeouts;
mod retry;
mod timeout;

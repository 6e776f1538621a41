//! Every layer keeps every promise of the contract suite.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod axum;
mod back_pressure;
mod bulkhead;
mod circuit_breaker;
mod fallback;
mod keyed;
mod load_shedder;
mod order_of_ends;
mod outcomes_of_timeouts;
mod pool;
mod rate_limiter;
mod retry;
mod timeout;
mod waiting_over_retry;

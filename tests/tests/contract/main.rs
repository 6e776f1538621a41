//! Every layer keeps every promise of the contract suite.

#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test fails by panicking; small numbers")]

mod axum;
mod bulkhead;

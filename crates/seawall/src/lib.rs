//! Resilience layers for Rust services: circuit breaker, retry, bulkhead, load shedder, pool, health checks, timeout.

pub use seawall_core as core;
pub use seawall_http as http;

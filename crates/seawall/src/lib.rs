//! Resilience layers for Rust services: circuit breaker, retry, bulkhead, load shedder, pool, health.

//! Resilience layers for Rust services: circuit breaker, retry, bulkhead, load shedder, pool, health checks, timeout.

pub use seawall_backoff_with_jitter as backoff_with_jitter;
pub use seawall_bulkhead as bulkhead;
pub use seawall_circuit_breaker as circuit_breaker;
pub use seawall_core as core;
pub use seawall_health as health;
pub use seawall_http as http;
pub use seawall_load_shedder as load_shedder;
pub use seawall_pool as pool;
pub use seawall_timeout as timeout;

//! Every layer keeps every promise of the contract suite.
//!
//! Where each public layer is held to it, as a service and, where it has one, by `run`; what is not here has a reason.
//!
//! | crate | layer | where |
//! |---|---|---|
//! | core | `GateLayer` | every gate below; by itself in the crate's `gate_contract` |
//! | | `KeyedLayer` | `keyed`, `run` |
//! | | `WrapErrorLayer` | in the leaf of every check |
//! | | `ClockScopeLayer`, `ScopeBoundaryLayer` | `clock_scope` |
//! | backoff-with-jitter | `RetryLayer` | `retry`, `run` |
//! | bulkhead | `BulkheadLayer`, `PriorityBulkheadLayer`, `QueueingBulkheadLayer` | `bulkhead`, `run` |
//! | | `BackPressureLayer` | `back_pressure`: it reserves before a call, which is its purpose, so idle handles do keep others out, and fifty of them cannot all be ready over four places |
//! | | `IsolateLayer` | `isolate`: it decides nothing, so it shares no state and has no `run` |
//! | circuit-breaker | `CircuitBreakerLayer` | `circuit_breaker`, closed and half-open; `run` |
//! | | `KeyedCircuitBreakerLayer` | `keyed` |
//! | fallback | `FallbackLayer`, `FeatureLayer` | `fallback`, `run` |
//! | http | `AtBodyEnd` around a bulkhead and a load shedder, `HeedQuota` | `http` |
//! | | `WholeBodyLayer`, `ResponseBodyTimeoutLayer`, `RequestBodyTimeoutLayer`, `ReceiveDeadlineLayer`, `SendDeadlineLayer`, `RateLimitHeadersLayer`, `RespondLayer`, `TimedRequestLayer`, `SendTimedLayer` | `http` |
//! | load-shedder | `LoadShedderLayer`, `QueueingLoadShedderLayer`, `ThrottleLayer` | `load_shedder`, `run` |
//! | | `KeyedThrottleLayer` | `keyed` |
//! | pool | `PoolLayer` | `pool`; its `run` lends a connection to a closure and is tested in the crate |
//! | rate-limiter | `RateLimiterLayer`, `QueueingRateLimiterLayer`, `KeyedRateLimiterLayer`, `DistributedRateLimiterLayer` | `rate_limiter`, `run` |
//! | | `LimitLayer` of each `Limit`; `KeyedRateLimiterLayer` of `Quotas` | `rate_limiter` |
//! | | `QueueingLimit` of a window, and per key; `QueueingKeys` of a `KeyedGcra`, of `Quotas` and of `Plans` | `rate_limiter`; the first of these by `run` too |
//! | seawall | the presets | `amplification`, `reqwest_preset` and the crate's own tests: layers of the above in one order |
//! | timeout | `TimeoutLayer`, fixed and adaptive | `timeout`, `run` |
//! | | `Shield`, which is no layer | `shield`: work goes on when its caller has gone, until its limit |

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod axum;
mod back_pressure;
mod bulkhead;
mod circuit_breaker;
mod clock_scope;
mod fallback;
mod http;
mod isolate;
mod keyed;
mod load_shedder;
mod order_of_ends;
mod outcomes_of_timeouts;
mod pool;
mod rate_limiter;
mod retry;
mod run;
mod shield;
mod timeout;
mod waiting_over_retry;

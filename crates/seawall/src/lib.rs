//! Resilience layers for Rust services: circuit breaker, retry, bulkhead, load shedder, pool, health checks, timeout.
//!
//! [`client()`](client()) puts the layers that belong before a dependency around an HTTP client, [`server()`](server()) those
//! that belong before a handler, in the order that works and with defaults that say why. Each layer is also a crate of its
//! own, re-exported here.
#[cfg(all(doctest, feature = "reqwest"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct FacadeReadme;

#[cfg(all(doctest, feature = "metrics", feature = "reqwest"))]
#[doc = include_str!("../../../docs/recipes.md")]
struct Recipes;

mod around;
mod client;
mod error;
mod http_client;
mod leak;
#[cfg(feature = "metrics")]
mod preset_metrics;
#[cfg(feature = "metrics")]
mod publish;
#[cfg(feature = "reqwest")]
mod reqwest_client;
mod server;

pub use around::Around;
pub use client::{Bounded, Client, ClientService, Innermost, Placed};
pub use error::StackError;
pub use http_client::{
    BodyEnv, GrpcClient, HttpClient, HttpClientBody, HttpLayers, PresetEnv, client, client_with_env, grpc_client,
    grpc_client_with_env,
};
pub use leak::Leak;
#[cfg(feature = "metrics")]
pub use preset_metrics::PresetMetrics;
#[cfg(feature = "metrics")]
pub use publish::{Publish, PublishGate};
#[cfg(feature = "reqwest")]
pub use reqwest_client::{ReqwestClient, reqwest_client, reqwest_client_with_env};
pub use seawall_backoff_with_jitter as backoff_with_jitter;
pub use seawall_bulkhead as bulkhead;
pub use seawall_circuit_breaker as circuit_breaker;
pub use seawall_core as core;
pub use seawall_core::{Error, Reason, Rejection};
pub use seawall_fallback as fallback;
pub use seawall_health as health;
pub use seawall_http as http;
pub use seawall_load_shedder as load_shedder;
pub use seawall_pool as pool;
pub use seawall_rate_limiter as rate_limiter;
pub use seawall_timeout as timeout;
pub use server::{Gates, HttpServer, QueueingServer, Server, ServerService, server, server_with_env};

use seawall_core::{Env, GateLayer, GateService, KeyedLayer};

use crate::breaker::Breaker;

/// Puts one [`Breaker`], shared by every service and clone, before a service.
///
/// `CircuitBreakerLayer::new(config)` infers everything; `with_env` takes a classifier, a clock and so on;
/// `layer.gate()` is the [`Breaker`] itself, with its figures and its controls.
pub type CircuitBreakerLayer<E = Env> = GateLayer<Breaker, E>;

/// A service behind a [`CircuitBreakerLayer`].
pub type CircuitBreaker<S, E = Env> = GateService<S, Breaker, E>;

/// Puts one [`Breaker`] per key before a service: per host, tenant or route. An open one is never forgotten.
pub type KeyedCircuitBreakerLayer<Q, F, E = Env> = KeyedLayer<Q, F, Breaker, E>;

use seawall_core::{Env, GateLayer, GateService, KeyedLayer};

use crate::{LoadShedder, QueueingLoadShedder, Throttle};

/// Puts one [`LoadShedder`], shared by every service and clone, before a service. For another algorithm than the
/// default: `GateLayer::new(LoadShedder::with_algorithm(algorithm))`.
///
/// ```
/// use seawall_load_shedder::{LoadShedderConfig, LoadShedderLayer};
///
/// let layer = LoadShedderLayer::new(LoadShedderConfig::default());
/// assert_eq!(layer.gate().limit(), 16);
/// ```
pub type LoadShedderLayer<E = Env> = GateLayer<LoadShedder, E>;

/// A service behind a [`LoadShedderLayer`].
pub type LoadShedderService<S, E = Env> = GateService<S, LoadShedder, E>;

/// Puts one [`QueueingLoadShedder`], shared by every service and clone, before a service that can be cloned. For another
/// timer than the default: `GateLayer::with_env(QueueingLoadShedder::new(config, timer), env)`.
pub type QueueingLoadShedderLayer<E = Env> = GateLayer<QueueingLoadShedder, E>;

/// A service behind a [`QueueingLoadShedderLayer`].
pub type QueueingLoadShedderService<S, E = Env> = GateService<S, QueueingLoadShedder, E>;

/// Puts one [`Throttle`], shared by every service and clone, before a client.
pub type ThrottleLayer<E = Env> = GateLayer<Throttle, E>;

/// A client behind a [`ThrottleLayer`].
pub type ThrottleService<S, E = Env> = GateService<S, Throttle, E>;

/// Puts one [`Throttle`] per key before a client: per endpoint, as one that refuses much says nothing of the others.
///
/// ```
/// use seawall_load_shedder::{KeyedThrottleLayer, ThrottleConfig};
///
/// struct Request {
///     endpoint: String,
/// }
/// fn endpoint(request: &Request) -> &str {
///     &request.endpoint
/// }
/// let layer = KeyedThrottleLayer::<str, _>::new(1_000, ThrottleConfig::default(), endpoint);
/// assert!(layer.is_ok());
/// ```
pub type KeyedThrottleLayer<Q, F, E = Env> = KeyedLayer<Q, F, Throttle, E>;

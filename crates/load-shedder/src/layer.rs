use seawall_core::{Env, GateLayer, GateService};

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

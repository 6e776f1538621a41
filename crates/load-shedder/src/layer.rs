use seawall_core::{Env, GateLayer, GateService};

use crate::LoadShedder;

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

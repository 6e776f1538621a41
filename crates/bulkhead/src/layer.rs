use seawall_core::{Env, Environment, GateLayer, GateService};

use crate::{Bulkhead, PriorityBulkhead, QueueingBulkhead};

/// Puts one [`Bulkhead`], shared by every service and clone, before a service.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, BulkheadLayer};
///
/// let layer = BulkheadLayer::new(BulkheadConfig::new(10)?);
/// assert_eq!(layer.gate().limit(), 10);
/// # Ok::<(), seawall_bulkhead::BulkheadError>(())
/// ```
pub type BulkheadLayer<E = Env> = GateLayer<Bulkhead, E>;

/// A service behind a [`BulkheadLayer`].
pub type BulkheadService<S, E = Env> = GateService<S, Bulkhead, E>;

/// Puts one [`PriorityBulkhead`], shared by every service and clone, before a service.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, PriorityBulkheadLayer, Reserve};
///
/// let layer = PriorityBulkheadLayer::new((BulkheadConfig::new(10)?, Reserve::default()));
/// assert_eq!(layer.gate().limit(), 10);
/// # Ok::<(), seawall_bulkhead::BulkheadError>(())
/// ```
pub type PriorityBulkheadLayer<E = Env> = GateLayer<PriorityBulkhead, E>;

/// A service behind a [`PriorityBulkheadLayer`].
pub type PriorityBulkheadService<S, E = Env> = GateService<S, PriorityBulkhead, E>;

/// Puts one [`QueueingBulkhead`], shared by every service and clone, before a service that can be cloned. Its waiters
/// sleep on the clock of the environment; with another one than the default: [`QueueingBulkheadConfig::layer`].
///
/// [`QueueingBulkheadConfig::layer`]: crate::QueueingBulkheadConfig::layer
pub type QueueingBulkheadLayer<E = Env> = GateLayer<QueueingBulkhead<<E as Environment>::Clock>, E>;

/// A service behind a [`QueueingBulkheadLayer`].
pub type QueueingBulkheadService<S, E = Env> = GateService<S, QueueingBulkhead<<E as Environment>::Clock>, E>;

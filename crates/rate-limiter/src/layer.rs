use seawall_core::{Env, Environment, GateLayer, GateService};

use crate::{DistributedKeyedGcra, Gcra, KeyedRateLimiter, KeyedRateLimiterLayer, QueueingGcra};

/// Puts one [`Gcra`], shared by every service and clone, before a service.
///
/// ```
/// use seawall_rate_limiter::{Quota, RateLimiterLayer};
///
/// let layer = RateLimiterLayer::new(Quota::per_second(100)?.with_burst(20)?);
/// assert_eq!(layer.gate().burst(), 20);
/// # Ok::<(), seawall_rate_limiter::QuotaError>(())
/// ```
pub type RateLimiterLayer<E = Env> = GateLayer<Gcra, E>;

/// A service behind a [`RateLimiterLayer`].
pub type RateLimiter<S, E = Env> = GateService<S, Gcra, E>;

/// Puts any other limit before a service: a [`SlidingWindow`](crate::SlidingWindow), a [`WarmUp`](crate::WarmUp), one
/// that is [`Enforced`](crate::Enforced) in part.
///
/// ```
/// use seawall_rate_limiter::{Limit, LimitLayer, SlidingWindow, WindowQuota};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = LimitLayer::<SlidingWindow>::new(WindowQuota::new(1, Duration::from_secs(3_600))?);
/// layer.run(async { Ok::<_, std::io::Error>(()) }).await?;
/// assert!(layer.run(async { Ok::<_, std::io::Error>(()) }).await.is_err());
/// # Ok(())
/// # }
/// ```
pub type LimitLayer<L, E = Env> = GateLayer<L, E>;

/// Puts one [`QueueingGcra`], shared by every service and clone, before a service that can be cloned. Its waiters
/// sleep on the clock of the environment; with another one than the default: [`QueueingQuota::layer`].
///
/// [`QueueingQuota::layer`]: crate::QueueingQuota::layer
pub type QueueingRateLimiterLayer<E = Env> = GateLayer<QueueingGcra<<E as Environment>::Clock>, E>;

/// A service behind a [`QueueingRateLimiterLayer`].
pub type QueueingRateLimiter<S, E = Env> = GateService<S, QueueingGcra<<E as Environment>::Clock>, E>;

/// Puts one [`DistributedKeyedGcra`] before a service, which [`DistributedKeyedGcra::layer`] does. The key, a name, is
/// borrowed from the request.
pub type DistributedRateLimiterLayer<F, E = Env> = KeyedRateLimiterLayer<str, F, E, DistributedKeyedGcra>;

/// A service behind a [`DistributedRateLimiterLayer`].
pub type DistributedRateLimiter<S, F, E = Env> = KeyedRateLimiter<S, str, F, E, DistributedKeyedGcra>;

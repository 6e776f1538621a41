//! Admits calls at a steady rate with a bounded burst, and refuses the rest at once or lets it wait.
//!
//! ```
//! use seawall_rate_limiter::{Quota, RateLimiterLayer};
//! use tower::{Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id + 1) });
//! let mut client = RateLimiterLayer::new(Quota::per_second(100)?.with_burst(1)?).protect(client);
//! assert_eq!(client.ready().await?.call(1).await?, 2);
//! let refused = client.ready().await?.call(2).await.unwrap_err();
//! assert!(refused.rejection().and_then(|rejection| rejection.retry_after()).is_some());
//! # Ok(())
//! # }
//! ```
//!
//! - A [`Quota`] is a number of calls in a period and a burst. Calls are spread evenly over the period: no window whose
//!   edge lets twice the quota through.
//! - A call may cost more than one ([`CallContext::cost`](seawall_core::CallContext)), all or nothing; it can be charged
//!   more afterwards ([`Gcra::charge`]), or refunded.
//! - A refusal changes nothing and says, to the nanosecond, when the call would be admitted.
//! - [`KeyedRateLimiterLayer`] keeps a quota per tenant, address or token in memory that is fixed at the start;
//!   [`Quotas`] holds several at once, all or nothing; [`QueueingRateLimiterLayer`] lets calls wait, first come, first
//!   served.
//! - [`QueueingLimit`] lets calls wait before any [`Limit`], [`QueueingKeys`] in a line for each key.
//! - [`DistributedRateLimiterLayer`] shares a quota among processes, by leases from a Redis that no call waits for.
//! - [`Plans`] are quotas in three levels, of which each borrows what the one above has to spare; [`HotKeys`] tells who it is
//!   that uses up a quota.
//! - [`LimitLayer`] is for the other rules: a [`SlidingWindow`] or [`FixedWindow`] for quotas that are written so, a
//!   [`WarmUp`] for services that are slow after a pause; [`Enforced`] tries any of them out before it refuses anything.
//! - [`AdaptiveRate`] is for clients of a service whose quota is not known: it finds the rate, and keeps to what
//!   responses say.
//! - Nothing is taken in `poll_ready`: a handle that is made ready and dropped burns nothing.
//! - All clones of a layer and all services that it makes share the quota.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod adaptive;
mod adaptive_quota;
mod bucket;
mod distributed;
mod enforced;
mod error;
mod fixed_window;
mod gcra;
mod hall;
mod hot_keys;
mod hot_keys_config;
mod keyed;
mod keyed_layer;
mod keyed_quota;
mod layer;
mod limit;
mod line;
#[cfg(feature = "metrics")]
mod metrics;
mod one_quota;
mod pace;
mod plan;
mod plans;
mod queueing;
mod queueing_keys;
mod queueing_quota;
mod quota;
mod quotas;
mod sliding_window;
mod standing;
mod table;
mod wait;
mod warm_up;
mod warm_up_quota;
mod window_quota;

pub use adaptive::AdaptiveRate;
pub use adaptive_quota::{AdaptiveQuota, AdaptiveQuotaError, Growth};
#[cfg(feature = "redis")]
pub use distributed::redis::{RedisStore, RedisStoreError};
pub use distributed::{
    gcra::DistributedGcra,
    keyed::{DistributedFigures, DistributedKeyedGcra},
    quota::{DistributedQuota, IfGone},
    script::{SCRIPT, SCRIPT_SHA1, script_answer, script_arguments},
    store::{Answer, Exchange, Need, Store},
};
pub use error::QuotaError;
pub use fixed_window::FixedWindow;
pub use gcra::Gcra;
pub use hot_keys::HotKeys;
pub use hot_keys_config::HotKeysConfig;
pub use keyed::{AdmitKey, KeyedGcra};
pub use keyed_layer::{AskKey, KeyedRateLimiter, KeyedRateLimiterLayer};
pub use keyed_quota::KeyedQuota;
pub use layer::{
    DistributedRateLimiter, DistributedRateLimiterLayer, LimitLayer, QueueingRateLimiter, QueueingRateLimiterLayer,
    RateLimiter, RateLimiterLayer,
};
pub use limit::Limit;
#[cfg(feature = "metrics")]
pub use metrics::RateLimiterMetrics;
pub use one_quota::OneQuota;
pub use plan::{OfPlan, Plan};
pub use plans::{Plans, TakenOf};
pub use queueing::{QueueingGcra, QueueingLimit};
pub use queueing_keys::{Ahead, Key, LimitKeys, QueueingKeyedGcra, QueueingKeys};
pub use queueing_quota::QueueingQuota;
pub use quota::Quota;
pub use quotas::Quotas;
pub use seawall_core::{Enforced, Enforcement, Error, Percent, PercentError, Rejection, WrapErrorLayer};
pub use sliding_window::SlidingWindow;
pub use standing::Standing;
pub use wait::RateLimiterWait;
pub use warm_up::WarmUp;
pub use warm_up_quota::WarmUpQuota;
pub use window_quota::WindowQuota;

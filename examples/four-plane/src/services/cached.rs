//! Cache-aside: what the cache holds is answered from there, what it does not is put there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use seawall::health::{CheckConfig, HealthError, RecoveryAction, Registry};

use super::figures;
use super::guard::Guard;
use super::metrics::CacheMetrics;
use crate::link::Instance;
use crate::state::Cache;

/// How an answer came to be: `hit`, `miss`, `stale` or `bypass`.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Three times the 99th percentile, within these: a cache that takes longer is slower than the database.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(100));

/// Six for each connection: the cache answers in a fraction of a millisecond.
const PLACES: usize = 60;

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "each has its header value")]
pub enum Origin {
    /// From the cache, put there this long ago.
    Hit(Duration),
    /// Made anew, since the cache did not have it.
    Miss,
    /// Made anew, since the cache did not answer.
    Bypass,
}

impl Origin {
    /// Writes `x-cache` and `age`.
    pub fn write(self, headers: &mut HeaderMap) {
        let (result, age) = match self {
            Self::Hit(age) => ("hit", age),
            Self::Miss => ("miss", Duration::ZERO),
            Self::Bypass => ("bypass", Duration::ZERO),
        };
        headers.insert(X_CACHE, HeaderValue::from_static(result));
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    }
}

/// A [`Cache`] behind bulkhead, circuit breaker and timeout: what it cannot answer in time is made anew.
#[derive(Debug)]
pub struct CacheAside {
    cache: Arc<dyn Cache>,
    guard: Guard,
    metrics: CacheMetrics,
}

impl CacheAside {
    /// Over this cache, called by this instance.
    pub fn new(cache: Arc<dyn Cache>, caller: &Instance) -> Self {
        let connections = Arc::clone(&cache);
        figures::of_pool("cache", move || connections.connections());
        let guard = Guard::new("cache", TIMEOUT, PLACES, caller);
        Self { cache, guard, metrics: CacheMetrics::of(caller.role, &caller.name()) }
    }

    /// Adds the check of the cache, and follows what it finds: while it fails, the cache is bypassed.
    ///
    /// # Errors
    /// When the registry has such a check already.
    pub fn check(&self, checks: &mut Registry) -> Result<(), HealthError> {
        let cache = Arc::clone(&self.cache);
        checks.register("cache:availability", CheckConfig::cache(), move || {
            let cache = Arc::clone(&cache);
            async move { cache.get("four-plane:health").await.map(drop) }
        })?;
        self.guard.follow(checks, RecoveryAction::BypassCache);
        Ok(())
    }

    /// What the cache holds under `key`, or else what `make` makes, which is put there for `ttl` if it is something.
    ///
    /// # Errors
    /// That of `make`.
    pub async fn through<E>(
        &self,
        key: &str,
        ttl: Duration,
        make: impl Future<Output = Result<Option<Bytes>, E>> + Send,
    ) -> Result<(Option<Bytes>, Origin), E> {
        let origin = match self.guard.run(self.cache.get(key)).await {
            Ok(Some(cached)) => {
                self.metrics.hit();
                return Ok((Some(cached.value), Origin::Hit(ttl.saturating_sub(cached.remaining))));
            }
            Ok(None) => {
                self.metrics.miss();
                Origin::Miss
            }
            Err(_) => {
                self.metrics.bypass();
                Origin::Bypass
            }
        };
        let fresh = make.await?;
        if origin == Origin::Miss
            && let Some(value) = &fresh
        {
            // The next one who asks tries again.
            let _not_kept = self.guard.run(self.cache.set(key, value.clone(), ttl)).await;
        }
        Ok((fresh, origin))
    }
}

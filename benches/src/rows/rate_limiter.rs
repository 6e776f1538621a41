//! The rate limiter beside governor, which keeps the same time: the processor's counter.

use std::{
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, RateLimiter};
use seawall::{
    core::{Clock, MonotonicClock},
    rate_limiter::{KeyedQuota, KeyedRateLimiterLayer, Quota, RateLimiterLayer},
};
use tower::Service;

use super::{Row, Side, layer_row};
use crate::operation::{Calls, Leaf, Operation, built};

/// So fast, and so many at once, that nothing is refused.
const CALLS_PER_SECOND: u32 = 1_000_000;
const BURST: u32 = u32::MAX;
/// What the keyed row is named for.
const KEYS: u64 = 10_000;

fn quota() -> Quota {
    built(Quota::per_second(CALLS_PER_SECOND).and_then(|quota| quota.with_burst(BURST)))
}

/// Goes through all keys, for three instructions a call.
#[derive(Clone)]
struct EachKey<S> {
    inner: S,
    key: u64,
}

impl<S> EachKey<S> {
    const fn new(inner: S) -> Self {
        Self { inner, key: 0 }
    }
}

impl<S: Service<u64>> Service<u64> for EachKey<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, _: u64) -> S::Future {
        self.key = if self.key == KEYS { 1 } else { self.key.wrapping_add(1) };
        self.inner.call(self.key)
    }
}

fn layer() -> RateLimiterLayer {
    RateLimiterLayer::new(quota())
}

fn direct() -> Box<dyn Operation> {
    Box::new(Calls(layer().protect(Leaf::default())))
}

fn direct_leaked() -> Box<dyn Operation> {
    Box::new(Calls(layer().leak().protect(Leaf::default())))
}

/// All keys have called before: what is measured is their next call.
fn keyed_layer() -> KeyedRateLimiterLayer<u64, fn(&u64) -> &u64> {
    let layer = KeyedRateLimiterLayer::new::<u64>(KeyedQuota::new(quota()), (|key| key) as fn(&u64) -> &u64);
    for key in 1..=KEYS {
        layer.gate().charge(&key, 1, MonotonicClock.now());
    }
    layer
}

fn keyed() -> Box<dyn Operation> {
    Box::new(Calls(EachKey::new(keyed_layer().protect(Leaf::default()))))
}

fn keyed_leaked() -> Box<dyn Operation> {
    Box::new(Calls(EachKey::new(keyed_layer().leak().protect(Leaf::default()))))
}

fn governor_quota() -> governor::Quota {
    let calls = NonZeroU32::new(CALLS_PER_SECOND).unwrap_or(NonZeroU32::MIN);
    governor::Quota::per_second(calls).allow_burst(NonZeroU32::MAX)
}

/// A service behind governor, as its users write it.
#[derive(Clone)]
struct Governed<F> {
    admits: F,
    inner: Leaf,
}

impl<F: Fn(u64) -> bool> Service<u64> for Governed<F> {
    type Response = u64;
    type Error = <Leaf as Service<u64>>::Error;
    type Future = <Leaf as Service<u64>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: u64) -> Self::Future {
        if (self.admits)(request) { self.inner.call(request) } else { std::future::ready(Err(Self::Error::default())) }
    }
}

fn governor_direct() -> Box<dyn Operation> {
    let limiter: Arc<DefaultDirectRateLimiter> = Arc::new(RateLimiter::direct(governor_quota()));
    Box::new(Calls(Governed { admits: move |_| limiter.check().is_ok(), inner: Leaf::default() }))
}

fn governor_keyed() -> Box<dyn Operation> {
    let limiter: Arc<DefaultKeyedRateLimiter<u64>> = Arc::new(RateLimiter::keyed(governor_quota()));
    for key in 1..=KEYS {
        let _ = limiter.check_key(&key);
    }
    let governed = Governed { admits: move |key| limiter.check_key(&key).is_ok(), inner: Leaf::default() };
    Box::new(Calls(EachKey::new(governed)))
}

const GOVERNOR_KEYED: Side = Side { name: "governor", make: governor_keyed };
const GOVERNOR: Side = Side { name: "governor", make: governor_direct };

pub(super) fn rows() -> Vec<Row> {
    vec![
        layer_row("rate-limiter/direct", "own", direct, vec![GOVERNOR]),
        layer_row("rate-limiter/direct-leaked", "own", direct_leaked, vec![GOVERNOR]),
        layer_row("rate-limiter/keyed-10k", "own", keyed, vec![GOVERNOR_KEYED]),
        layer_row("rate-limiter/keyed-10k-leaked", "own", keyed_leaked, vec![GOVERNOR_KEYED]),
    ]
}

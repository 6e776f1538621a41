//! The rate limiter beside governor, which keeps the same time: the processor's counter.

use std::{
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
};

use governor::{DefaultDirectRateLimiter, RateLimiter};
use seawall::rate_limiter::{Quota, RateLimiterLayer};
use tower::Service;

use super::{Row, Side, layer_row};
use crate::operation::{Calls, Leaf, Operation, built};

/// So fast, and so many at once, that nothing is refused.
const CALLS_PER_SECOND: u32 = 1_000_000;
const BURST: u32 = u32::MAX;

fn layer() -> RateLimiterLayer {
    RateLimiterLayer::new(built(Quota::per_second(CALLS_PER_SECOND).and_then(|quota| quota.with_burst(BURST))))
}

fn direct() -> Box<dyn Operation> {
    Box::new(Calls(layer().protect(Leaf::default())))
}

fn direct_leaked() -> Box<dyn Operation> {
    Box::new(Calls(layer().leak().protect(Leaf::default())))
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

const GOVERNOR: Side = Side { name: "governor", make: governor_direct };

pub(super) fn rows() -> Vec<Row> {
    vec![
        layer_row("rate-limiter/direct", "own", direct, vec![GOVERNOR]),
        layer_row("rate-limiter/direct-leaked", "own", direct_leaked, vec![GOVERNOR]),
    ]
}

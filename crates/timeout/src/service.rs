#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    fmt,
    task::{Context, Poll},
};

use seawall_core::{Attributes, CarryRejection, Classify, Clock, Env, Environment, Reason, Shared, Timer, Timestamp};
use tower_service::Service;

use crate::{
    CarryDeadline, LimitOf, NotCarried, SameForAll, TimeoutFuture,
    per_request::earliest,
    watch::{Core, Watch},
};

/// A service behind a [`TimeoutLayer`](crate::TimeoutLayer).
///
/// A call that is refused because its deadline is too close leaves the readiness that the inner service granted with
/// this handle, for its next call.
pub struct Timeout<S, E: 'static = Env, D = NotCarried, L = SameForAll> {
    inner: S,
    core: Shared<Core<E>>,
    carry: D,
    limit_of: L,
}

impl<S, E, D, L> Timeout<S, E, D, L> {
    pub(crate) const fn new(inner: S, core: Shared<Core<E>>, carry: D, limit_of: L) -> Self {
        Self { inner, core, carry, limit_of }
    }

    /// The service whose calls are bounded.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone, E, D: Clone, L: Clone> Clone for Timeout<S, E, D, L> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            core: self.core.clone(),
            carry: self.carry.clone(),
            limit_of: self.limit_of.clone(),
        }
    }
}

impl<S: fmt::Debug, E, D, L> fmt::Debug for Timeout<S, E, D, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("config", &self.core.config).field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Req, E, D, L> Service<Req> for Timeout<S, E, D, L>
where
    S: Service<Req, Error: CarryRejection>,
    E: Environment<Clock: Timer> + Attributes<Req> + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    D: CarryDeadline<Req>,
    L: LimitOf<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future, E>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let env = &self.core.env;
        let now = env.clock().now();
        let context = env.context(&request);
        let deadline = earliest(&context, self.limit_of.remaining(&request), now);
        let (allowance, silent) = self.core.allow(now, self.limit_of.limit(&request), deadline);
        match allowance {
            Some(allowance) => {
                if allowance.until < Timestamp::MAX {
                    let until = allowance.until.saturating_sub(self.core.config.reserve());
                    match allowance.expired {
                        Reason::TotalTimeout => self.carry.carry_total(&mut request, until),
                        _ => self.carry.carry(&mut request, until),
                    }
                }
                let (future, watch) = Watch::over(&self.core, silent, now, || self.inner.call(request));
                TimeoutFuture::new(future, allowance, env.clock().clone(), watch)
            }
            None => TimeoutFuture::refused(env.clock().clone(), Watch::new(&self.core, silent, now)),
        }
    }
}

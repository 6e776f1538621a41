use std::{
    fmt,
    panic::Location,
    task::{Context, Poll},
};

use seawall_core::{Attributes, Env, Environment, Timer, Timestamp};
use tower_service::Service;

use crate::{Connection, Get, Manager, Pool, PoolError, PoolFuture};

/// A service behind a [`PoolLayer`](crate::PoolLayer).
///
/// It is ready at once and waits for a connection in the call, no longer than the deadline that the environment's
/// attributes read from the request; then it drives a clone of the inner service ready. Waiting for the inner service
/// while holding no connection, or the other way round, would let two layers wait for each other.
///
/// The inner service's error carries the pool's: `From<PoolError<M::Error>>`. For an error of your own inside
/// [`seawall_core::Error`], one `From` suffices: refusals by the pool become rejections.
pub struct PoolService<S, M: Manager, E: Environment<Clock: Timer> + 'static = Env> {
    inner: S,
    pool: Pool<M, E>,
    at: &'static Location<'static>,
}

impl<S, M: Manager, E: Environment<Clock: Timer>> PoolService<S, M, E> {
    pub(crate) const fn new(inner: S, pool: Pool<M, E>, at: &'static Location<'static>) -> Self {
        Self { inner, pool, at }
    }
}

impl<S, Req, M, E> Service<Req> for PoolService<S, M, E>
where
    S: Service<(Req, Connection<M, E>), Error: From<PoolError<M::Error>>> + Clone,
    M: Manager,
    E: Environment<Clock: Timer> + Attributes<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = PoolFuture<S, Req, M, E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let context = self.pool.env().context(&request);
        let get = self.pool.get_keeping(context.deadline.unwrap_or(Timestamp::MAX), self.at);
        PoolFuture::new(get, self.inner.clone(), request)
    }
}

/// A pool gives connections to whoever calls it.
impl<M: Manager, E: Environment<Clock: Timer>> Service<()> for Pool<M, E> {
    type Response = Connection<M, E>;
    type Error = PoolError<M::Error>;
    type Future = Get<M, E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[track_caller]
    fn call(&mut self, (): ()) -> Self::Future {
        self.get_keeping(Timestamp::MAX, Location::caller())
    }
}

impl<S: Clone, M: Manager, E: Environment<Clock: Timer>> Clone for PoolService<S, M, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), pool: self.pool.clone(), at: self.at }
    }
}

impl<S: fmt::Debug, M: Manager, E: Environment<Clock: Timer>> fmt::Debug for PoolService<S, M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolService").field("pool", &self.pool).field("inner", &self.inner).finish_non_exhaustive()
    }
}

use std::{fmt, panic::Location};

use seawall_core::{Env, Environment, Timer};
use tower_layer::Layer;

use crate::{Manager, Pool, PoolService};

/// Gives each request of a service a connection: the inner service takes `(Request, Connection)`.
///
/// # Examples
/// ```
/// use seawall_pool::{Connection, Manager, Pool, PoolError, PoolLayer};
/// use tower::{Layer, ServiceExt, service_fn};
/// # struct Database;
/// # impl Manager for Database {
/// #     type Connection = Vec<&'static str>;
/// #     type Error = std::io::Error;
/// #     async fn connect(&self) -> Result<Self::Connection, Self::Error> { Ok(vec!["Lisbon", "Lima"]) }
/// #     async fn check(&self, _: &mut Self::Connection) -> Result<(), Self::Error> { Ok(()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let layer = PoolLayer::new(Pool::new(Database));
/// let cities = layer.layer(service_fn(async |(id, connection): (usize, Connection<Database>)| {
///     Ok::<_, PoolError<std::io::Error>>(connection[id])
/// }));
///
/// assert_eq!(cities.oneshot(1).await.unwrap(), "Lima");
/// # }
/// ```
pub struct PoolLayer<M: Manager, E: Environment<Clock: Timer> + 'static = Env> {
    pool: Pool<M, E>,
    at: &'static Location<'static>,
}

impl<M: Manager, E: Environment<Clock: Timer>> PoolLayer<M, E> {
    /// A layer over `pool`. Connections are reported as taken where this is called.
    #[track_caller]
    pub fn new(pool: Pool<M, E>) -> Self {
        Self { pool, at: Location::caller() }
    }

    /// The pool.
    pub const fn pool(&self) -> &Pool<M, E> {
        &self.pool
    }
}

impl<S, M: Manager, E: Environment<Clock: Timer>> Layer<S> for PoolLayer<M, E> {
    type Service = PoolService<S, M, E>;

    fn layer(&self, inner: S) -> Self::Service {
        PoolService::new(inner, self.pool.clone(), self.at)
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Clone for PoolLayer<M, E> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), at: self.at }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> fmt::Debug for PoolLayer<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolLayer").field("pool", &self.pool).finish_non_exhaustive()
    }
}

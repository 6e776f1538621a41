use std::{fmt, panic::Location, sync::Arc};

use seawall_core::{Env, Environment, Shared, Timer, Timestamp};

use crate::{
    Drain, Get, Manager, PoolConfig, PoolConfigError, PoolStatus,
    inner::{Inner, apply},
};

/// Keeps connections for reuse. Clones share the connections; when the last clone is dropped the pool closes.
///
/// Callers are served in the order in which they came, each by the first connection that becomes free, is opened, or
/// passes its check; an idle connection that was used last is used first. Whoever gives up leaves the queue and costs
/// nobody a connection.
///
/// It needs a tokio runtime: connections are opened and checked in tasks of their own, and one task for all looks after
/// waits and idle connections. It may be made outside of one, and outlive one: the tasks move to the runtime that uses
/// the pool next.
///
/// # Examples
/// ```
/// use seawall_pool::{Manager, Pool};
/// # struct Database;
/// # impl Manager for Database {
/// #     type Connection = String;
/// #     type Error = std::io::Error;
/// #     async fn connect(&self) -> Result<String, std::io::Error> { Ok("hello".to_owned()) }
/// #     async fn check(&self, _: &mut String) -> Result<(), std::io::Error> { Ok(()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let pool = Pool::new(Database);
/// {
///     let connection = pool.get().await.unwrap();
///     assert_eq!(connection.len(), 5);
///     assert_eq!(pool.status().in_use, 1);
/// }
/// assert_eq!(pool.status().idle, 1);
/// # }
/// ```
pub struct Pool<M: Manager, E: Environment<Clock: Timer> + 'static = Env> {
    inner: Shared<Inner<M, E>>,
    handles: Arc<CloseOnDrop<M, E>>,
}

/// Closes the pool with its last handle. Connections and tasks do not count as such.
pub(crate) struct CloseOnDrop<M: Manager, E: Environment<Clock: Timer> + 'static> {
    inner: Shared<Inner<M, E>>,
}

impl<M: Manager, E: Environment<Clock: Timer>> Drop for CloseOnDrop<M, E> {
    fn drop(&mut self) {
        let now = self.inner.now();
        let effects = self.inner.lock().close(now);
        apply(&self.inner, effects);
    }
}

impl<M: Manager> Pool<M> {
    /// A pool with the default settings.
    pub fn new(manager: M) -> Self {
        Self::of(Inner::new(manager, PoolConfig::new(), Env::new()))
    }

    /// A pool with settings of its own.
    ///
    /// # Errors
    /// The setting that is out of its range.
    pub fn with_config(manager: M, config: PoolConfig) -> Result<Self, PoolConfigError> {
        Self::with_env(manager, config, Env::new())
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Pool<M, E> {
    /// A pool with settings, a clock, an observer and entropy of its own. The observer hears of every caller that is
    /// refused.
    ///
    /// # Errors
    /// The setting that is out of its range.
    pub fn with_env(manager: M, config: PoolConfig, env: E) -> Result<Self, PoolConfigError> {
        config.validate()?;
        Ok(Self::of(Inner::new(manager, config, env)))
    }

    fn of(inner: Inner<M, E>) -> Self {
        let inner = Shared::new(inner);
        let handles = Arc::new(CloseOnDrop { inner: inner.clone() });
        Self { inner, handles }
    }

    /// The same pool, which lives as long as the process: cheaper for cores that share it. It closes only by
    /// [`Pool::close`].
    #[must_use]
    pub fn leak(self) -> Self {
        // One handle is never dropped, so that the last of the counted ones does not close the pool under this one.
        let handles = Box::leak(Box::new(Arc::clone(&self.handles)));
        Self { inner: self.inner.leak(), handles: Arc::clone(handles) }
    }

    /// Gets a connection, within [`PoolConfig::acquire_timeout`].
    ///
    /// # Errors
    /// [`PoolError::Timeout`](crate::PoolError::Timeout) when none becomes free in time,
    /// [`PoolError::QueueFull`](crate::PoolError::QueueFull) when too many wait already,
    /// [`PoolError::Connect`](crate::PoolError::Connect) when none is open and none can be opened, and
    /// [`PoolError::Closed`](crate::PoolError::Closed).
    #[track_caller]
    #[inline]
    pub fn get(&self) -> Get<M, E> {
        self.get_by(Timestamp::MAX)
    }

    /// Gets a connection, within [`PoolConfig::acquire_timeout`] and before `deadline`. What can be had without waiting
    /// is given also after it.
    ///
    /// # Errors
    /// As [`Pool::get`].
    #[track_caller]
    #[inline]
    pub fn get_by(&self, deadline: Timestamp) -> Get<M, E> {
        self.get_at(deadline, Location::caller())
    }

    #[inline]
    pub(crate) fn get_at(&self, deadline: Timestamp, at: &'static Location<'static>) -> Get<M, E> {
        Get::new(self.inner.clone(), deadline, at)
    }

    /// As [`Pool::get_by`], for callers that may drop every handle while they wait.
    pub(crate) fn get_keeping(&self, deadline: Timestamp, at: &'static Location<'static>) -> Get<M, E> {
        self.get_at(deadline, at).keeping(Arc::clone(&self.handles))
    }

    pub(crate) fn env(&self) -> &E {
        &self.inner.env
    }

    /// The pool at this moment.
    pub fn status(&self) -> PoolStatus {
        let now = self.inner.now();
        self.inner.lock().status(now)
    }

    /// The settings.
    pub fn config(&self) -> PoolConfig {
        *self.inner.lock().config()
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.inner.manager
    }

    /// Sets how many connections there may be. More are opened when they are wanted; of too many, the idle ones are
    /// closed now and those in use when they come back.
    ///
    /// # Errors
    /// [`PoolConfigError::Max`] or [`PoolConfigError::MinIdle`] when the settings would make no sense; nothing changes.
    pub fn resize(&self, max: usize) -> Result<(), PoolConfigError> {
        let now = self.inner.now();
        let mut slots = self.inner.lock();
        slots.config().with_max(max).validate()?;
        let effects = slots.resize(max, now);
        drop(slots);
        apply(&self.inner, effects);
        Ok(())
    }

    /// Closes what is idle, as after a change of password or a failover that is known of. Connections in use are kept.
    pub fn evict_idle(&self) {
        let now = self.inner.now();
        let effects = self.inner.lock().evict_idle(now);
        apply(&self.inner, effects);
    }

    /// Closes the pool: callers that wait are told at once, idle connections are closed, those in use when they come
    /// back. Closing twice does nothing.
    pub fn close(&self) {
        let now = self.inner.now();
        let effects = self.inner.lock().close(now);
        apply(&self.inner, effects);
    }

    /// Closes the pool and waits until every connection has come back and is closed.
    ///
    /// # Examples
    /// ```
    /// # use seawall_pool::{Manager, Pool, PoolError};
    /// # struct Database;
    /// # impl Manager for Database {
    /// #     type Connection = ();
    /// #     type Error = std::io::Error;
    /// #     async fn connect(&self) -> Result<(), std::io::Error> { Ok(()) }
    /// #     async fn check(&self, _: &mut ()) -> Result<(), std::io::Error> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let pool = Pool::new(Database);
    /// drop(pool.get().await.unwrap());
    ///
    /// pool.drain().await;
    ///
    /// assert_eq!(pool.status().size, 0);
    /// assert!(matches!(pool.get().await, Err(PoolError::Closed)));
    /// # }
    /// ```
    pub fn drain(&self) -> Drain<M, E> {
        self.close();
        Drain::new(self.inner.clone())
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Clone for Pool<M, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), handles: Arc::clone(&self.handles) }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> fmt::Debug for Pool<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("status", &self.status()).finish_non_exhaustive()
    }
}

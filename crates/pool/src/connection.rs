use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use seawall_core::{Env, Environment, Shared, Timer};

use crate::{
    Manager, PoolError,
    inner::{Inner, apply, give_back},
    slots::{Lease, Place},
    status::Closing,
    tasks,
};

/// A connection that a caller has. It goes back when this is dropped: to the caller that has waited for the longest, or
/// to those that are idle.
///
/// It is closed instead when the manager calls it broken, when [`Connection::discard`] was called, or when this is
/// dropped by a panic. A pool cannot see that an operation was cut in the middle: use [`Pool::run`](crate::Pool::run),
/// which closes the connection in that case, or see to it in [`Manager::is_broken`].
pub struct Connection<M: Manager, E: Environment<Clock: Timer> + 'static = Env> {
    lease: Option<Lease<M::Connection>>,
    inner: Shared<Inner<M, E>>,
    closing: Option<Closing>,
}

impl<M: Manager, E: Environment<Clock: Timer>> Connection<M, E> {
    #[inline]
    pub(crate) const fn new(lease: Lease<M::Connection>, inner: Shared<Inner<M, E>>) -> Self {
        Self { lease: Some(lease), inner, closing: None }
    }

    /// Whether another caller had this connection before. Only such a one can have gone stale.
    pub fn is_reused(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_reused)
    }

    /// Closes the connection when it is dropped.
    pub fn discard(&mut self) {
        self.set_closing(Some(Closing::Broken));
    }

    /// Takes the connection out for good; the pool may open another in its place.
    pub fn take(mut self) -> M::Connection {
        match self.lease.take() {
            Some(lease) => {
                let (connection, place) = lease.into_parts();
                let now = self.inner.now();
                let effects = self.inner.lock().give_up(place, Closing::Taken, now);
                apply(&self.inner, effects);
                connection
            }
            None => unreachable!("{TAKEN}"),
        }
    }

    pub(crate) fn set_closing(&mut self, closing: Option<Closing>) {
        self.closing = closing;
    }

    /// Closes this stale connection and opens another in its place. What else is idle is suspect from here on.
    pub(crate) async fn renew(mut self) -> Result<Self, PoolError<M::Error>> {
        let Some(lease) = self.lease.take() else { unreachable!("{TAKEN}") };
        let (stale, place) = lease.into_parts();
        let mut reserved = Reserved { inner: self.inner.clone(), place: Some(place) };
        drop(stale);
        let now = self.inner.now();
        self.inner.lock().suspect(now);
        let result = tasks::attempt(&self.inner).await;
        let (now, word) = (self.inner.now(), self.inner.word());
        match result {
            Ok(connection) => {
                if let Some(place) = reserved.place.take() {
                    self.lease = Some(self.inner.lock().replace(connection, place, now, word));
                }
                self.closing = None;
                Ok(self)
            }
            Err(error) => {
                let failure = Arc::new(error);
                // Before the place is free, so that the next connect waits its time.
                self.inner.lock().note_failure(Arc::clone(&failure), now, word);
                Err(PoolError::Connect(failure))
            }
        }
    }
}

/// The place of a connection that is gone, kept for the one that replaces it.
struct Reserved<M: Manager, E: Environment<Clock: Timer>> {
    inner: Shared<Inner<M, E>>,
    place: Option<Place>,
}

impl<M: Manager, E: Environment<Clock: Timer>> Drop for Reserved<M, E> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let now = self.inner.now();
            let effects = self.inner.lock().give_up(place, Closing::Stale, now);
            apply(&self.inner, effects);
        }
    }
}

/// Why there always is a connection to point to.
const TAKEN: &str = "a connection is taken out only by what consumes its guard";

impl<M: Manager, E: Environment<Clock: Timer>> Deref for Connection<M, E> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        match &self.lease {
            Some(lease) => &lease.connection,
            None => unreachable!("{TAKEN}"),
        }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> DerefMut for Connection<M, E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        match &mut self.lease {
            Some(lease) => &mut lease.connection,
            None => unreachable!("{TAKEN}"),
        }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Drop for Connection<M, E> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        let broken = std::thread::panicking() || self.inner.is_broken(&mut lease.connection);
        let closing = self.closing.or(broken.then_some(Closing::Broken));
        give_back(&self.inner, lease, closing);
    }
}

impl<M: Manager<Connection: fmt::Debug>, E: Environment<Clock: Timer>> fmt::Debug for Connection<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("connection", &**self).field("reused", &self.is_reused()).finish()
    }
}

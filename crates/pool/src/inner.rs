use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, MutexGuard, OnceLock, PoisonError},
};

use seawall_core::{Clock, Entropy, Environment, Shared, Timer, Timestamp};
use tokio::runtime::Handle;

use crate::{
    ConnectError, Manager, PoolConfig,
    slots::{Effects, Lease, Returned, Slots, Start},
    status::Closing,
    tasks,
};

/// The failure of a connect, which all that waited for it share.
pub(crate) type Failure<M> = Arc<ConnectError<<M as Manager>::Error>>;

/// The slots of a pool of `M`'s connections.
pub(crate) type SlotsOf<M> = Slots<<M as Manager>::Connection, Failure<M>>;

#[expect(
    clippy::disallowed_types,
    reason = "held for some twenty instructions, never over a call of the user's: docs/decisions/0020-pool-lock.md"
)]
type Lock<T> = std::sync::Mutex<T>;

/// What all handles, connections and tasks of one pool share.
pub(crate) struct Inner<M: Manager, E> {
    pub(crate) manager: M,
    pub(crate) env: E,
    slots: Lock<SlotsOf<M>>,
    /// Where tasks run that are started outside a runtime, as by a connection dropped on a thread of its own.
    runtime: OnceLock<Handle>,
}

impl<M: Manager, E> Inner<M, E> {
    pub(crate) fn new(manager: M, config: PoolConfig, env: E) -> Self {
        Self { manager, env, slots: Lock::new(Slots::new(config)), runtime: OnceLock::new() }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, SlotsOf<M>> {
        // Nothing of the user's runs under the lock but the clone of a waker: no panic leaves the slots half changed, and
        // no connection that goes down with a task comes back to a lock that is held.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the manager calls a connection broken; one that it panics on is.
    #[inline]
    pub(crate) fn is_broken(&self, connection: &mut M::Connection) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.manager.is_broken(connection))).unwrap_or(true)
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Inner<M, E> {
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        self.env.clock().now()
    }

    pub(crate) fn word(&self) -> u64 {
        self.env.entropy().next_u64()
    }
}

/// Takes a connection back.
#[inline]
pub(crate) fn give_back<M: Manager, E: Environment<Clock: Timer>>(
    inner: &Shared<Inner<M, E>>,
    lease: Lease<M::Connection>,
    closing: Option<Closing>,
) {
    let now = inner.now();
    let returned = inner.lock().give_back(lease, closing, now);
    match returned {
        Returned::Kept(None) => {}
        Returned::Kept(Some(waker)) => waker.wake(),
        Returned::Closed(effects) => apply(inner, effects),
    }
}

/// Does what the slots left to do: outside the lock, since all of it runs code of the user's.
pub(crate) fn apply<M: Manager, E: Environment<Clock: Timer>>(
    inner: &Shared<Inner<M, E>>,
    effects: Effects<M::Connection>,
) {
    let Effects { wake, close, start, forget } = effects;
    for waker in wake {
        waker.wake();
    }
    for work in start {
        match work {
            Start::Connect => tasks::connect(inner),
            Start::Check(idle) => tasks::check(inner, idle),
        }
    }
    drop((close, forget));
}

/// Runs `future` in a task of its own; drops it where there is no runtime.
pub(crate) fn spawn<M: Manager, E>(inner: &Inner<M, E>, future: impl Future<Output = ()> + Send + 'static) {
    match Handle::try_current() {
        Ok(handle) => {
            handle.spawn(future);
            inner.runtime.get_or_init(|| handle);
        }
        Err(_) => {
            if let Some(handle) = inner.runtime.get() {
                handle.spawn(future);
            }
        }
    }
}

/// Whether [`spawn`] has a runtime to run a task on.
pub(crate) fn can_spawn<M: Manager, E>(inner: &Inner<M, E>) -> bool {
    inner.runtime.get().is_some() || Handle::try_current().is_ok()
}

//! The tasks of a pool. A caller that gives up cuts none of them: what was begun is finished and kept.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use seawall_core::{Environment, Shared, Timer};

use crate::{
    ConnectError, Manager,
    inner::{Inner, apply, can_spawn, spawn},
    slots::Idle,
};

/// Starts to open a connection.
pub(crate) fn connect<M: Manager, E: Environment<Clock: Timer>>(inner: &Shared<Inner<M, E>>) {
    let connect = Connect { inner: Some(inner.clone()) };
    spawn(inner, async move {
        let Some(inner) = &connect.inner else { return };
        let result = attempt(inner).await;
        connect.end(result);
    });
}

/// Opens a connection within its time.
pub(crate) async fn attempt<M: Manager, E: Environment<Clock: Timer>>(
    inner: &Inner<M, E>,
) -> Result<M::Connection, ConnectError<M::Error>> {
    let after = inner.lock().config().connect_timeout;
    match within(inner.env.clock(), after, inner.manager.connect()).await {
        Some(Ok(connection)) => Ok(connection),
        Some(Err(source)) => Err(ConnectError::Failed { target: inner.manager.target(), source }),
        None => Err(ConnectError::TimedOut { target: inner.manager.target(), after }),
    }
}

/// A connect under way. However its task ends, the pool hears of it.
struct Connect<M: Manager, E: Environment<Clock: Timer>> {
    inner: Option<Shared<Inner<M, E>>>,
}

impl<M: Manager, E: Environment<Clock: Timer>> Connect<M, E> {
    fn end(mut self, result: Result<M::Connection, ConnectError<M::Error>>) {
        if let Some(inner) = self.inner.take() {
            finish_connect(&inner, result);
        }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Drop for Connect<M, E> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            let error = if can_spawn(&inner) { ConnectError::Abandoned } else { ConnectError::NoRuntime };
            finish_connect(&inner, Err(error));
        }
    }
}

fn finish_connect<M: Manager, E: Environment<Clock: Timer>>(
    inner: &Shared<Inner<M, E>>,
    result: Result<M::Connection, ConnectError<M::Error>>,
) {
    let (now, word) = (inner.now(), inner.word());
    let effects = match result {
        Ok(connection) => inner.lock().connected(connection, now, word),
        Err(error) => inner.lock().connect_failed(Arc::new(error), now, word),
    };
    apply(inner, effects);
}

/// Starts to ask an idle connection for a sign of life.
pub(crate) fn check<M: Manager, E: Environment<Clock: Timer>>(inner: &Shared<Inner<M, E>>, idle: Idle<M::Connection>) {
    let mut check = Check { inner: inner.clone(), idle: Some(idle) };
    spawn(inner, async move {
        let Some(idle) = &mut check.idle else { return };
        let timeout = check.inner.lock().config().check_timeout;
        let answer = within(check.inner.env.clock(), timeout, check.inner.manager.check(&mut idle.connection)).await;
        if matches!(answer, Some(Ok(()))) {
            check.pass();
        }
    });
}

/// A check under way. Unless it passes, its connection is closed.
struct Check<M: Manager, E: Environment<Clock: Timer>> {
    inner: Shared<Inner<M, E>>,
    idle: Option<Idle<M::Connection>>,
}

impl<M: Manager, E: Environment<Clock: Timer>> Check<M, E> {
    fn pass(mut self) {
        if let Some(idle) = self.idle.take() {
            let now = self.inner.now();
            let effects = self.inner.lock().check_passed(idle, now);
            apply(&self.inner, effects);
        }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Drop for Check<M, E> {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.take() {
            let now = self.inner.now();
            let effects = self.inner.lock().check_failed(now);
            apply(&self.inner, effects);
            // Last: the place is free whatever a connection does when it is dropped.
            drop(idle);
        }
    }
}

/// Starts the task that looks after the pool's times.
pub(crate) fn keep<M: Manager, E: Environment<Clock: Timer>>(inner: &Shared<Inner<M, E>>) {
    let mut keeper = Keeper { inner: inner.clone(), began: false };
    spawn(inner, async move {
        keeper.began = true;
        let inner = &keeper.inner;
        loop {
            let now = inner.now();
            let (effects, next) = inner.lock().tick(now);
            apply(inner, effects);
            let Some(next) = next else { return };
            let mut sleep = pin!(inner.env.clock().sleep_until(next));
            poll_fn(|cx| {
                let called = inner.lock().keeper_is_called(cx.waker());
                if called.is_ok() { Poll::Ready(()) } else { sleep.as_mut().poll(cx) }
            })
            .await;
        }
    });
}

/// Says when the keeper has gone, so that another one can come; or that it could not even begin, so that nobody waits
/// without a clock.
struct Keeper<M: Manager, E: Environment<Clock: Timer>> {
    inner: Shared<Inner<M, E>>,
    began: bool,
}

impl<M: Manager, E: Environment<Clock: Timer>> Drop for Keeper<M, E> {
    fn drop(&mut self) {
        let now = self.inner.now();
        let mut slots = self.inner.lock();
        let effects =
            if self.began { slots.keeper_left() } else { slots.no_keeper(&Arc::new(ConnectError::NoRuntime), now) };
        drop(slots);
        apply(&self.inner, effects);
    }
}

/// The result of `future`, unless it takes longer than `time`. No timer is made for one that is ready at once.
async fn within<T: Timer, F: Future>(timer: &T, time: Duration, future: F) -> Option<F::Output> {
    let until = timer.now().saturating_add(time);
    let mut future = pin!(future);
    let ready = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    });
    if let Some(output) = ready.await {
        return Some(output);
    }
    let mut sleep = pin!(timer.sleep_until(until));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

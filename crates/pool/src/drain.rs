use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use seawall_core::{Environment, Shared, Timer};

use crate::{Manager, inner::Inner};

/// The future of [`Pool::drain`](crate::Pool::drain): ready when nothing is left of the pool. The pool is closed
/// whether it is awaited or not.
#[must_use = "the pool is closed, but nobody waits for the connections in use"]
pub struct Drain<M: Manager, E: Environment<Clock: Timer> + 'static> {
    inner: Shared<Inner<M, E>>,
}

impl<M: Manager, E: Environment<Clock: Timer>> Drain<M, E> {
    pub(crate) const fn new(inner: Shared<Inner<M, E>>) -> Self {
        Self { inner }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Future for Drain<M, E> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.lock().is_emptied(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> fmt::Debug for Drain<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}

#![expect(clippy::disallowed_types, reason = "the lock is taken when a bulkhead drains, never by a call")]

use std::{
    fmt,
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

use seawall_core::{
    WaitKey, WaitList, replace_waker,
    sync::{Mutex, MutexGuard},
};

use crate::places::Places;

/// Those who wait for the last call to end. Woken once in a bulkhead's life.
#[derive(Debug, Default)]
pub(crate) struct Drainers {
    wakers: Mutex<WaitList<Waker>>,
}

impl Drainers {
    fn lock(&self) -> MutexGuard<'_, WaitList<Waker>> {
        // Wakers run outside the lock, so a panic of one leaves the list whole.
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    pub(crate) fn wake_all(&self) {
        loop {
            let mut wakers = self.lock();
            let Some(waker) = wakers.front().and_then(|key| wakers.remove(key)) else { return };
            drop(wakers);
            waker.wake();
        }
    }
}

/// Completes when the last call of a closed bulkhead has ended. Dropping it keeps the bulkhead closed.
#[must_use = "futures do nothing unless polled"]
pub struct Drain<'a> {
    places: &'a Places,
    drainers: &'a Drainers,
    key: Option<WaitKey>,
}

impl<'a> Drain<'a> {
    pub(crate) const fn new(places: &'a Places, drainers: &'a Drainers) -> Self {
        Self { places, drainers, key: None }
    }
}

impl Future for Drain<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut wakers = self.drainers.lock();
        if let Some(old) = self.key.and_then(|key| wakers.get_mut(key)) {
            let replaced = replace_waker(old, cx.waker());
            drop(wakers);
            drop(replaced);
        } else {
            let key = wakers.push_back(cx.waker().clone());
            drop(wakers);
            self.key = Some(key);
        }
        // Looked at after the waker is in place: the last call to end finds it, or its end is seen here.
        if self.places.seen().taken() == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        // Bound, so that the waker goes after the lock.
        let waker = self.key.take().and_then(|key| self.drainers.lock().remove(key));
        drop(waker);
    }
}

impl fmt::Debug for Drain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("in_flight", &self.places.seen().taken()).finish_non_exhaustive()
    }
}

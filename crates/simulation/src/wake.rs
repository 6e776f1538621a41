//! Wakers that note which attempt is to be polled.
#![expect(clippy::disallowed_types, reason = "a world runs on one thread: the lock is never contended")]

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

#[derive(Debug)]
struct Note {
    index: u32,
    woken: Arc<Mutex<Vec<u32>>>,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
    }
}

/// One waker for each place in the slab of attempts, made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    woken: Arc<Mutex<Vec<u32>>>,
    wakers: Vec<Option<Waker>>,
}

impl Wakers {
    pub(crate) fn of(&mut self, index: u32) -> Waker {
        let place = index as usize;
        if self.wakers.len() <= place {
            self.wakers.resize(place + 1, None);
        }
        let woken = &self.woken;
        self.wakers[place]
            .get_or_insert_with(|| Waker::from(Arc::new(Note { index, woken: Arc::clone(woken) })))
            .clone()
    }

    /// One that was woken.
    pub(crate) fn next(&self) -> Option<u32> {
        if self.wakers.is_empty() {
            return None;
        }
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

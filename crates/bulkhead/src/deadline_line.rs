use std::collections::BTreeMap;

use seawall_core::{Timestamp, WaitKey, WaitList};

use crate::queue::Waiter;

/// Those who wait, by deadline; in order of arrival where it is the same.
#[derive(Debug, Default)]
pub(crate) struct DeadlineLine {
    waiting: WaitList<Waiter>,
    by_deadline: BTreeMap<(Timestamp, u64), WaitKey>,
}

impl DeadlineLine {
    pub(crate) const fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn push(&mut self, waiter: Waiter) -> WaitKey {
        let rank = (waiter.call.deadline, waiter.arrival);
        let key = self.waiting.push_back(waiter);
        self.by_deadline.insert(rank, key);
        key
    }

    /// Whose deadline is nearest.
    pub(crate) fn first(&self) -> Option<WaitKey> {
        self.by_deadline.first_key_value().map(|(_, key)| *key)
    }

    /// Whose deadline is farthest, if it is later than `deadline`.
    pub(crate) fn later_than(&self, deadline: Timestamp) -> Option<WaitKey> {
        self.by_deadline.last_key_value().filter(|((last, _), _)| *last > deadline).map(|(_, key)| *key)
    }

    pub(crate) const fn by_arrival(&self) -> &WaitList<Waiter> {
        &self.waiting
    }

    pub(crate) fn get_mut(&mut self, key: WaitKey) -> Option<&mut Waiter> {
        self.waiting.get_mut(key)
    }

    pub(crate) fn unlink(&mut self, key: WaitKey) {
        if let Some(waiter) = self.waiting.get(key) {
            self.by_deadline.remove(&(waiter.call.deadline, waiter.arrival));
        }
        self.waiting.unlink(key);
    }

    pub(crate) fn remove(&mut self, key: WaitKey) -> Option<Waiter> {
        self.unlink(key);
        self.waiting.remove(key)
    }
}

use std::collections::BTreeMap;

use seawall_core::{Timestamp, WaitKey, WaitList};

/// Those of one tenant who wait: in order of arrival, of which any leaves in constant time, and by deadline where that was
/// asked for, of which any comes and leaves in the logarithm of how many there are.
#[derive(Debug)]
pub(crate) struct TenantLine<T> {
    waiting: WaitList<(Option<Rank>, T)>,
    by_deadline: BTreeMap<Rank, WaitKey>,
    arrivals: u64,
}

/// A deadline, and the number of the arrival where it is the same.
type Rank = (Timestamp, u64);

impl<T> TenantLine<T> {
    pub(crate) const fn new() -> Self {
        Self { waiting: WaitList::new(), by_deadline: BTreeMap::new(), arrivals: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts `value` at the end of the line; `deadline` when it goes by that.
    pub(crate) fn push(&mut self, value: T, deadline: Option<Timestamp>) -> WaitKey {
        self.arrivals = self.arrivals.wrapping_add(1);
        let rank = deadline.map(|deadline| (deadline, self.arrivals));
        let key = self.waiting.push_back((rank, value));
        if let Some(rank) = rank {
            self.by_deadline.insert(rank, key);
        }
        key
    }

    pub(crate) fn oldest(&self) -> Option<WaitKey> {
        self.waiting.front()
    }

    pub(crate) fn newest(&self) -> Option<WaitKey> {
        self.waiting.back()
    }

    /// Whose deadline is nearest.
    pub(crate) fn nearest(&self) -> Option<WaitKey> {
        self.by_deadline.first_key_value().map(|(_, key)| *key)
    }

    /// Whose deadline is farthest, and when that is.
    pub(crate) fn farthest(&self) -> Option<(Timestamp, WaitKey)> {
        self.by_deadline.last_key_value().map(|((deadline, _), key)| (*deadline, *key))
    }

    pub(crate) fn get(&self, key: WaitKey) -> Option<&T> {
        self.waiting.get(key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: WaitKey) -> Option<&mut T> {
        self.waiting.get_mut(key).map(|(_, value)| value)
    }

    /// Takes a waiter out of line but keeps it under its key; whether it was in line.
    pub(crate) fn unlink(&mut self, key: WaitKey) -> bool {
        if let Some((Some(rank), _)) = self.waiting.get(key) {
            self.by_deadline.remove(rank);
        }
        self.waiting.unlink(key)
    }

    /// Removes a waiter, in line or not.
    pub(crate) fn remove(&mut self, key: WaitKey) -> Option<T> {
        self.unlink(key);
        self.waiting.remove(key).map(|(_, value)| value)
    }
}

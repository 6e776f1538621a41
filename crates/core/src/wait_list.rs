use std::{fmt, task::Waker};

/// No neighbour.
const NONE: usize = usize::MAX;

/// A line of waiters in order of arrival, of which any can leave in constant time.
///
/// A waiter is first *linked* (in line), then *unlinked* (served, but not gone: its future has still to learn what
/// became of it), then *removed*. Slots are used again, so a line that has once been long allocates no more. Keys of
/// removed waiters are stale and find nothing.
///
/// ```
/// use seawall_core::WaitList;
///
/// let mut line = WaitList::new();
/// let first = line.push_back("first");
/// let second = line.push_back("second");
/// assert_eq!(line.remove(first), Some("first"));
/// assert_eq!(line.front(), Some(second));
/// assert_eq!(line.get(first), None);
/// ```
pub struct WaitList<T> {
    slots: Vec<Slot<T>>,
    free: usize,
    head: usize,
    tail: usize,
    linked: usize,
}

struct Slot<T> {
    value: Option<T>,
    generation: u32,
    linked: bool,
    before: usize,
    after: usize,
}

/// Makes `new` the waker to call, and gives back the one that was: to be dropped outside of any lock, since its last
/// owner may run anything when it goes, an end of a call behind the same lock included.
#[must_use = "dropped here, it may run code of a user's under the lock"]
pub fn replace_waker(known: &mut Waker, new: &Waker) -> Option<Waker> {
    (!known.will_wake(new)).then(|| std::mem::replace(known, new.clone()))
}

/// One waiter of a [`WaitList`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct WaitKey {
    slot: usize,
    generation: u32,
}

impl<T> Default for WaitList<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> WaitList<T> {
    /// An empty line.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, head: NONE, tail: NONE, linked: 0 }
    }

    /// How many are in line.
    pub const fn len(&self) -> usize {
        self.linked
    }

    /// Whether nobody is in line.
    pub const fn is_empty(&self) -> bool {
        self.linked == 0
    }

    /// Puts `value` at the end of the line.
    pub fn push_back(&mut self, value: T) -> WaitKey {
        let before = self.tail;
        let slot = self.slot_for(value);
        let generation = self.slots.get_mut(slot).map_or(0, |new| {
            new.linked = true;
            new.before = before;
            new.after = NONE;
            new.generation
        });
        self.tail = slot;
        match self.slots.get_mut(before) {
            Some(before) => before.after = slot,
            None => self.head = slot,
        }
        self.linked = self.linked.saturating_add(1);
        WaitKey { slot, generation }
    }

    /// Who has been in line longest.
    pub fn front(&self) -> Option<WaitKey> {
        self.key_of(self.head)
    }

    /// Who came last.
    pub fn back(&self) -> Option<WaitKey> {
        self.key_of(self.tail)
    }

    /// Who stands behind `key` in line.
    pub fn behind(&self, key: WaitKey) -> Option<WaitKey> {
        let slot = self.slots.get(key.slot).filter(|slot| slot.generation == key.generation && slot.linked)?;
        self.key_of(slot.after)
    }

    /// Those in line, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::successors(self.front(), |key| self.behind(*key)).filter_map(|key| self.get(key))
    }

    /// The waiter of `key`, in line or not.
    pub fn get(&self, key: WaitKey) -> Option<&T> {
        self.slots.get(key.slot).filter(|slot| slot.generation == key.generation)?.value.as_ref()
    }

    /// The waiter of `key`, in line or not.
    pub fn get_mut(&mut self, key: WaitKey) -> Option<&mut T> {
        self.slots.get_mut(key.slot).filter(|slot| slot.generation == key.generation)?.value.as_mut()
    }

    /// Takes a waiter out of the line but keeps it under its key; whether it was in line.
    pub fn unlink(&mut self, key: WaitKey) -> bool {
        let Some(slot) = self.slots.get_mut(key.slot).filter(|slot| slot.generation == key.generation && slot.linked)
        else {
            return false;
        };
        slot.linked = false;
        let (before, after) = (slot.before, slot.after);
        match self.slots.get_mut(before) {
            Some(before) => before.after = after,
            None => self.head = after,
        }
        match self.slots.get_mut(after) {
            Some(after) => after.before = before,
            None => self.tail = before,
        }
        self.linked = self.linked.saturating_sub(1);
        true
    }

    /// Takes the first out of the line but keeps it under its key.
    pub fn unlink_front(&mut self) -> Option<&mut T> {
        let key = self.front()?;
        self.unlink(key);
        self.get_mut(key)
    }

    /// Removes a waiter, in line or not.
    pub fn remove(&mut self, key: WaitKey) -> Option<T> {
        self.unlink(key);
        let free = self.free;
        let slot = self.slots.get_mut(key.slot).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.after = free;
        self.free = key.slot;
        Some(value)
    }

    fn key_of(&self, slot: usize) -> Option<WaitKey> {
        self.slots.get(slot).map(|found| WaitKey { slot, generation: found.generation })
    }

    fn slot_for(&mut self, value: T) -> usize {
        let slot = self.free;
        if let Some(free) = self.slots.get_mut(slot) {
            self.free = free.after;
            free.value = Some(value);
            return slot;
        }
        self.slots.push(Slot { value: Some(value), generation: 0, linked: false, before: NONE, after: NONE });
        self.slots.len().saturating_sub(1)
    }
}

impl<T> fmt::Debug for WaitList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitList").field("len", &self.linked).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slot_is_used_again_and_the_old_key_finds_nothing() {
        let mut line = WaitList::new();
        let old = line.push_back(1);
        assert_eq!(line.remove(old), Some(1));

        let new = line.push_back(2);

        assert_eq!(line.slots.len(), 1);
        assert_eq!(line.get(old), None);
        assert_eq!(line.remove(old), None);
        assert_eq!(line.get(new), Some(&2));
    }

    #[test]
    fn an_unlinked_waiter_is_out_of_line_but_not_gone() {
        let mut line = WaitList::new();
        let key = line.push_back(7);

        assert!(line.unlink(key));

        assert!(!line.unlink(key));
        assert!(line.is_empty());
        assert_eq!(line.front(), None);
        assert_eq!(line.get(key), Some(&7));
        assert_eq!(line.remove(key), Some(7));
    }

    proptest! {
        #[test]
        fn a_line_keeps_the_order_of_a_plain_vector(steps in prop::collection::vec((0..5_u8, any::<prop::sample::Index>()), 0..200)) {
            let mut line = WaitList::new();
            let mut plain: Vec<(WaitKey, usize)> = Vec::new();
            let mut aside: Vec<(WaitKey, usize)> = Vec::new();
            for (step, (action, index)) in steps.into_iter().enumerate() {
                match action {
                    0 | 1 => plain.push((line.push_back(step), step)),
                    2 if !plain.is_empty() => {
                        let (key, value) = plain.remove(index.index(plain.len()));
                        if index.index(2) == 0 {
                            prop_assert_eq!(line.remove(key), Some(value));
                        } else {
                            prop_assert!(line.unlink(key));
                            aside.push((key, value));
                        }
                    }
                    3 if !aside.is_empty() => {
                        let (key, value) = aside.remove(index.index(aside.len()));
                        prop_assert_eq!(line.remove(key), Some(value));
                    }
                    4 => {
                        let first = (!plain.is_empty()).then(|| plain.remove(0));
                        prop_assert_eq!(line.unlink_front().map(|value| *value), first.map(|(_, value)| value));
                        aside.extend(first);
                    }
                    _ => {}
                }
                prop_assert_eq!(line.len(), plain.len());
                prop_assert_eq!(line.front(), plain.first().map(|(key, _)| *key));
                prop_assert_eq!(line.back(), plain.last().map(|(key, _)| *key));
                prop_assert!(line.iter().eq(plain.iter().map(|(_, value)| value)));
                for (key, _) in &aside {
                    prop_assert_eq!(line.behind(*key), None);
                }
                for (key, value) in plain.iter().chain(&aside) {
                    prop_assert_eq!(line.get(*key), Some(value));
                }
            }
        }
    }
}

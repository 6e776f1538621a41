use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{builder::Hook, change::Change};

/// Those who are told of changes, and what they have not been told yet.
///
/// One thread at a time tells, in order and without holding the lock; a change that comes up meanwhile, even from within
/// a hook, is told by the same thread afterwards.
#[derive(Default)]
pub(crate) struct Hooks {
    listeners: Vec<Hook>,
    waiting: VecDeque<Change>,
    telling: bool,
}

impl Hooks {
    pub(crate) fn add(&mut self, hook: Hook) {
        self.listeners.push(hook);
    }

    pub(crate) fn push(&mut self, change: Change) {
        if !self.listeners.is_empty() {
            self.waiting.push_back(change);
        }
    }

    /// What to tell next, and whom; `None` when there is nothing or somebody else is telling.
    pub(crate) fn begin(&mut self) -> Option<(Change, Vec<Hook>)> {
        if self.telling {
            return None;
        }
        let change = self.waiting.pop_front()?;
        self.telling = true;
        Some((change, self.listeners.clone()))
    }

    pub(crate) const fn end(&mut self) {
        self.telling = false;
    }
}

/// A hook that panics spoils neither the call that happened to change the state nor the other hooks.
pub(crate) fn tell(change: &Change, hooks: &[Hook]) {
    for hook in hooks {
        let _ = catch_unwind(AssertUnwindSafe(|| hook(change)));
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("listeners", &self.listeners.len()).finish_non_exhaustive()
    }
}

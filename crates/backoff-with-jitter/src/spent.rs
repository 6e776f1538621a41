use std::cell::Cell;

thread_local! {
    /// Whether the failure that is on its way out has used up the attempts, or the budget, of a retry further in.
    static SPENT: Cell<bool> = const { Cell::new(false) };
}

/// A piece of a call begins: what happened on this thread before does not concern it.
#[inline]
pub(crate) fn forget() {
    SPENT.set(false);
}

/// A retry gives up on a call, whose outcome goes to the caller in this same poll.
#[cold]
pub(crate) fn mark() {
    SPENT.set(true);
}

/// Whether a retry further in has given up on the outcome at hand.
#[cold]
pub(crate) fn take() -> bool {
    SPENT.replace(false)
}

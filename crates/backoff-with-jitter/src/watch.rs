#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::ops::Deref;

use seawall_core::{Observer, Outcome, Shared};

/// Something whose observer hears how calls end.
pub(crate) trait Watched {
    type Observer: Observer;

    fn observer(&self) -> &Self::Observer;
}

/// What one call shares with others, and its one report to the observer. It is made before the service is called, so a
/// panic in there is reported too. Where nobody listens to calls it is the shared part alone.
#[derive(Debug)]
pub(crate) struct Watch<T: Watched + 'static> {
    shared: Shared<T>,
    state: State,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Reported,
}

impl<T: Watched> Watch<T> {
    #[inline(always)]
    pub(crate) fn new(shared: Shared<T>) -> Self {
        let state = if T::Observer::PER_CALL { State::Waiting } else { State::Reported };
        Self { shared, state }
    }

    /// From here on a drop is a panic.
    #[inline(always)]
    pub(crate) fn enter(&mut self) {
        if T::Observer::PER_CALL && self.state == State::Waiting {
            self.state = State::Running;
        }
    }

    /// The piece of the call that was entered is over.
    #[inline(always)]
    pub(crate) fn leave(&mut self) {
        if T::Observer::PER_CALL && self.state == State::Running {
            self.state = State::Waiting;
        }
    }

    /// Runs a piece of the call: a panic inside is reported as one.
    #[inline(always)]
    pub(crate) fn around<R>(&mut self, piece: impl FnOnce() -> R) -> R {
        self.enter();
        let result = piece();
        self.leave();
        result
    }

    /// The same call in another place; this one has nothing left to report.
    pub(crate) fn take(&mut self) -> Self {
        let state = std::mem::replace(&mut self.state, State::Reported);
        Self { shared: self.shared.clone(), state }
    }

    /// The call ends.
    #[inline(always)]
    pub(crate) fn report(&mut self, outcome: Outcome) {
        if T::Observer::PER_CALL && self.state != State::Reported {
            self.state = State::Reported;
            self.shared.observer().on_call(outcome);
        }
    }
}

impl<T: Watched> Deref for Watch<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.shared
    }
}

impl<T: Watched> Drop for Watch<T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.report(if self.state == State::Running { Outcome::Panicked } else { Outcome::Cancelled });
    }
}

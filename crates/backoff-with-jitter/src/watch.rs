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

/// How far the one report of a call to its observer has come. Where nobody listens to calls it is made already.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Waiting,
    Running,
    Made,
}

impl Report {
    #[inline(always)]
    pub(crate) const fn new<T: Watched>() -> Self {
        if T::Observer::PER_CALL { Self::Waiting } else { Self::Made }
    }

    /// From here on a drop is a panic.
    #[inline(always)]
    pub(crate) fn enter<T: Watched>(&mut self) {
        if T::Observer::PER_CALL && *self == Self::Waiting {
            *self = Self::Running;
        }
    }

    /// The piece of the call that was entered is over.
    #[inline(always)]
    pub(crate) fn leave<T: Watched>(&mut self) {
        if T::Observer::PER_CALL && *self == Self::Running {
            *self = Self::Waiting;
        }
    }

    /// The call ends.
    #[inline(always)]
    pub(crate) fn make<T: Watched>(&mut self, watched: &T, outcome: Outcome) {
        if T::Observer::PER_CALL && *self != Self::Made {
            *self = Self::Made;
            watched.observer().on_call(outcome);
        }
    }

    /// The call is dropped.
    #[inline(always)]
    pub(crate) fn abandon<T: Watched>(&mut self, watched: &T) {
        if T::Observer::PER_CALL && *self != Self::Made {
            self.make(watched, Outcome::of_drop(*self == Self::Running));
        }
    }
}

/// What one call shares with others, and its one report to the observer. It is made before the service is called, so a
/// panic in there is reported too.
#[derive(Debug)]
pub(crate) struct Watch<T: Watched + 'static> {
    shared: Shared<T>,
    report: Report,
}

impl<T: Watched> Watch<T> {
    #[inline(always)]
    pub(crate) const fn new(shared: Shared<T>) -> Self {
        Self { shared, report: Report::new::<T>() }
    }

    /// The same call in another place.
    pub(crate) const fn going_on(shared: Shared<T>, report: Report) -> Self {
        Self { shared, report }
    }

    /// From here on a drop is a panic.
    pub(crate) fn enter(&mut self) {
        self.report.enter::<T>();
    }

    /// The piece of the call that was entered is over.
    pub(crate) fn leave(&mut self) {
        self.report.leave::<T>();
    }

    /// Runs a piece of the call: a panic inside is reported as one.
    #[inline(always)]
    pub(crate) fn around<R>(&mut self, piece: impl FnOnce() -> R) -> R {
        self.report.enter::<T>();
        let result = piece();
        self.report.leave::<T>();
        result
    }

    /// The call ends.
    pub(crate) fn report(&mut self, outcome: Outcome) {
        self.report.make(&*self.shared, outcome);
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
    fn drop(&mut self) {
        self.report.abandon(&*self.shared);
    }
}

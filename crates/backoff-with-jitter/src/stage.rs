#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{mem::ManuallyDrop, pin::Pin, sync::Arc};

use seawall_core::{Observer, Shared};

use crate::watch::{Report, Watch, Watched};

/// What a call has apart from its first attempt: the template that it shares with others, and everything that follows a
/// failure, in one box made then.
///
/// Nothing but values leaves it, and its drop is one test and one call: so the drop of a whole future is short enough to
/// be in line, nothing points into the future, and it stands in registers. What it shares stays the same until then, or
/// the loop that polls it would ask again in each round.
#[derive(Debug)]
pub(crate) struct Stage<T: Watched + 'static, L> {
    held: ManuallyDrop<Held<T>>,
    later: ManuallyDrop<Option<Pin<Box<L>>>>,
    report: Report,
}

/// A [`Shared`] that can be moved out of what is dropped.
#[derive(Debug)]
enum Held<T: 'static> {
    Counted(Arc<T>),
    Leaked(&'static T),
    Nothing,
}

impl<T> Held<T> {
    #[inline(always)]
    fn get(&self) -> Option<&T> {
        match self {
            Self::Counted(shared) => Some(shared),
            Self::Leaked(shared) => Some(shared),
            Self::Nothing => None,
        }
    }
}

impl<T: Watched, L> Stage<T, L> {
    /// A call that begins.
    #[inline(always)]
    pub(crate) fn first(shared: Shared<T>) -> Self {
        let held = match shared {
            Shared::Counted(shared) => Held::Counted(shared),
            Shared::Leaked(shared) => Held::Leaked(shared),
        };
        Self { held: ManuallyDrop::new(held), later: ManuallyDrop::new(None), report: Report::new::<T>() }
    }

    /// Runs a piece of the first attempt: a panic inside is reported as one.
    #[inline(always)]
    pub(crate) fn around<R>(&mut self, piece: impl FnOnce() -> R) -> R {
        self.report.enter::<T>();
        let result = piece();
        self.report.leave::<T>();
        result
    }

    /// What the first attempt needs.
    #[inline(always)]
    pub(crate) fn first_mut(&mut self) -> Option<(&T, &mut Report)> {
        match &*self.held {
            Held::Counted(shared) => Some((shared, &mut self.report)),
            Held::Leaked(shared) => Some((shared, &mut self.report)),
            Held::Nothing => None,
        }
    }

    /// The first attempt has failed: whoever goes on with the call reports on it.
    #[inline(always)]
    pub(crate) fn hand_on(&mut self) -> Option<Watch<T>> {
        let report = std::mem::replace(&mut self.report, Report::Made);
        let shared = match *self.held {
            Held::Counted(ref shared) => Shared::Counted(Arc::clone(shared)),
            Held::Leaked(shared) => Shared::Leaked(shared),
            Held::Nothing => return None,
        };
        Some(Watch::going_on(shared, report))
    }

    /// The call goes on.
    #[inline(always)]
    pub(crate) fn set_later(&mut self, later: Pin<Box<L>>) -> Pin<&mut L> {
        self.later.insert(later).as_mut()
    }

    #[inline(always)]
    pub(crate) fn later_mut(&mut self) -> Option<Pin<&mut L>> {
        (*self.later).as_mut().map(Pin::as_mut)
    }

    pub(crate) fn later(&self) -> Option<&L> {
        self.later.as_deref()
    }
}

impl<T: Watched, L> Drop for Stage<T, L> {
    #[inline(always)]
    fn drop(&mut self) {
        if let (true, Some(shared)) = (T::Observer::PER_CALL, self.held.get()) {
            self.report.abandon(shared);
        }
        let counted = match std::mem::replace(&mut *self.held, Held::Nothing) {
            Held::Counted(shared) => Some(shared),
            Held::Leaked(_) | Held::Nothing => None,
        };
        let later = self.later.take();
        if counted.is_some() || later.is_some() {
            discard(counted, later);
        }
    }
}

/// Out of line, and told what it drops by value.
#[inline(never)]
fn discard<T, L>(counted: Option<Arc<T>>, later: Option<Pin<Box<L>>>) {
    match later {
        Some(later) => discard_later(counted, later),
        None => drop(counted),
    }
}

#[cold]
#[inline(never)]
fn discard_later<T, L>(counted: Option<Arc<T>>, later: Pin<Box<L>>) {
    drop(later);
    drop(counted);
}

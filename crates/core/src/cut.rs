use std::cell::Cell;

use crate::{Outcome, Rejection};

thread_local! {
    /// Why the calls end that are dropped right now, where it is not that their caller has gone.
    static CUT: Cell<Option<Outcome>> = const { Cell::new(None) };
}

/// While it lives, what is dropped on this thread is dropped because of a rejection: gates further in whose call ends by that
/// hear [`Outcome::of_rejection`], such as [`Outcome::TimedOut`], instead of [`Outcome::Cancelled`]. For layers that bound the
/// time of what they call. Afterwards the thread is as it was, also when what was dropped panicked.
///
/// ```
/// use seawall_core::{Cut, Outcome, Pattern, Reason, Rejection};
///
/// let late = Rejection::new(Pattern::Timeout, Reason::AttemptTimeout);
/// let cut = Cut::because(&late);
/// assert_eq!(Outcome::of_drop(false), Outcome::TimedOut);
/// drop(cut);
/// assert_eq!(Outcome::of_drop(false), Outcome::Cancelled);
/// ```
#[derive(Debug)]
#[must_use = "it says why calls end while it lives"]
pub struct Cut {
    before: Option<Outcome>,
}

impl Cut {
    /// From here on calls end because of `rejection`.
    #[cold]
    pub fn because(rejection: &Rejection) -> Self {
        Self { before: CUT.replace(Some(Outcome::of_rejection(rejection))) }
    }
}

impl Drop for Cut {
    #[cold]
    fn drop(&mut self) {
        CUT.set(self.before);
    }
}

impl Outcome {
    /// How a call ended whose future was dropped before it had an answer: it panicked, or somebody further out [`Cut`] it,
    /// or its caller has gone.
    #[cold]
    pub fn of_drop(panicked: bool) -> Self {
        if panicked { Self::Panicked } else { CUT.get().unwrap_or(Self::Cancelled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pattern, Reason};

    fn late(reason: Reason) -> Rejection {
        Rejection::new(Pattern::Timeout, reason)
    }

    #[test]
    fn a_cut_within_a_cut_has_its_own_reason_and_the_outer_one_goes_on() {
        let outer = Cut::because(&late(Reason::TotalTimeout));
        let inner = {
            let _inner = Cut::because(&late(Reason::DeadlineExceeded));
            Outcome::of_drop(false)
        };
        let ends = [inner, Outcome::of_drop(false), Outcome::of_drop(true)];
        drop(outer);

        assert_eq!(ends, [Outcome::DeadlineExceeded, Outcome::TimedOut, Outcome::Panicked]);
    }

    #[test]
    fn a_panic_in_what_is_dropped_leaves_no_mark_behind() {
        let caught = std::panic::catch_unwind(|| {
            let _cut = Cut::because(&late(Reason::AttemptTimeout));
            panic!("in a drop")
        });

        assert!(caught.is_err());
        assert_eq!(Outcome::of_drop(false), Outcome::Cancelled);
    }
}

use std::cell::Cell;

use crate::{Outcome, Rejection};

thread_local! {
    /// Why the calls end that are dropped right now, where it is not that their caller has gone.
    static CUT: Cell<Option<Outcome>> = const { Cell::new(None) };
}

/// Puts the thread back as it was, also when what was dropped panicked.
struct Restored(Option<Outcome>);

impl Drop for Restored {
    fn drop(&mut self) {
        CUT.set(self.0);
    }
}

/// Drops a call because of `rejection`: gates further in whose call ends in `drop` hear [`Outcome::of_rejection`], such as
/// [`Outcome::TimedOut`], instead of [`Outcome::Cancelled`]. For layers that bound the time of what they call.
///
/// ```
/// use seawall_core::{Outcome, Pattern, Reason, Rejection, cut};
///
/// let late = Rejection::new(Pattern::Timeout, Reason::AttemptTimeout);
/// assert_eq!(cut(&late, || Outcome::of_drop(false)), Outcome::TimedOut);
/// assert_eq!(Outcome::of_drop(false), Outcome::Cancelled);
/// ```
#[cold]
pub fn cut<T>(rejection: &Rejection, drop: impl FnOnce() -> T) -> T {
    let _restored = Restored(CUT.replace(Some(Outcome::of_rejection(rejection))));
    drop()
}

impl Outcome {
    /// How a call ended whose future was dropped before it had an answer: it panicked, or somebody further out [`cut`] it,
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
        let ends = cut(&late(Reason::TotalTimeout), || {
            let inner = cut(&late(Reason::DeadlineExceeded), || Outcome::of_drop(false));
            [inner, Outcome::of_drop(false), Outcome::of_drop(true)]
        });

        assert_eq!(ends, [Outcome::DeadlineExceeded, Outcome::TimedOut, Outcome::Panicked]);
    }

    #[test]
    fn a_panic_in_what_is_dropped_leaves_no_mark_behind() {
        let caught = std::panic::catch_unwind(|| cut(&late(Reason::AttemptTimeout), || panic!("in a drop")));

        assert!(caught.is_err());
        assert_eq!(Outcome::of_drop(false), Outcome::Cancelled);
    }
}

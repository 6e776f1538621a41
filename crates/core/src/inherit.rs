use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::Timestamp;

/// Until when a call may take, and whether that is the end of a total timeout.
#[derive(Copy, Clone, Debug)]
struct End {
    at: Timestamp,
    is_total: bool,
}

thread_local! {
    static END: Cell<End> = const { Cell::new(End { at: Timestamp::MAX, is_total: false }) };
}

impl End {
    /// Holds on this thread, where it is earlier than what holds, until what is given is dropped.
    #[inline]
    fn begin(self) -> Before {
        let before = Before(END.get());
        if self.at < before.0.at {
            END.set(self);
        }
        before
    }
}

/// The deadline of the call that the current task works for, where an [`InheritDeadline`] around it says so.
///
/// It belongs to the clock that it was made with: one process, one clock. A task that is spawned inherits nothing.
#[inline]
pub fn inherited_deadline() -> Option<Timestamp> {
    Some(END.get().at).filter(|deadline| *deadline < Timestamp::MAX)
}

/// Whether the inherited deadline is the end of a total timeout.
#[inline]
pub(crate) fn inherits_total() -> bool {
    END.get().is_total
}

pin_project! {
    /// Lets the calls that a future makes inherit a deadline. Inside another one the earlier of the two holds: a deadline
    /// only ever comes closer.
    ///
    /// ```
    /// use seawall_core::{InheritDeadline, Timestamp, inherited_deadline};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let at = Timestamp::from_nanos(7);
    /// let seen = InheritDeadline::new(at, async { inherited_deadline() }).await;
    /// assert_eq!((seen, inherited_deadline()), (Some(at), None));
    /// # }
    /// ```
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InheritDeadline<F> {
        #[pin]
        inner: F,
        end: End,
    }
}

impl<F> InheritDeadline<F> {
    /// `inner`, whose calls have until `deadline`; [`Timestamp::MAX`]: no deadline of their own.
    #[inline]
    pub const fn new(deadline: Timestamp, inner: F) -> Self {
        Self { inner, end: End { at: deadline, is_total: false } }
    }

    /// The same for the end of a total timeout, which its calls inherit as
    /// [`CallContext::deadline_is_total`](crate::CallContext::deadline_is_total).
    #[inline]
    pub const fn until_total(end: Timestamp, inner: F) -> Self {
        Self { inner, end: End { at: end, is_total: true } }
    }

    /// `inner`, whose calls inherit wherever it is polled, on another task for one, what those made here do.
    #[inline]
    pub fn from_here(inner: F) -> Self {
        Self { inner, end: END.get() }
    }

    /// Makes a call of what it holds, a request, say: what is read meanwhile is inherited as well.
    #[inline]
    pub fn begin<G>(self, call: impl FnOnce(F) -> G) -> InheritDeadline<G> {
        let Self { inner, end } = self;
        let _before = end.begin();
        InheritDeadline { inner: call(inner), end }
    }
}

/// Puts the deadline before back, also when the future panics.
struct Before(End);

impl Drop for Before {
    #[inline]
    fn drop(&mut self) {
        END.set(self.0);
    }
}

impl<F: Future> Future for InheritDeadline<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _before = this.end.begin();
        this.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        pin::pin,
        task::Waker,
    };

    use super::*;
    use crate::CallContext;

    fn poll<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_deadline_is_never_extended_by_a_later_one_inside() {
        let at = Timestamp::from_nanos;

        let seen =
            |inner| poll(InheritDeadline::new(at(5), InheritDeadline::new(at(inner), async { inherited_deadline() })));

        assert_eq!((seen(9), seen(3)), (Poll::Ready(Some(at(5))), Poll::Ready(Some(at(3)))));
        assert_eq!(inherited_deadline(), None);
    }

    #[test]
    fn the_earlier_of_a_deadline_and_the_end_of_a_total_timeout_says_which_it_is() {
        let at = Timestamp::from_nanos;
        let seen = |total, deadline| {
            let inside = InheritDeadline::new(at(deadline), async { CallContext::inherited() });
            poll(InheritDeadline::until_total(at(total), inside))
        };

        assert_eq!(seen(5, 9), Poll::Ready(CallContext::new().with_total_deadline(at(5))));
        assert_eq!(seen(9, 5), Poll::Ready(CallContext::new().with_deadline(at(5))));
    }

    #[test]
    fn what_a_call_reads_as_it_is_made_is_inherited_too() {
        let end = Timestamp::from_nanos(5);

        let made = InheritDeadline::new(end, 7).begin(|request| std::future::ready((request, inherited_deadline())));

        assert_eq!((poll(made), inherited_deadline()), (Poll::Ready((7, Some(end))), None));
    }

    #[test]
    fn what_is_taken_along_is_inherited_elsewhere() {
        let end = Timestamp::from_nanos(5);
        let taken = InheritDeadline::until_total(end, ())
            .begin(|()| InheritDeadline::from_here(async { CallContext::inherited() }));

        assert_eq!(poll(taken.inner), Poll::Ready(CallContext::new().with_total_deadline(end)));
    }

    #[test]
    fn a_panic_inside_leaves_no_deadline_behind() {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _ = poll(InheritDeadline::new(Timestamp::ZERO, async { panic!("inside") }));
        }));

        assert!(caught.is_err());
        assert_eq!(inherited_deadline(), None);
    }
}

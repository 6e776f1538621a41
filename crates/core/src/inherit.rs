use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::Timestamp;

thread_local! {
    static DEADLINE: Cell<Timestamp> = const { Cell::new(Timestamp::MAX) };
}

/// The deadline of the call that the current task works for, where an [`InheritDeadline`] around it says so.
///
/// It belongs to the clock that it was made with: one process, one clock. A task that is spawned inherits nothing.
#[inline]
pub fn inherited_deadline() -> Option<Timestamp> {
    Some(DEADLINE.get()).filter(|deadline| *deadline < Timestamp::MAX)
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
        deadline: Timestamp,
    }
}

impl<F> InheritDeadline<F> {
    /// `inner`, whose calls have until `deadline`; [`Timestamp::MAX`]: no deadline of their own.
    #[inline]
    pub const fn new(deadline: Timestamp, inner: F) -> Self {
        Self { inner, deadline }
    }
}

/// Puts the deadline before back, also when the future panics.
struct Before(Timestamp);

impl Drop for Before {
    #[inline]
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

impl<F: Future> Future for InheritDeadline<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let before = Before(DEADLINE.get());
        DEADLINE.set(before.0.min(*this.deadline));
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
    fn a_panic_inside_leaves_no_deadline_behind() {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _ = poll(InheritDeadline::new(Timestamp::ZERO, async { panic!("inside") }));
        }));

        assert!(caught.is_err());
        assert_eq!(inherited_deadline(), None);
    }
}

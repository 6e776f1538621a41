use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::Rejection;

/// What a gate says to a call.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a call goes on, is refused, or waits")]
pub enum Admission<T, W = NoWait> {
    /// It goes on; the ticket comes back to [`Gate::finish`](crate::Gate::finish).
    Admitted(T),
    /// It does not.
    Refused(Rejection),
    /// It waits for its turn.
    Queued(W),
}

/// The answer of a gate that lets nobody wait.
impl<T, W> From<Result<T, Rejection>> for Admission<T, W> {
    #[inline]
    fn from(decided: Result<T, Rejection>) -> Self {
        match decided {
            Ok(ticket) => Self::Admitted(ticket),
            Err(rejection) => Self::Refused(rejection),
        }
    }
}

/// The wait of a gate that never lets anybody wait. Nothing can have this type.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "empty for good")]
pub enum NoWait {}

/// A place in a gate's queue. Dropping it leaves the queue.
pub trait Wait<T>: Send + 'static {
    /// Polls for the turn.
    fn poll_ticket(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Rejection>>;
}

impl<T> Wait<T> for NoWait {
    fn poll_ticket(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<T, Rejection>> {
        match *self {}
    }
}

impl<T, W: Future<Output = Result<T, Rejection>> + Send + 'static> Wait<T> for W {
    fn poll_ticket(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Rejection>> {
        self.poll(cx)
    }
}

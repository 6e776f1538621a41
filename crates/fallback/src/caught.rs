use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use seawall_core::Timestamp;

use crate::{Alternative, Case, Combine, Reply};

/// What a piece of an alternative's work comes to, or nothing where it panics. What is seen after a panic is the request and
/// the service's outcome, which are only lent.
pub(crate) fn catch<T>(piece: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(piece)).ok()
}

/// An alternative whose panics are failures of its own. Made by [`Combine::caught`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Caught<A> {
    alternative: A,
}

impl<A> Caught<A> {
    pub(crate) const fn new(alternative: A) -> Self {
        Self { alternative }
    }
}

impl<A> Combine for Caught<A> {}

/// How an alternative failed whose panics are [caught](Combine::caught).
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaughtError<F> {
    /// As it said itself.
    #[error(transparent)]
    Failed(#[from] F),
    /// It panicked.
    #[error("the fallback panicked")]
    Panicked,
}

pin_project! {
    /// An alternative at work on a call, or one that has panicked.
    pub struct CaughtRun<R> {
        #[pin]
        run: Option<R>,
    }
}

impl<A: Alternative<K, Res, Err>, K, Res, Err> Alternative<K, Res, Err> for Caught<A> {
    type Error = CaughtError<A::Error>;
    type Run = CaughtRun<A::Run>;

    fn start(&self, case: &Case<'_, K, Res, Err>) -> Self::Run {
        CaughtRun { run: catch(|| self.alternative.start(case)) }
    }

    fn poll(
        &self,
        run: Pin<&mut Self::Run>,
        case: &Case<'_, K, Res, Err>,
        cx: &mut Context<'_>,
    ) -> Poll<Reply<Res, Self::Error>> {
        let mut slot = run.project().run;
        let Some(run) = slot.as_mut().as_pin_mut() else { return Poll::Ready(Reply::Fail(CaughtError::Panicked)) };
        // Its work is not gone on with after a panic.
        let Some(polled) = catch(|| self.alternative.poll(run, case, cx)) else {
            slot.set(None);
            return Poll::Ready(Reply::Fail(CaughtError::Panicked));
        };
        polled.map(|reply| reply.map_error(CaughtError::Failed))
    }

    #[inline]
    fn remember(&self, request: &K, response: &Res, now: impl FnOnce() -> Timestamp) {
        self.alternative.remember(request, response, now);
    }
}

impl<R> fmt::Debug for CaughtRun<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaughtRun").field("panicked", &self.run.is_none()).finish()
    }
}

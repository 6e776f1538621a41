use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use seawall_core::Timestamp;

use crate::{Alternative, Case, Combine, FallbackWhen, Reply};

/// An alternative that answers only in some cases. Made by [`Combine::only`].
#[derive(Copy, Clone)]
pub struct Only<A, W> {
    alternative: A,
    when: W,
}

impl<A, W> Only<A, W> {
    pub(crate) const fn new(alternative: A, when: W) -> Self {
        Self { alternative, when }
    }
}

impl<A, W> Combine for Only<A, W> {}

pin_project! {
    /// An alternative at work on a call, or not.
    pub struct OnlyRun<R> {
        #[pin]
        run: Option<R>,
    }
}

impl<A, W, K, Res, Err> Alternative<K, Res, Err> for Only<A, W>
where
    A: Alternative<K, Res, Err>,
    W: FallbackWhen<Res, Err>,
{
    type Error = A::Error;
    type Run = OnlyRun<A::Run>;

    fn start(&self, case: &Case<'_, K, Res, Err>) -> Self::Run {
        let applies = self.when.applies(case.cause, case.outcome);
        OnlyRun { run: applies.then(|| self.alternative.start(case)) }
    }

    fn poll(
        &self,
        run: Pin<&mut Self::Run>,
        case: &Case<'_, K, Res, Err>,
        cx: &mut Context<'_>,
    ) -> Poll<Reply<Res, A::Error>> {
        run.project().run.as_pin_mut().map_or(Poll::Ready(Reply::Pass), |run| self.alternative.poll(run, case, cx))
    }

    #[inline]
    fn remember(&self, request: &K, response: &Res, now: impl FnOnce() -> Timestamp) {
        self.alternative.remember(request, response, now);
    }
}

impl<A: fmt::Debug, W> fmt::Debug for Only<A, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Only").field("alternative", &self.alternative).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for OnlyRun<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnlyRun").field("applies", &self.run.is_some()).finish()
    }
}

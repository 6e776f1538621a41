use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use seawall_core::Timestamp;

use crate::{Alternative, Case, Combine, Degraded, Reply};

/// An alternative under another name. Made by [`Combine::named`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Named<A> {
    alternative: A,
    source: &'static str,
}

impl<A> Named<A> {
    pub(crate) const fn new(alternative: A, source: &'static str) -> Self {
        Self { alternative, source }
    }
}

impl<A> Combine for Named<A> {}

impl<A: Alternative<K, Res, Err>, K, Res, Err> Alternative<K, Res, Err> for Named<A> {
    type Error = A::Error;
    type Run = A::Run;

    fn start(&self, case: &Case<'_, K, Res, Err>) -> A::Run {
        self.alternative.start(case)
    }

    fn poll(
        &self,
        run: Pin<&mut A::Run>,
        case: &Case<'_, K, Res, Err>,
        cx: &mut Context<'_>,
    ) -> Poll<Reply<Res, A::Error>> {
        Poll::Ready(match ready!(self.alternative.poll(run, case, cx)) {
            Reply::Answer(answer, degraded) => Reply::Answer(answer, Degraded { source: self.source, ..degraded }),
            other => other,
        })
    }

    #[inline]
    fn remember(&self, request: &K, response: &Res, now: impl FnOnce() -> Timestamp) {
        self.alternative.remember(request, response, now);
    }
}

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::Timestamp;

use crate::{Alternative, Case, Combine, Flaw, Reply, caught::catch};

/// Two alternatives, one after the other: the second where the first fails, panics or has nothing to say. Made by [`Combine::then`]; chains of chains are longer chains.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain<A, B> {
    first: A,
    second: B,
}

impl<A, B> Chain<A, B> {
    pub(crate) const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A, B> Combine for Chain<A, B> {}

/// How the alternatives of a [`Chain`] failed. One that had nothing to say, or nothing good, has no error.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainError<A, B> {
    /// How the first failed.
    pub first: Option<A>,
    /// How the second failed.
    pub second: Option<B>,
}

impl<A: fmt::Display, B: fmt::Display> fmt::Display for ChainError<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.first, &self.second) {
            (Some(first), Some(second)) => write!(f, "{first}; {second}"),
            (Some(first), None) => first.fmt(f),
            (None, Some(second)) => second.fmt(f),
            (None, None) => f.write_str("no alternative had an answer"),
        }
    }
}

impl<A, B> std::error::Error for ChainError<A, B>
where
    A: std::error::Error,
    B: std::error::Error,
{
}

pin_project! {
    /// A chain at work on a call.
    #[project = ChainProjection]
    pub struct ChainRun<A, B, F> {
        // Unset where it panicked as it began.
        #[pin]
        first: Option<A>,
        #[pin]
        second: Option<B>,
        failed: Option<F>,
        flaw: Option<Flaw>,
    }
}

impl<A, B, K, Res, Err> Alternative<K, Res, Err> for Chain<A, B>
where
    A: Alternative<K, Res, Err>,
    B: Alternative<K, Res, Err>,
{
    type Error = ChainError<A::Error, B::Error>;
    type Run = ChainRun<A::Run, B::Run, A::Error>;

    fn start(&self, case: &Case<'_, K, Res, Err>) -> Self::Run {
        ChainRun { first: catch(|| self.first.start(case)), second: None, failed: None, flaw: None }
    }

    fn poll(
        &self,
        run: Pin<&mut Self::Run>,
        case: &Case<'_, K, Res, Err>,
        cx: &mut Context<'_>,
    ) -> Poll<Reply<Res, Self::Error>> {
        let mut run = run.project();
        if run.second.is_none() {
            let first = run.first.as_mut().as_pin_mut();
            match ready!(
                catch(|| first.map(|first| self.first.poll(first, case, cx)))
                    .flatten()
                    .unwrap_or(Poll::Ready(Reply::Flawed(Flaw::Panic)))
            ) {
                Reply::Answer(answer, degraded) => return Poll::Ready(Reply::Answer(answer, degraded)),
                Reply::Pass => {}
                Reply::Fail(error) => *run.failed = Some(error),
                Reply::Flawed(flaw) => *run.flaw = Some(flaw),
            }
            run.second.set(Some(self.second.start(case)));
        }
        let Some(second) = run.second.as_pin_mut() else { return Poll::Pending };
        let (first, second) = match ready!(self.second.poll(second, case, cx)) {
            Reply::Answer(answer, degraded) => return Poll::Ready(Reply::Answer(answer, degraded)),
            Reply::Pass => (run.failed.take(), None),
            Reply::Fail(error) => (run.failed.take(), Some(error)),
            Reply::Flawed(flaw) => {
                *run.flaw = Some(flaw);
                (run.failed.take(), None)
            }
        };
        Poll::Ready(match (first, second, *run.flaw) {
            (None, None, None) => Reply::Pass,
            (None, None, Some(flaw)) => Reply::Flawed(flaw),
            (first, second, _) => Reply::Fail(ChainError { first, second }),
        })
    }

    #[inline]
    fn remember(&self, request: &K, response: &Res, now: impl FnOnce() -> Timestamp) {
        let mut stamp = None;
        let mut now = Some(now);
        // One reading serves both, and none is made where neither asks.
        let mut read = || *stamp.get_or_insert_with(|| now.take().map_or(Timestamp::ZERO, |now| now()));
        self.first.remember(request, response, &mut read);
        self.second.remember(request, response, &mut read);
    }
}

impl<A, B, F> fmt::Debug for ChainRun<A, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainRun").field("second", &self.second.is_some()).finish_non_exhaustive()
    }
}

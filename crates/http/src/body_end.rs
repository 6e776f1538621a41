use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use seawall_core::{Class, Environment, Gate, Guard, Outcome, Settle, Timestamp};

/// Ends a call with the last byte of its body, so that a permit lasts as long as the work does. For bulkheads and
/// limiters.
///
/// The latency is still that of the head, and so is the verdict, except that a body which fails makes the call a
/// failure. A body that is dropped before its end settles with the head's verdict.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct AtBodyEnd;

impl<B: Body> Settle<Response<B>> for AtBodyEnd {
    type Response<G: Gate, E: Environment> = Response<GuardedBody<B, G, E>>;

    fn settle<G: Gate, E: Environment>(
        guard: &mut Guard<G, E>,
        outcome: Outcome,
        response: Response<B>,
    ) -> Self::Response<G, E> {
        let mut held = Held { head: guard.now(), guard: guard.take(), outcome };
        if response.body().is_end_stream() {
            held.settle();
        }
        response.map(|body| GuardedBody { kind: Kind::Guarded { body, held } })
    }
}

/// The guard of a call whose head has been answered.
struct Held<G: Gate, E: Environment> {
    guard: Guard<G, E>,
    outcome: Outcome,
    head: Option<Timestamp>,
}

impl<G: Gate, E: Environment> Held<G, E> {
    fn settle(&mut self) {
        if let Some(head) = self.head.take() {
            self.guard.settle_at(self.outcome, head);
        }
    }
}

impl<G: Gate, E: Environment> Drop for Held<G, E> {
    fn drop(&mut self) {
        // A body that panicked leaves the guard to say so.
        if !self.guard.has_panicked() {
            self.settle();
        }
    }
}

pin_project! {
    /// A body that holds its call's place until it ends.
    pub struct GuardedBody<B: Body, G: Gate, E: Environment> {
        #[pin]
        kind: Kind<B, G, E>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B: Body, G: Gate, E: Environment> {
        // The body stands before the guard: what it holds is given back first.
        Guarded { #[pin] body: B, held: Held<G, E> },
        Unguarded { data: Option<B::Data> },
    }
}

impl<B: Body, G: Gate, E: Environment> GuardedBody<B, G, E> {
    /// A body of `data` that holds no place: what a fallback around the stack answers with.
    pub const fn unguarded(data: B::Data) -> Self {
        Self { kind: Kind::Unguarded { data: Some(data) } }
    }

    /// The body that it guards.
    #[cfg(feature = "fallback")]
    pub(crate) const fn get_ref(&self) -> Option<&B> {
        match &self.kind {
            Kind::Guarded { body, .. } => Some(body),
            Kind::Unguarded { .. } => None,
        }
    }
}

impl<B: Body, G: Gate, E: Environment> fmt::Debug for GuardedBody<B, G, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = match &self.kind {
            Kind::Guarded { held, .. } => held.head,
            Kind::Unguarded { .. } => None,
        };
        f.debug_struct("GuardedBody").field("holds_place", &held.is_some()).finish_non_exhaustive()
    }
}

impl<B: Body, G: Gate, E: Environment> Body for GuardedBody<B, G, E> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let (mut body, held) = match self.project().kind.project() {
            KindProjection::Guarded { body, held } => (body, held),
            KindProjection::Unguarded { data } => return Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
        };
        let frame = ready!(held.guard.around(|| body.as_mut().poll_frame(cx)));
        match &frame {
            Some(Ok(_)) if !body.is_end_stream() => {}
            Some(Ok(_)) | None => held.settle(),
            Some(Err(_)) => {
                held.outcome = Outcome::Finished(Class::Failure);
                held.settle();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Guarded { body, .. } => body.is_end_stream(),
            Kind::Unguarded { data } => data.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Guarded { body, .. } => body.size_hint(),
            Kind::Unguarded { data } => {
                SizeHint::with_exact(data.as_ref().and_then(|data| u64::try_from(data.remaining()).ok()).unwrap_or(0))
            }
        }
    }
}

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

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
        response.map(|body| GuardedBody { body, held })
    }
}

/// The guard of a call whose head has been answered.
#[derive(Debug)]
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
    #[derive(Debug)]
    pub struct GuardedBody<B, G: Gate, E: Environment> {
        // The body stands before the guard: what it holds is given back first.
        #[pin]
        body: B,
        held: Held<G, E>,
    }
}

impl<B: Body, G: Gate, E: Environment> Body for GuardedBody<B, G, E> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.held.guard.around(|| this.body.as_mut().poll_frame(cx)));
        match &frame {
            Some(Ok(_)) if !this.body.is_end_stream() => {}
            Some(Ok(_)) | None => this.held.settle(),
            Some(Err(_)) => {
                this.held.outcome = Outcome::Finished(Class::Failure);
                this.held.settle();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

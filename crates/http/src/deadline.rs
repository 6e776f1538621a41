use http::Request;
use seawall_core::{CallContext, Timestamp};

/// A request extension: when the caller stops waiting, on this process's clock. It can only come closer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Timestamp,
    /// Whether it is the end of a total timeout in this process. Of two at the same time the caller's own counts.
    total: bool,
}

impl Deadline {
    /// The deadline at `at`.
    pub const fn new(at: Timestamp) -> Self {
        Self { at, total: false }
    }

    /// The end of a total timeout at `at`: a timeout further in that is cut by it says so.
    pub const fn of_total(at: Timestamp) -> Self {
        Self { at, total: true }
    }

    /// When the caller stops waiting.
    pub const fn at(self) -> Timestamp {
        self.at
    }

    /// Whether it is the end of a total timeout, and not a time that the caller brought along.
    pub const fn is_total(self) -> bool {
        self.total
    }

    /// `context` with this deadline.
    pub(crate) const fn put_into(self, context: CallContext) -> CallContext {
        if self.total { context.with_total_deadline(self.at) } else { context.with_deadline(self.at) }
    }

    /// Puts `at` into a request, unless an earlier one is there.
    pub fn bring_forward<B>(request: &mut Request<B>, at: Timestamp) {
        Self::new(at).bring(request);
    }

    fn bring<B>(self, request: &mut Request<B>) {
        let deadline = request.extensions().get::<Self>().map_or(self, |known| self.min(*known));
        request.extensions_mut().insert(deadline);
    }

    /// The deadline of a call that `request` makes: its own, or that of the call on whose behalf it is made, whichever
    /// comes first.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        Self::earlier(request.extensions().get().copied())
    }

    /// The same for what goes on after the head of an answer, its body: the end of a total timeout is none of its own.
    #[cfg(feature = "timeout")]
    pub(crate) fn of_caller<B>(request: &Request<B>) -> Option<Self> {
        let own = request.extensions().get::<Self>().copied();
        [own, Self::inherited()].into_iter().flatten().filter(|deadline| !deadline.total).min()
    }

    /// `own`, or the inherited deadline where that comes first.
    pub(crate) fn earlier(own: Option<Self>) -> Option<Self> {
        [own, Self::inherited()].into_iter().flatten().min()
    }

    fn inherited() -> Option<Self> {
        let inherited = CallContext::inherited();
        inherited.deadline.map(|at| Self { at, total: inherited.deadline_is_total })
    }
}

/// Carries a timeout's deadline in the extension [`Deadline`], where [`HttpAttributes`](crate::HttpAttributes) finds it.
#[cfg(feature = "timeout")]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct CarryInRequest;

#[cfg(feature = "timeout")]
impl<B> seawall_timeout::CarryDeadline<Request<B>> for CarryInRequest {
    fn carry(&self, request: &mut Request<B>, deadline: Timestamp) {
        Deadline::bring_forward(request, deadline);
    }

    fn carry_total(&self, request: &mut Request<B>, end: Timestamp) {
        Deadline::of_total(end).bring(request);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use seawall_core::{Attributes, InheritDeadline};
    #[cfg(feature = "timeout")]
    use seawall_timeout::CarryDeadline as _;

    use super::*;
    use crate::HttpAttributes;

    #[test]
    fn the_earlier_of_a_requests_own_and_the_inherited_deadline_counts() {
        let at = Timestamp::from_nanos;
        let seen = |inherited, own| {
            let mut request = Request::new(());
            Deadline::bring_forward(&mut request, at(own));
            let read = InheritDeadline::new(at(inherited), async { HttpAttributes.context(&request).deadline });
            pin!(read).poll(&mut Context::from_waker(Waker::noop()))
        };

        assert_eq!((seen(5, 9), seen(9, 5)), (Poll::Ready(Some(at(5))), Poll::Ready(Some(at(5)))));
    }

    #[test]
    fn the_end_of_a_total_timeout_is_inherited_as_that() {
        let at = Timestamp::from_nanos;
        let seen = |own| {
            let mut request = Request::new(());
            Deadline::bring_forward(&mut request, at(own));
            let read = InheritDeadline::until_total(at(7), async { HttpAttributes.context(&request) });
            pin!(read).poll(&mut Context::from_waker(Waker::noop()))
        };

        assert_eq!(seen(9), Poll::Ready(HttpAttributes.context(&Request::new(())).with_total_deadline(at(7))));
        assert_eq!(seen(7), Poll::Ready(HttpAttributes.context(&Request::new(())).with_deadline(at(7))));
    }

    #[cfg(feature = "timeout")]
    type Reading = std::pin::Pin<Box<dyn Future<Output = Option<Deadline>>>>;

    #[test]
    #[cfg(feature = "timeout")]
    fn a_body_has_until_its_caller_stops_waiting_and_not_until_the_end_of_a_total_timeout() {
        let at = Timestamp::from_nanos;
        let mut request = Request::new(());
        CarryInRequest.carry_total(&mut request, at(5));
        let read = |inherit: fn(Timestamp, Reading) -> InheritDeadline<Reading>, request: Request<()>| {
            let read: Reading = Box::pin(async move { Deadline::of_caller(&request) });
            pin!(inherit(at(7), read)).poll(&mut Context::from_waker(Waker::noop()))
        };

        assert_eq!(read(InheritDeadline::until_total, request.clone()), Poll::Ready(None));
        assert_eq!(read(InheritDeadline::new, request), Poll::Ready(Some(Deadline::new(at(7)))));
    }
}

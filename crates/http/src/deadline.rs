use http::Request;
use seawall_core::Timestamp;

/// A request extension: when the caller stops waiting, on this process's clock. It can only come closer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Timestamp);

impl Deadline {
    /// The deadline at `at`.
    pub const fn new(at: Timestamp) -> Self {
        Self(at)
    }

    /// When the caller stops waiting.
    pub const fn at(self) -> Timestamp {
        self.0
    }

    /// Puts `at` into a request, unless an earlier one is there.
    pub fn bring_forward<B>(request: &mut Request<B>, at: Timestamp) {
        let at = request.extensions().get::<Self>().map_or(at, |known| known.0.min(at));
        request.extensions_mut().insert(Self(at));
    }

    /// The deadline of a call that `request` makes: its own, or that of the call on whose behalf it is made, whichever
    /// comes first.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        Self::earlier(request.extensions().get().copied())
    }

    /// `own`, or the inherited deadline where that comes first.
    pub(crate) fn earlier(own: Option<Self>) -> Option<Self> {
        match (own, seawall_core::inherited_deadline().map(Self)) {
            (Some(own), Some(inherited)) => Some(own.min(inherited)),
            (own, inherited) => own.or(inherited),
        }
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
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use seawall_core::{Attributes, InheritDeadline};

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
}

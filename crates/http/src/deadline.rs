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

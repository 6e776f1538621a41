use std::task::{Context, Poll};

use seawall_core::{Attributes, CallContext, CarryRejection, Clock, MonotonicClock, Timestamp};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Deadline, DeadlineFuture, HttpAttributes, SendDeadlineLayer};

/// A `reqwest::Request` and its deadline, for which it has no place itself.
#[derive(Debug)]
pub struct TimedRequest {
    pub(crate) request: reqwest::Request,
    deadline: Option<Deadline>,
}

impl From<reqwest::Request> for TimedRequest {
    fn from(request: reqwest::Request) -> Self {
        Self { request, deadline: None }
    }
}

impl TimedRequest {
    /// The request itself.
    pub const fn get_ref(&self) -> &reqwest::Request {
        &self.request
    }

    /// When the caller stops waiting, as far as the request says.
    pub const fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Puts `at` in, unless an earlier one is there.
    pub fn bring_forward(&mut self, at: Timestamp) {
        let at = self.deadline.map_or(at, |known| known.at().min(at));
        self.deadline = Some(Deadline::new(at));
    }

    /// The same once more, where its body can be cloned.
    #[cfg(feature = "retry")]
    pub(crate) fn try_clone(&self) -> Option<Self> {
        Some(Self { request: self.request.try_clone()?, deadline: self.deadline })
    }
}

/// Its deadline is its own or the inherited one, whichever comes first; the rest is as for a `reqwest::Request`.
impl Attributes<TimedRequest> for HttpAttributes {
    fn context(&self, timed: &TimedRequest) -> CallContext {
        let context = self.context(&timed.request);
        Deadline::earlier(timed.deadline).map_or(context, |deadline| context.with_deadline(deadline.at()))
    }
}

/// Carries a timeout's deadline in a [`TimedRequest`], where [`HttpAttributes`] finds it.
#[cfg(feature = "timeout")]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct CarryInTimedRequest;

#[cfg(feature = "timeout")]
impl seawall_timeout::CarryDeadline<TimedRequest> for CarryInTimedRequest {
    fn carry(&self, request: &mut TimedRequest, deadline: Timestamp) {
        request.bring_forward(deadline);
    }
}

/// Takes reqwest's own requests, and gives them as [`TimedRequest`]s to the layers inside. Outermost, and only together
/// with a [`SendTimedLayer`] innermost, which makes reqwest's own of them again.
#[derive(Copy, Clone, Debug, Default)]
#[non_exhaustive]
pub struct TimedRequestLayer;

impl TimedRequestLayer {
    /// The layer; it has no settings.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for TimedRequestLayer {
    type Service = TakeTimed<S>;

    fn layer(&self, inner: S) -> TakeTimed<S> {
        TakeTimed { inner }
    }
}

/// A service behind a [`TimedRequestLayer`].
#[derive(Copy, Clone, Debug)]
pub struct TakeTimed<S> {
    inner: S,
}

impl<S: Service<TimedRequest>> Service<reqwest::Request> for TakeTimed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: reqwest::Request) -> S::Future {
        self.inner.call(request.into())
    }
}

/// Does for [`TimedRequest`]s what [`SendDeadlineLayer`] does for requests that carry their deadlines themselves: writes
/// what remains into the headers, and refuses a request of which nothing would be left.
#[derive(Copy, Clone, Debug)]
pub struct SendTimedLayer<K = MonotonicClock> {
    send: SendDeadlineLayer<K>,
}

impl<K> SendTimedLayer<K> {
    /// Writes what `send` would.
    pub const fn new(send: SendDeadlineLayer<K>) -> Self {
        Self { send }
    }
}

impl<S, K: Clone> Layer<S> for SendTimedLayer<K> {
    type Service = SendTimed<S, K>;

    fn layer(&self, inner: S) -> SendTimed<S, K> {
        SendTimed { inner, send: self.send.clone() }
    }
}

/// A service behind a [`SendTimedLayer`].
#[derive(Copy, Clone, Debug)]
pub struct SendTimed<S, K = MonotonicClock> {
    inner: S,
    send: SendDeadlineLayer<K>,
}

impl<S, K> Service<TimedRequest> for SendTimed<S, K>
where
    S: Service<reqwest::Request, Error: CarryRejection>,
    K: Clock,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, timed: TimedRequest) -> Self::Future {
        let TimedRequest { mut request, deadline } = timed;
        let deadline = Deadline::earlier(deadline);
        match self.send.write(deadline, request.headers_mut()) {
            Ok(()) => DeadlineFuture::called(deadline, self.inner.call(request)),
            Err(rejection) => DeadlineFuture::refused(rejection),
        }
    }
}

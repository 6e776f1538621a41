use std::time::Duration;

use http::{HeaderMap, Request};
use seawall_core::{Clock, MonotonicClock, Rejection};
use tower_layer::Layer;

use crate::{Deadline, DeadlineService, StampDeadline, deadline_header, deadline_service::TOO_CLOSE};

/// Writes what remains until the extension [`Deadline`], or until the deadline of the call on whose behalf the request is
/// made, into `x-request-timeout-ms` (and `grpc-timeout` where the request is gRPC), less a reserve for the way there and
/// back.
///
/// A request without a deadline is left alone. One of which nothing would be left is refused with
/// [`Reason::DeadlineTooClose`](seawall_core::Reason::DeadlineTooClose), unsent.
#[derive(Copy, Clone, Debug)]
pub struct SendDeadlineLayer<K = MonotonicClock> {
    reserve: Duration,
    to_envoy: bool,
    clock: K,
}

impl SendDeadlineLayer {
    /// Keeps `reserve` of what remains: what the network takes both ways.
    pub const fn new(reserve: Duration) -> Self {
        Self { reserve, to_envoy: false, clock: MonotonicClock }
    }
}

impl<K> SendDeadlineLayer<K> {
    /// Reads the time from `clock`.
    pub fn with_clock<K2>(self, clock: K2) -> SendDeadlineLayer<K2> {
        SendDeadlineLayer { reserve: self.reserve, to_envoy: self.to_envoy, clock }
    }

    /// Keeps `reserve` instead.
    #[must_use]
    pub fn with_reserve(mut self, reserve: Duration) -> Self {
        self.reserve = reserve;
        self
    }

    /// Tells an Envoy in between as well, in `x-envoy-upstream-rq-timeout-ms`. Default: not.
    #[must_use]
    pub fn with_envoy(mut self) -> Self {
        self.to_envoy = true;
        self
    }
}

impl<K: Clock> StampDeadline for SendDeadlineLayer<K> {
    fn stamp<B>(&self, request: &mut Request<B>) -> Result<Option<Deadline>, Rejection> {
        let deadline = Deadline::of(request);
        self.write(deadline, request.headers_mut())?;
        Ok(deadline)
    }
}

impl<K: Clock> SendDeadlineLayer<K> {
    /// Writes what remains until `deadline` into the headers of a request.
    pub(crate) fn write(&self, deadline: Option<Deadline>, headers: &mut HeaderMap) -> Result<(), Rejection> {
        let Some(deadline) = deadline else { return Ok(()) };
        let left = deadline.at().since(self.clock.now()).saturating_sub(self.reserve);
        // Less than the headers can say is nothing for the other side.
        if left < Duration::from_millis(1) {
            return Err(TOO_CLOSE);
        }
        deadline_header::write(headers, left, self.to_envoy);
        Ok(())
    }
}

impl<S, K: Clone> Layer<S> for SendDeadlineLayer<K> {
    type Service = SendDeadline<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.clone())
    }
}

/// A service behind a [`SendDeadlineLayer`].
pub type SendDeadline<S, K = MonotonicClock> = DeadlineService<S, SendDeadlineLayer<K>>;

use std::{
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request};
use seawall_core::{Clock, MonotonicClock, Timestamp};
use tower_layer::Layer;
use tower_service::Service;

use crate::{format_grpc_timeout, parse_grpc_timeout};

/// The header that carries what remains of a request's time, in whole milliseconds.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";
const GRPC_TIMEOUT_HEADER: &str = "grpc-timeout";

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

/// Reads the value of an `x-request-timeout-ms`: 1 to 18 digits.
pub fn parse_timeout_ms(value: &[u8]) -> Option<Duration> {
    const MAX_DIGITS: usize = 18;
    if value.is_empty() || value.len() > MAX_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok().map(Duration::from_millis)
}

fn remaining(headers: &HeaderMap) -> Option<Duration> {
    let own = headers.get(TIMEOUT_HEADER).and_then(|value| parse_timeout_ms(value.as_bytes()));
    let grpc = headers.get(GRPC_TIMEOUT_HEADER).and_then(|value| parse_grpc_timeout(value.as_bytes()));
    match (own, grpc) {
        (Some(own), Some(grpc)) => Some(own.min(grpc)),
        (own, grpc) => own.or(grpc),
    }
}

/// Takes a caller's deadline from `x-request-timeout-ms` or `grpc-timeout` into the extension [`Deadline`].
///
/// What travels is the time that remains, never a point in time, so the clocks of the two machines need not agree; what
/// the network takes is not seen. A malformed header is ignored. At most `limit` is granted, and that much when the
/// caller says nothing.
#[derive(Copy, Clone, Debug)]
pub struct ReceiveDeadlineLayer<K = MonotonicClock> {
    limit: Duration,
    clock: K,
}

impl ReceiveDeadlineLayer {
    /// Grants at most `limit`.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, clock: MonotonicClock }
    }
}

impl<K> ReceiveDeadlineLayer<K> {
    /// Reads the time from `clock`.
    pub fn with_clock<K2>(self, clock: K2) -> ReceiveDeadlineLayer<K2> {
        ReceiveDeadlineLayer { limit: self.limit, clock }
    }
}

impl<S, K: Clone> Layer<S> for ReceiveDeadlineLayer<K> {
    type Service = ReceiveDeadline<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        ReceiveDeadline { inner, layer: self.clone() }
    }
}

/// A service behind a [`ReceiveDeadlineLayer`].
#[derive(Copy, Clone, Debug)]
pub struct ReceiveDeadline<S, K = MonotonicClock> {
    inner: S,
    layer: ReceiveDeadlineLayer<K>,
}

impl<S: Service<Request<B>>, B, K: Clock> Service<Request<B>> for ReceiveDeadline<S, K> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let granted = remaining(request.headers()).unwrap_or(self.layer.limit).min(self.layer.limit);
        let at = self.layer.clock.now().saturating_add(granted);
        Deadline::bring_forward(&mut request, at);
        self.inner.call(request)
    }
}

/// Writes what remains until the extension [`Deadline`] into `x-request-timeout-ms` (and `grpc-timeout` where the
/// request is gRPC), less a reserve for the way back. A request without a deadline is left alone.
#[derive(Copy, Clone, Debug)]
pub struct SendDeadlineLayer<K = MonotonicClock> {
    reserve: Duration,
    clock: K,
}

impl SendDeadlineLayer {
    /// Keeps `reserve` of what remains for the way back.
    pub const fn new(reserve: Duration) -> Self {
        Self { reserve, clock: MonotonicClock }
    }
}

impl<K> SendDeadlineLayer<K> {
    /// Reads the time from `clock`.
    pub fn with_clock<K2>(self, clock: K2) -> SendDeadlineLayer<K2> {
        SendDeadlineLayer { reserve: self.reserve, clock }
    }
}

impl<S, K: Clone> Layer<S> for SendDeadlineLayer<K> {
    type Service = SendDeadline<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        SendDeadline { inner, layer: self.clone() }
    }
}

/// A service behind a [`SendDeadlineLayer`].
#[derive(Copy, Clone, Debug)]
pub struct SendDeadline<S, K = MonotonicClock> {
    inner: S,
    layer: SendDeadlineLayer<K>,
}

impl<S: Service<Request<B>>, B, K: Clock> Service<Request<B>> for SendDeadline<S, K> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(deadline) = request.extensions().get::<Deadline>() {
            let left = deadline.0.since(self.layer.clock.now()).saturating_sub(self.layer.reserve);
            let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let grpc = request
                .headers()
                .get(http::header::CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
            let headers = request.headers_mut();
            headers.insert(TIMEOUT_HEADER, HeaderValue::from(millis));
            if let Some(value) = grpc.then(|| HeaderValue::try_from(format_grpc_timeout(left)).ok()).flatten() {
                headers.insert(GRPC_TIMEOUT_HEADER, value);
            }
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use seawall_core::VirtualClock;
    use tower::service_fn;

    use super::*;

    type Echo = Ready<Result<Request<()>, ()>>;

    fn echo(request: Request<()>) -> Echo {
        ready(Ok(request))
    }

    fn received(request: Request<()>, clock: &VirtualClock) -> Timestamp {
        let layer = ReceiveDeadlineLayer::new(Duration::from_secs(5)).with_clock(clock.clone());
        let future = layer.layer(service_fn(echo)).call(request);
        future.into_inner().unwrap().extensions().get::<Deadline>().unwrap().at()
    }

    #[test]
    fn a_caller_gets_what_it_asks_for_up_to_the_limit() {
        let clock = VirtualClock::starting_at(Timestamp::from_nanos(7));
        let ask = |value: &str| received(Request::get("/").header(TIMEOUT_HEADER, value).body(()).unwrap(), &clock);

        assert_eq!(ask("200").since(clock.now()), Duration::from_millis(200));
        assert_eq!(ask("999999999999999999").since(clock.now()), Duration::from_secs(5));
        assert_eq!(ask("-1").since(clock.now()), Duration::from_secs(5));
    }

    #[test]
    fn an_earlier_deadline_is_kept() {
        let clock = VirtualClock::new();
        let mut request = Request::get("/").header(TIMEOUT_HEADER, "200").body(()).unwrap();
        Deadline::bring_forward(&mut request, Timestamp::from_nanos(50));

        assert_eq!(received(request, &clock), Timestamp::from_nanos(50));
    }

    #[test]
    fn what_remains_is_sent_less_the_reserve() {
        let clock = VirtualClock::new();
        let mut request = Request::get("/").header("content-type", "application/grpc").body(()).unwrap();
        Deadline::bring_forward(&mut request, clock.now().saturating_add(Duration::from_millis(100)));
        clock.advance(Duration::from_millis(30));

        let layer = SendDeadlineLayer::new(Duration::from_millis(10)).with_clock(clock);
        let sent = layer.layer(service_fn(echo)).call(request).into_inner().unwrap();

        assert_eq!(sent.headers()[TIMEOUT_HEADER], "60");
        assert_eq!(sent.headers()[GRPC_TIMEOUT_HEADER], "60000000n");
    }
}

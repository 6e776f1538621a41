use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use pin_project_lite::pin_project;
use seawall_core::{
    CarryRejection, Clock, InheritDeadline, MonotonicClock, Pattern, Reason, Rejection, Shared, Timestamp,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Deadline,
    deadline_header::{self, Asked},
};

/// What a layer does to the deadline of each request. Implemented by [`ReceiveDeadlineLayer`] and [`SendDeadlineLayer`].
pub trait StampDeadline {
    /// Takes the deadline from `request`, or writes it there. What is given back holds for the calls made on its behalf.
    ///
    /// # Errors
    /// Too little is left to begin.
    fn stamp<B>(&self, request: &mut Request<B>) -> Result<Option<Deadline>, Rejection>;
}

const TOO_CLOSE: Rejection = Rejection::new(Pattern::Timeout, Reason::DeadlineTooClose);

/// Takes a caller's deadline from `x-request-timeout-ms`, `grpc-timeout` or Envoy's `x-envoy-expected-rq-timeout-ms` into
/// the extension [`Deadline`], where all layers inside find it; calls that the handler makes inherit it.
///
/// What travels is the time that remains, never a point in time, so the clocks of the two machines need not agree; what
/// the network takes is not seen, and is what the sender's reserve is for. Of several headers the least counts. At most
/// `limit` is granted, whoever asks for more, and that much when the caller says nothing. A header that cannot be read is
/// ignored and [counted](Self::malformed).
///
/// A request that arrives with nothing left, or less than [`with_min_remaining`](Self::with_min_remaining) says, is
/// refused with [`Reason::DeadlineTooClose`], 504, without calling the handler.
#[derive(Clone)]
pub struct ReceiveDeadlineLayer<K = MonotonicClock> {
    limit: Duration,
    min_remaining: Duration,
    observed_only: bool,
    counts: Shared<Counts>,
    clock: K,
}

#[derive(Debug, Default)]
struct Counts {
    malformed: AtomicU64,
    expired: AtomicU64,
}

impl ReceiveDeadlineLayer {
    /// Grants at most `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            min_remaining: Duration::ZERO,
            observed_only: false,
            counts: Shared::new(Counts::default()),
            clock: MonotonicClock,
        }
    }
}

impl<K> ReceiveDeadlineLayer<K> {
    /// Reads the time from `clock`.
    pub fn with_clock<K2>(self, clock: K2) -> ReceiveDeadlineLayer<K2> {
        let Self { limit, min_remaining, observed_only, counts, .. } = self;
        ReceiveDeadlineLayer { limit, min_remaining, observed_only, counts, clock }
    }

    /// Grants at most `limit`. The counts go on.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Refuses what arrives with less than this: too little to answer in time. Default 0: only what has nothing left.
    #[must_use]
    pub fn with_min_remaining(mut self, min_remaining: Duration) -> Self {
        self.min_remaining = min_remaining;
        self
    }

    /// Only counts what would be refused, and gives it the limit: to see what the deadlines of callers would do before they
    /// do it. Default: refuses.
    #[must_use]
    pub fn observed_only(mut self) -> Self {
        self.observed_only = true;
        self
    }

    /// How many headers could not be read, since the layer was made.
    pub fn malformed(&self) -> u64 {
        // Relaxed, as everywhere here: a count that guards nothing.
        self.counts.malformed.load(Relaxed)
    }

    /// How many requests arrived with too little left, refused or not, since the layer was made.
    pub fn expired(&self) -> u64 {
        self.counts.expired.load(Relaxed)
    }

    /// The same layer, whose counts live as long as the process. Earlier clones keep sharing.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { counts: self.counts.leak(), ..self }
    }
}

impl<K: Clock> StampDeadline for ReceiveDeadlineLayer<K> {
    fn stamp<B>(&self, request: &mut Request<B>) -> Result<Option<Deadline>, Rejection> {
        let asked = Asked::by(request.headers());
        if asked.malformed > 0 {
            self.counts.malformed.fetch_add(asked.malformed, Relaxed);
        }
        let (now, mut granted) = (self.clock.now(), asked.remaining.unwrap_or(self.limit).min(self.limit));
        let left = Deadline::of(request).map_or(granted, |known| known.at().since(now).min(granted));
        if left.is_zero() || left < self.min_remaining {
            self.counts.expired.fetch_add(1, Relaxed);
            if !self.observed_only {
                return Err(TOO_CLOSE);
            }
            granted = self.limit;
        }
        Deadline::bring_forward(request, now.saturating_add(granted));
        Ok(request.extensions().get().copied())
    }
}

impl<K> fmt::Debug for ReceiveDeadlineLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveDeadlineLayer")
            .field("limit", &self.limit)
            .field("min_remaining", &self.min_remaining)
            .field("observed_only", &self.observed_only)
            .finish_non_exhaustive()
    }
}

/// Writes what remains until the extension [`Deadline`], or until the deadline of the call on whose behalf the request is
/// made, into `x-request-timeout-ms` (and `grpc-timeout` where the request is gRPC), less a reserve for the way there and
/// back.
///
/// A request without a deadline is left alone. One of which nothing would be left is refused with
/// [`Reason::DeadlineTooClose`], unsent.
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

    /// Tells an Envoy in between as well, in `x-envoy-upstream-rq-timeout-ms`. Default: not.
    #[must_use]
    pub fn with_envoy(mut self) -> Self {
        self.to_envoy = true;
        self
    }
}

impl<K: Clock> StampDeadline for SendDeadlineLayer<K> {
    fn stamp<B>(&self, request: &mut Request<B>) -> Result<Option<Deadline>, Rejection> {
        let Some(deadline) = Deadline::of(request) else { return Ok(None) };
        let left = deadline.at().since(self.clock.now()).saturating_sub(self.reserve);
        // Less than the headers can say is nothing for the other side.
        if left < Duration::from_millis(1) {
            return Err(TOO_CLOSE);
        }
        deadline_header::write(request.headers_mut(), left, self.to_envoy);
        Ok(Some(deadline))
    }
}

macro_rules! deadline_layer {
    ($layer:ident, $service:ident, $doc:literal) => {
        impl<S, K: Clone> Layer<S> for $layer<K> {
            type Service = $service<S, K>;

            fn layer(&self, inner: S) -> Self::Service {
                DeadlineService { inner, stamp: self.clone() }
            }
        }

        #[doc = $doc]
        pub type $service<S, K = MonotonicClock> = DeadlineService<S, $layer<K>>;
    };
}

deadline_layer!(ReceiveDeadlineLayer, ReceiveDeadline, "A service behind a [`ReceiveDeadlineLayer`].");
deadline_layer!(SendDeadlineLayer, SendDeadline, "A service behind a [`SendDeadlineLayer`].");

/// A service whose requests' deadlines are taken from, or written to, their headers.
#[derive(Copy, Clone, Debug)]
pub struct DeadlineService<S, P> {
    inner: S,
    stamp: P,
}

impl<S, P, B> Service<Request<B>> for DeadlineService<S, P>
where
    S: Service<Request<B>, Error: CarryRejection>,
    P: StampDeadline,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let state = match self.stamp.stamp(&mut request) {
            Ok(deadline) => {
                let at = deadline.map_or(Timestamp::MAX, Deadline::at);
                State::Called { call: InheritDeadline::new(at, self.inner.call(request)) }
            }
            Err(rejection) => State::Refused { rejection: Some(rejection) },
        };
        DeadlineFuture { state }
    }
}

pin_project! {
    /// The future of a [`DeadlineService`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct DeadlineFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Called { #[pin] call: InheritDeadline<F> },
        Refused { rejection: Option<Rejection> },
    }
}

impl<F, T, X> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<T, X>>,
    X: CarryRejection,
{
    type Output = Result<T, X>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Called { call } => call.poll(cx),
            StateProjection::Refused { rejection } => {
                rejection.take().map_or(Poll::Pending, |rejection| Poll::Ready(Err(rejection.into())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Ready, ready},
        pin::pin,
        task::Waker,
    };

    use seawall_core::{Error, VirtualClock, inherited_deadline};
    use tower::service_fn;

    use super::*;
    use crate::TIMEOUT_HEADER;

    type Answer<T> = Result<T, Error<std::convert::Infallible>>;

    fn echo(request: Request<()>) -> Ready<Answer<Request<()>>> {
        ready(Ok(request))
    }

    fn now_or_panic<F: Future>(future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn receiver(clock: &VirtualClock) -> ReceiveDeadlineLayer<VirtualClock> {
        ReceiveDeadlineLayer::new(Duration::from_secs(5)).with_clock(clock.clone())
    }

    fn receive(layer: &ReceiveDeadlineLayer<VirtualClock>, request: Request<()>) -> Answer<Timestamp> {
        let received = now_or_panic(layer.layer(service_fn(echo)).call(request))?;
        Ok(received.extensions().get::<Deadline>().unwrap().at())
    }

    fn asking(value: &str) -> Request<()> {
        Request::get("/").header(TIMEOUT_HEADER, value).body(()).unwrap()
    }

    fn reason<T>(answer: &Answer<T>) -> Option<Reason> {
        answer.as_ref().err().and_then(Error::rejection).map(Rejection::reason)
    }

    #[test]
    fn a_caller_gets_what_it_asks_for_up_to_the_limit() {
        let clock = VirtualClock::starting_at(Timestamp::from_nanos(7));
        let layer = receiver(&clock);
        let granted = |value| receive(&layer, asking(value)).unwrap().since(clock.now());

        assert_eq!(granted("200"), Duration::from_millis(200));
        assert_eq!(granted("999999999999999999"), Duration::from_secs(5));
        assert_eq!(layer.malformed(), 0);
        assert_eq!(granted("-1"), Duration::from_secs(5));
        assert_eq!((layer.malformed(), layer.expired()), (1, 0));
    }

    #[test]
    fn an_earlier_deadline_is_kept() {
        let clock = VirtualClock::new();
        let mut request = asking("200");
        Deadline::bring_forward(&mut request, Timestamp::from_nanos(50));

        assert_eq!(receive(&receiver(&clock), request), Ok(Timestamp::from_nanos(50)));
    }

    #[test]
    fn what_arrives_with_nothing_left_is_refused_without_calling_the_handler() {
        let clock = VirtualClock::new();
        let layer = receiver(&clock).with_min_remaining(Duration::from_millis(20));
        let unreachable = service_fn(|_: Request<()>| -> Ready<Answer<()>> { panic!("called") });

        for value in ["0", "19"] {
            let refused = now_or_panic(layer.layer(unreachable).call(asking(value)));
            assert_eq!(reason(&refused), Some(Reason::DeadlineTooClose));
        }

        assert!(receive(&layer, asking("20")).is_ok());
        assert_eq!(layer.clone().leak().expired(), 2);
    }

    #[test]
    fn a_layer_that_only_observes_counts_and_lets_go_on() {
        let clock = VirtualClock::new();
        let layer = receiver(&clock).observed_only();

        assert_eq!(receive(&layer, asking("0")), Ok(Timestamp::from_nanos(5_000_000_000)));

        assert_eq!(layer.expired(), 1);
    }

    #[test]
    fn what_remains_is_sent_less_the_reserve() {
        let clock = VirtualClock::new();
        let mut request = Request::get("/").header("content-type", "application/grpc").body(()).unwrap();
        Deadline::bring_forward(&mut request, clock.now().saturating_add(Duration::from_millis(100)));
        clock.advance(Duration::from_millis(30));

        let layer = SendDeadlineLayer::new(Duration::from_millis(10)).with_envoy().with_clock(clock);
        let sent = now_or_panic(layer.layer(service_fn(echo)).call(request)).unwrap();

        assert_eq!(sent.headers()[TIMEOUT_HEADER], "60");
        assert_eq!(sent.headers()["grpc-timeout"], "60000000n");
        assert_eq!(sent.headers()["x-envoy-upstream-rq-timeout-ms"], "60");
    }

    #[test]
    fn a_request_of_which_the_reserve_leaves_nothing_is_not_sent() {
        let clock = VirtualClock::new();
        let layer = SendDeadlineLayer::new(Duration::from_millis(10)).with_clock(clock);
        let send = |nanos| {
            let mut request = Request::new(());
            Deadline::bring_forward(&mut request, Timestamp::from_nanos(nanos));
            now_or_panic(layer.layer(service_fn(echo)).call(request))
        };

        assert_eq!(reason(&send(10_999_999)), Some(Reason::DeadlineTooClose));
        assert_eq!(send(11_000_000).unwrap().headers()[TIMEOUT_HEADER], "1");
    }

    #[test]
    fn a_request_without_a_deadline_is_left_alone() {
        let sent = now_or_panic(SendDeadlineLayer::new(Duration::ZERO).layer(service_fn(echo)).call(Request::new(())));

        assert!(sent.unwrap().headers().is_empty());
    }

    #[test]
    fn the_calls_that_a_handler_makes_inherit_its_callers_deadline() {
        let clock = VirtualClock::new();
        let send = SendDeadlineLayer::new(Duration::from_millis(50)).with_clock(clock.clone());
        let handler = service_fn(move |_: Request<()>| {
            let mut client = send.clone().layer(service_fn(echo));
            async move { client.call(Request::new(())).await }
        });

        let nested = now_or_panic(receiver(&clock).layer(handler).call(asking("200"))).unwrap();

        assert_eq!(nested.headers()[TIMEOUT_HEADER], "150");
        assert_eq!(inherited_deadline(), None);
    }
}

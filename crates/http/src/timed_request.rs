use std::{
    task::{Context, Poll},
    time::Duration,
};

use seawall_core::{Attributes, CallContext, CarryRejection, Clock, Criticality, MonotonicClock, Timestamp};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Deadline, DeadlineFuture, HttpAttributes, SendDeadlineLayer};

/// A `reqwest::Request` and what it has no place for itself: its deadline, whether it may be repeated, how much it matters.
///
/// `seawall::reqwest_client().timed()` takes it in the place of reqwest's own:
///
/// ```
/// use seawall_http::TimedRequest;
///
/// let post = reqwest::Client::new().post("http://127.0.0.1/payments").build()?;
/// let post = TimedRequest::from(post).with_idempotent(true);
/// # Ok::<(), reqwest::Error>(())
/// ```
#[derive(Debug)]
pub struct TimedRequest {
    pub(crate) request: reqwest::Request,
    deadline: Option<Deadline>,
    idempotent: Option<bool>,
    criticality: Option<Criticality>,
}

impl From<reqwest::Request> for TimedRequest {
    fn from(request: reqwest::Request) -> Self {
        Self { request, deadline: None, idempotent: None, criticality: None }
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
        self.bring(Deadline::new(at));
    }

    fn bring(&mut self, deadline: Deadline) {
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
    }

    /// Says whether repeating the request does harm, where method and headers say it wrongly: what the extension
    /// [`Idempotent`](crate::Idempotent) is to an `http::Request`.
    #[must_use]
    pub const fn with_idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = Some(idempotent);
        self
    }

    /// Says how much the request matters to the layers on this side, whatever its header says.
    #[must_use]
    pub const fn with_criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = Some(criticality);
        self
    }

    /// The same once more, where its body can be cloned.
    #[cfg(feature = "retry")]
    pub(crate) fn try_clone(&self) -> Option<Self> {
        let Self { deadline, idempotent, criticality, .. } = *self;
        Some(Self { request: self.request.try_clone()?, deadline, idempotent, criticality })
    }
}

/// Its deadline is its own or the inherited one, whichever comes first; the rest is as for a `reqwest::Request`.
impl Attributes<TimedRequest> for HttpAttributes {
    fn context(&self, timed: &TimedRequest) -> CallContext {
        let mut context = self.context(&timed.request);
        context.idempotent = timed.idempotent.or(context.idempotent);
        context.criticality = timed.criticality.unwrap_or(context.criticality);
        Deadline::earlier(timed.deadline).map_or(context, |deadline| deadline.put_into(context))
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

    fn carry_total(&self, request: &mut TimedRequest, end: Timestamp) {
        request.bring(Deadline::of_total(end));
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

    /// Keeps `reserve` instead: see [`SendDeadlineLayer::new`].
    #[must_use]
    pub fn with_reserve(self, reserve: Duration) -> Self {
        Self { send: self.send.with_reserve(reserve) }
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
        let TimedRequest { mut request, deadline, .. } = timed;
        let deadline = Deadline::earlier(deadline);
        match self.send.write(deadline, request.headers_mut()) {
            Ok(()) => DeadlineFuture::called(deadline, self.inner.call(request)),
            Err(rejection) => DeadlineFuture::refused(rejection),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        pin::pin,
        task::{Poll, Waker},
        time::Duration,
    };

    use reqwest::Method;
    use seawall_core::{Error, InheritDeadline, VirtualClock};
    use tower::service_fn;

    use super::*;
    use crate::TIMEOUT_HEADER;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO.saturating_add(Duration::from_millis(millis))
    }

    fn timed(deadlines: &[u64]) -> TimedRequest {
        let mut timed = TimedRequest::from(reqwest::Request::new(Method::GET, "http://127.0.0.1/".parse().unwrap()));
        for millis in deadlines {
            timed.bring_forward(at(*millis));
        }
        timed
    }

    fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// The deadline that layers see, where the caller's is at `inherited`.
    fn seen(timed: &TimedRequest, inherited: Option<u64>) -> Option<Timestamp> {
        let inherited = inherited.map_or(Timestamp::MAX, at);
        let context = now_or_never(InheritDeadline::new(inherited, async { HttpAttributes.context(timed) }));
        context.unwrap().deadline
    }

    #[test]
    fn the_earliest_of_all_deadlines_counts() {
        assert_eq!((seen(&timed(&[]), None), seen(&timed(&[]), Some(9))), (None, Some(at(9))));
        assert_eq!((seen(&timed(&[5, 7]), Some(9)), seen(&timed(&[7, 5]), Some(3))), (Some(at(5)), Some(at(3))));
        assert_eq!(timed(&[7, 5]).deadline(), Some(Deadline::new(at(5))));
    }

    #[test]
    fn a_post_may_be_repeated_and_weighs_what_its_sender_says() {
        let post = reqwest::Request::new(Method::POST, "http://127.0.0.1/".parse().unwrap());
        let told = TimedRequest::from(post).with_idempotent(true).with_criticality(Criticality::Critical);
        let refused = timed(&[]).with_idempotent(false);

        let (told, refused) = (HttpAttributes.context(&told), HttpAttributes.context(&refused));

        assert_eq!((told.idempotent, told.criticality), (Some(true), Criticality::Critical));
        assert_eq!((refused.idempotent, refused.criticality), (Some(false), Criticality::Default));
    }

    #[cfg(feature = "retry")]
    #[test]
    fn a_further_attempt_has_the_deadline_of_the_first() {
        use seawall_backoff_with_jitter::Replay;

        let (_, kept) = crate::HttpReplay::default().keep(timed(&[5]).with_criticality(Criticality::Critical));
        let again =
            <crate::HttpReplay as Replay<TimedRequest>>::again(&crate::HttpReplay::default(), &mut kept.unwrap(), 1)
                .unwrap();

        assert_eq!(seen(&again, None), Some(at(5)));
        assert_eq!(HttpAttributes.context(&again).criticality, Criticality::Critical);
        assert_eq!(again.get_ref().headers()["x-previous-attempts"], "1");
    }

    #[test]
    fn what_is_left_of_the_earliest_deadline_is_sent() {
        let layer = SendTimedLayer::new(SendDeadlineLayer::new(Duration::ZERO).with_clock(VirtualClock::new()));
        let echo = |request: reqwest::Request| ready(Ok::<_, Error<()>>(request));
        let sent = |timed, inherited| {
            let mut service = layer.layer(service_fn(echo));
            let call = async move { service.call(timed).await };
            let sent = now_or_never(InheritDeadline::new(at(inherited), call)).unwrap();
            sent.ok().map(|request| request.headers()[TIMEOUT_HEADER].to_str().unwrap().to_owned())
        };

        assert_eq!((sent(timed(&[]), 9), sent(timed(&[5]), 9)), (Some("9".to_owned()), Some("5".to_owned())));
        assert_eq!(sent(timed(&[5]), 0), None, "nothing is left");
    }
}

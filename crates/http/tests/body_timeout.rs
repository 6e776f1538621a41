//! Bodies that stand still or trickle, in virtual time.
#![cfg(feature = "timeout")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use seawall_core::{Clock, Error, Reason, Timer, Timestamp, VirtualClock, VirtualSleep};
use seawall_http::{Deadline, RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimedBody};
use seawall_timeout::StreamLimits;
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// A byte every so often, for ever.
struct Trickle {
    clock: VirtualClock,
    every: Duration,
    sleep: Option<Pin<Box<VirtualSleep>>>,
    dropped: Arc<AtomicBool>,
}

impl Trickle {
    fn new(clock: &VirtualClock, every: Duration) -> Self {
        Self { clock: clock.clone(), every, sleep: None, dropped: Arc::default() }
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.dropped.store(true, SeqCst);
    }
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (clock, at) = (self.clock.clone(), self.clock.now().saturating_add(self.every));
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(clock.sleep_until(at)));
        std::task::ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

type Timed = TimedBody<Trickle, VirtualClock>;

/// Reads on, time passing in steps, until the body ends: how many frames, why, and when.
fn read(body: Timed, clock: &VirtualClock) -> (usize, Reason, Duration) {
    let mut body = Box::pin(body);
    let mut frames = 0_usize;
    loop {
        match body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(_))) => frames = frames.saturating_add(1),
            Poll::Ready(Some(Err(Error::Rejected(rejection)))) => {
                assert!(body.is_end_stream());
                return (frames, rejection.reason(), clock.now().since(Timestamp::ZERO));
            }
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => clock.advance(Duration::from_millis(50)),
        }
    }
}

async fn answer(limits: StreamLimits, clock: &VirtualClock, every: Duration, deadline: Option<Timestamp>) -> Timed {
    let trickle = Trickle::new(clock, every);
    let mut body = Some(trickle);
    let server = service_fn(move |_: Request<()>| {
        let body = body.take().unwrap();
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let mut request = Request::new(());
    if let Some(deadline) = deadline {
        Deadline::bring_forward(&mut request, deadline);
    }
    let layer = ResponseBodyTimeoutLayer::new(limits).with_clock(clock.clone());
    layer.layer(server).call(request).await.unwrap().into_body()
}

#[tokio::test]
async fn a_response_that_stands_still_is_cut_and_its_connection_dropped() {
    let clock = VirtualClock::new();
    let limits = StreamLimits::new().with_idle(SECOND).unwrap();
    let stands_still = Trickle::new(&clock, 60 * SECOND);
    let dropped = Arc::clone(&stands_still.dropped);

    let end = read(TimedBody::new(stands_still, limits, clock.clone(), None), &clock);

    assert_eq!(end, (0, Reason::IdleTimeout, SECOND));
    assert!(dropped.load(SeqCst));
}

#[tokio::test]
async fn a_trickle_is_not_idle_but_ends_with_the_total_limit() {
    let clock = VirtualClock::new();
    let limits = StreamLimits::new().with_idle(SECOND).unwrap().with_total(5 * SECOND).unwrap();

    let end = read(answer(limits, &clock, SECOND * 3 / 4, None).await, &clock);

    assert_eq!(end, (6, Reason::TotalTimeout, 5 * SECOND));
}

#[tokio::test]
async fn a_requests_deadline_ends_its_responses_body() {
    let clock = VirtualClock::new();
    let limits = StreamLimits::new().with_total(5 * SECOND).unwrap();
    let deadline = Timestamp::ZERO.saturating_add(2 * SECOND);

    let end = read(answer(limits, &clock, SECOND * 3 / 4, Some(deadline)).await, &clock);

    assert_eq!(end, (2, Reason::DeadlineExceeded, 2 * SECOND));
}

#[tokio::test]
async fn a_requests_deadline_ends_its_own_body_too() {
    let clock = VirtualClock::new();
    let layer = RequestBodyTimeoutLayer::new(StreamLimits::new().with_total(5 * SECOND).unwrap());
    let takes = service_fn(|request: Request<Timed>| async move { Ok::<_, Infallible>(request.into_body()) });
    let mut request = Request::new(Trickle::new(&clock, SECOND * 3 / 4));
    Deadline::bring_forward(&mut request, Timestamp::ZERO.saturating_add(2 * SECOND));

    let body = layer.with_clock(clock.clone()).layer(takes).call(request).await.unwrap();

    assert_eq!(read(body, &clock), (2, Reason::DeadlineExceeded, 2 * SECOND));
}

#[tokio::test]
async fn a_handler_sees_that_its_requests_body_stands_still() {
    let clock = VirtualClock::new();
    let layer = RequestBodyTimeoutLayer::new(StreamLimits::new().with_idle(SECOND).unwrap()).with_clock(clock.clone());
    let handler = service_fn(|request: Request<Timed>| async move {
        Ok::<_, Infallible>(request.into_body().collect().await.map(|_| ()))
    });
    let mut call = Box::pin(layer.layer(handler).call(Request::new(Trickle::new(&clock, 60 * SECOND))));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());

    clock.advance(SECOND);

    let Poll::Ready(Ok(Err(Error::Rejected(cut)))) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("not cut");
    };
    assert_eq!(cut.reason(), Reason::IdleTimeout);
}

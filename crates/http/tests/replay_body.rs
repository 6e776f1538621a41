//! Bodies that are sent again.
#![cfg(feature = "retry")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use proptest::prelude::*;
use seawall_backoff_with_jitter::Replay;
use seawall_http::{ReplayBodies, ReplayBody};

/// A body that streams: frames come one at a time, and a `None` is a poll that has to wait.
#[derive(Debug, Default)]
struct Stream {
    frames: VecDeque<Option<Result<Frame<Bytes>, &'static str>>>,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.frames.pop_front() {
            Some(None) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(frame) => Poll::Ready(frame),
            None => Poll::Ready(None),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "beside frames that fail and polls that wait")]
fn data(text: &'static str) -> Option<Result<Frame<Bytes>, &'static str>> {
    Some(Ok(Frame::data(Bytes::from(text))))
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("digest"), HeaderValue::from_static("abc"))])
}

fn put(frames: impl IntoIterator<Item = Option<Result<Frame<Bytes>, &'static str>>>) -> Request<Stream> {
    Request::put("/").body(Stream { frames: frames.into_iter().collect() }).expect("a request")
}

/// Reads up to `frames` frames: what came, and whether that was all.
fn read<B>(body: &mut ReplayBody<B>, frames: usize) -> (Vec<u8>, Option<HeaderMap>, bool)
where
    ReplayBody<B>: Body<Data = Bytes>,
{
    let (mut bytes, mut trailers) = (Vec::new(), None);
    let mut cx = Context::from_waker(Waker::noop());
    let mut left = frames;
    while left > 0 {
        match Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Pending => continue,
            Poll::Ready(None) => return (bytes, trailers, true),
            Poll::Ready(Some(Err(_))) => return (bytes, trailers, false),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
        left = left.saturating_sub(1);
    }
    (bytes, trailers, false)
}

const ALL: usize = usize::MAX;

#[test]
fn a_further_attempt_sends_what_was_recorded_and_goes_on_where_the_last_one_stopped() {
    let frames = [data("one "), None, data("two "), data("three"), Some(Ok(Frame::trailers(trailers())))];
    let (request, kept) = ReplayBodies::default().keep(put(frames));
    let mut kept = kept.expect("a PUT may be repeated");
    let mut first = request.into_body();
    assert_eq!(read(&mut first, 2).0, b"one two ");

    for attempt in 1..4 {
        let again = ReplayBodies::default().again(&mut kept, attempt).expect("it fits");
        assert_eq!(again.headers()["x-previous-attempts"], attempt.to_string());
        let stops_early = attempt == 1;
        let (bytes, trailing, ended) = read(&mut again.into_body(), if stops_early { 3 } else { ALL });
        assert_eq!(bytes, b"one two three");
        assert_eq!((trailing, ended), if stops_early { (None, false) } else { (Some(trailers()), true) });
    }
}

#[test]
fn an_attempt_that_another_has_overtaken_ends_with_an_error_not_as_if_it_were_complete() {
    let (request, kept) = ReplayBodies::default().keep(put([data("one "), data("two")]));
    let (mut first, mut kept) = (request.into_body(), kept.expect("kept"));
    assert_eq!(read(&mut first, 1).0, b"one ");

    let mut second = ReplayBodies::default().again(&mut kept, 1).expect("it fits").into_body();

    assert_eq!(read(&mut first, ALL), (vec![], None, false));
    assert!(!first.is_end_stream());
    assert_eq!(read(&mut second, ALL), (b"one two".to_vec(), None, true));
}

#[test]
fn a_body_above_the_limit_goes_on_and_is_not_sent_again() {
    let (request, kept) = ReplayBodies::new(5).keep(put([data("12345"), data("6"), data("7")]));
    let (mut body, mut kept) = (request.into_body(), kept.expect("nobody knows the length yet"));

    assert_eq!(read(&mut body, 1).0, b"12345");
    let fits = ReplayBodies::new(5).again(&mut kept, 1).expect("exactly the limit fits");
    let mut body = fits.into_body();
    assert_eq!(read(&mut body, ALL), (b"1234567".to_vec(), None, true));

    assert!(ReplayBodies::new(5).again(&mut kept, 2).is_none());
}

#[test]
fn a_request_that_may_not_be_repeated_or_says_it_is_too_long_is_sent_once_unrecorded() {
    let post = Request::post("/").body(Stream::default()).expect("a request");
    let long = Request::put("/").body(http_body_util::Full::new(Bytes::from_static(b"123456"))).expect("a request");

    let (request, kept) = ReplayBodies::new(5).keep(long);

    assert!(kept.is_none());
    assert_eq!(request.body().size_hint().exact(), Some(6));
    assert_eq!(read(&mut request.into_body(), ALL), (b"123456".to_vec(), None, true));
    assert!(ReplayBodies::default().keep(post).1.is_none());
}

#[test]
fn a_body_that_fails_is_not_sent_again() {
    let (request, kept) = ReplayBodies::default().keep(put([data("one"), Some(Err("torn"))]));
    let (mut body, mut kept) = (request.into_body(), kept.expect("kept"));

    assert_eq!(read(&mut body, ALL), (b"one".to_vec(), None, false));

    assert!(ReplayBodies::default().again(&mut kept, 1).is_none());
}

#[test]
fn an_empty_body_is_known_to_be_at_its_end() {
    let request = Request::put("/").body(Empty::<Bytes>::new()).expect("a request");

    let (request, kept) = ReplayBodies::new(0).keep(request);

    assert!(request.body().is_end_stream() && kept.is_some());
    assert_eq!(request.body().size_hint().exact(), Some(0));
}

#[test]
fn a_boxed_body_is_recorded_too() {
    let body = http_body_util::Full::new(Bytes::from_static(b"boxed"))
        .map_err(|never: Infallible| match never {})
        .boxed_unsync();
    let (request, kept) = ReplayBodies::default().keep(Request::put("/").body(body).expect("a request"));

    assert_eq!(read(&mut request.into_body(), ALL).0, b"boxed");
    assert!(kept.is_some());
}

proptest! {
    /// Whatever was read of earlier attempts, an attempt that is read to its end has sent the whole body.
    #[test]
    fn an_attempt_read_to_its_end_has_sent_exactly_the_original(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..8),
        stops in prop::collection::vec(0..10_usize, 0..5),
        with_trailers in any::<bool>(),
        limit in 0..80_usize,
    ) {
        let whole: Vec<u8> = chunks.concat();
        let mut frames: Vec<_> = chunks.into_iter().map(|chunk| Some(Ok(Frame::data(Bytes::from(chunk))))).collect();
        if with_trailers {
            frames.push(Some(Ok(Frame::trailers(trailers()))));
        }
        let (request, kept) = ReplayBodies::new(limit).keep(put(frames));
        let (mut body, mut kept) = (request.into_body(), kept.expect("kept"));
        for (attempt, frames) in (1..).zip(stops) {
            let (bytes, _, _) = read(&mut body, frames);
            prop_assert!(whole.starts_with(&bytes));
            let Some(request) = ReplayBodies::new(limit).again(&mut kept, attempt) else {
                // The attempt under way goes on, from where it was.
                let (rest, _, ended) = read(&mut body, ALL);
                prop_assert!(ended && whole == [bytes, rest].concat() && whole.len() > limit);
                return Ok(());
            };
            body = request.into_body();
        }
        let hint = body.size_hint();
        prop_assert!(hint.lower() <= whole.len() as u64);
        prop_assert_eq!(read(&mut body, ALL), (whole, with_trailers.then(trailers), true));
    }
}

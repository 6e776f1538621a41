//! Bodies that belong to their calls.
#![cfg(feature = "retry")]

use std::{
    collections::VecDeque,
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use seawall_backoff_with_jitter::{Backoff, IfUnknown, RetryConfig, RetryLayer};
use seawall_http::{HeldBody, HttpReplay, WholeBodyLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

type Piece = Poll<Result<Frame<Bytes>, &'static str>>;

/// Comes piece by piece, and counts those that were taken.
struct Pieces {
    left: VecDeque<Piece>,
    length: Option<u64>,
    taken: Arc<AtomicU32>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.taken.fetch_add(1, Relaxed);
        match self.left.pop_front() {
            None => Poll::Ready(None),
            Some(Poll::Ready(piece)) => Poll::Ready(Some(piece)),
            Some(Poll::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn data(text: &'static str) -> Piece {
    Poll::Ready(Ok(Frame::data(Bytes::from(text))))
}

fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Pieces {
    Pieces { left: pieces.into_iter().collect(), length: None, taken: Arc::default() }
}

/// What a call comes to whose response has this body, with room for `limit` bytes.
async fn held(limit: u64, body: Pieces) -> Result<Response<HeldBody<Pieces>>, &'static str> {
    let mut body = Some(body);
    let client = service_fn(move |()| ready(body.take().map(Response::new).ok_or("called twice")));
    WholeBodyLayer::new(limit, |error| error).layer(client).oneshot(()).await
}

#[tokio::test]
async fn a_call_ends_with_the_last_frame_of_its_body_trailers_included() {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
    let end = Poll::Ready(Ok(Frame::trailers(trailers.clone())));
    let body = pieces([data("one "), Poll::Pending, data(""), data("two"), end]);
    let taken = Arc::clone(&body.taken);

    let mut body = held(100, body).await.unwrap().into_body();

    assert_eq!(taken.load(Relaxed), 6, "three of data, one wait, the trailers and the end");
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(7), false));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
    assert_eq!(body.size_hint().exact(), Some(3));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two", "nothing empty is held");
    let rest = body.collect().await.unwrap();
    assert_eq!(rest.trailers(), Some(&trailers));
    assert_eq!(taken.load(Relaxed), 6);
}

#[tokio::test]
async fn a_body_that_is_longer_than_the_limit_goes_on_behind_what_has_come() {
    let body = pieces([data("one "), data("two "), data("three")]);
    let taken = Arc::clone(&body.taken);

    let body = held(7, body).await.unwrap().into_body();

    assert_eq!((taken.load(Relaxed), body.size_hint().lower(), body.size_hint().upper()), (2, 8, None));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "one two three");
}

#[tokio::test]
async fn a_body_that_says_it_is_longer_is_not_held_at_all_and_one_of_the_limit_is() {
    let said = |length| {
        let mut body = pieces([data("seven b")]);
        body.length = Some(length);
        let taken = Arc::clone(&body.taken);
        async move { held(7, body).await.map(|_| taken.load(Relaxed)) }
    };

    assert_eq!((said(8).await, said(0).await), (Ok(0), Ok(2)));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failed_call_which_a_retry_repeats() {
    let asked = Arc::new(AtomicU32::new(0));
    let client = service_fn({
        let asked = Arc::clone(&asked);
        move |_: Request<()>| {
            let broken = asked.fetch_add(1, Relaxed) == 0;
            let end = if broken { Poll::Ready(Err("broke off")) } else { data("end") };
            ready(Ok::<_, &str>(Response::new(pieces([data("half "), end]))))
        }
    });
    let config = RetryConfig::new(IfUnknown::OnlyUnsent).with_backoff(Backoff::constant(std::time::Duration::ZERO));
    let retry = RetryLayer::with_env(config, seawall_http::env()).with_replay(HttpReplay::default());
    let whole = WholeBodyLayer::new(1_024, |error| error).layer(client);

    let answer = retry.protect(whole).oneshot(Request::get("/").body(()).unwrap()).await.unwrap();

    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "half end");
    assert_eq!((asked.load(Relaxed), retry.figures().recovered), (2, 1));
}

#[test]
fn a_call_that_is_dropped_while_its_body_comes_holds_nothing() {
    let body = pieces([data("one "), Poll::Pending]);
    let taken = Arc::clone(&body.taken);
    let mut call = Box::pin(held(100, body));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(taken.load(Relaxed), 2);

    drop(call);

    assert_eq!(Arc::strong_count(&taken), 1);
}

#[test]
fn a_call_that_is_polled_again_after_it_has_ended_does_no_harm() {
    let client =
        service_fn(|broken: bool| ready(Ok(Response::new(pieces(broken.then_some(Poll::Ready(Err("broke off"))))))));
    let mut whole = WholeBodyLayer::new(100, |error| error).layer(client);
    for broken in [false, true] {
        let mut call = Box::pin(whole.call(broken));
        let mut poll = || call.as_mut().poll(&mut Context::from_waker(Waker::noop())).map(|ended| ended.is_err());

        assert_eq!((poll(), poll()), (Poll::Ready(broken), Poll::Pending));
    }
}

#[cfg(feature = "fallback")]
#[tokio::test]
async fn the_content_of_a_body_is_known_where_all_of_it_has_come_without_trailers_within_the_limit() {
    use seawall_http::Content;

    let content = async |of: Vec<Piece>, limit| held(100, pieces(of)).await.unwrap().into_body().content(limit);

    assert_eq!(content(vec![data("one "), data("two")], 7).await.as_deref(), Some(&b"one two"[..]));
    assert_eq!(content(vec![data("one")], 3).await.as_deref(), Some(&b"one"[..]));
    assert_eq!(content(vec![], 0).await.as_deref(), Some(&b""[..]));
    assert_eq!(content(vec![data("one "), data("two")], 6).await, None);
    assert_eq!(content(vec![data("one"), Poll::Ready(Ok(Frame::trailers(HeaderMap::new())))], 7).await, None);
    let longer = held(3, pieces([data("four"), data("more")])).await.unwrap().into_body();
    assert_eq!(longer.content(100), None);
    let again = <HeldBody<Pieces> as Content>::of("one".into());
    assert_eq!((again.size_hint().exact(), again.collect().await.unwrap().to_bytes()), (Some(3), "one".into()));
}

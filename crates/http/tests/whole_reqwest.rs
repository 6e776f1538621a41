//! Bodies of reqwest that belong to their calls.
#![cfg(feature = "reqwest")]

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use reqwest::ResponseBuilderExt;
use seawall_http::WholeReqwestLayer;
use tower::{Layer, ServiceExt, service_fn};

/// Four bytes, and no end until it is let go.
struct Waits {
    first: Option<Bytes>,
    go: Arc<AtomicBool>,
}

impl Body for Waits {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None if self.go.load(Relaxed) => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// A call whose response has such a body, with room for `limit` bytes.
fn call(
    limit: u64,
    go: &Arc<AtomicBool>,
) -> Pin<Box<impl Future<Output = reqwest::Result<reqwest::Response>> + use<>>> {
    let go = Arc::clone(go);
    let client = service_fn(move |()| {
        let body = Waits { first: Some(Bytes::from("four")), go: Arc::clone(&go) };
        let response = Response::builder().url("http://a.test/b".parse().expect("an address"));
        ready(Ok(response.body(reqwest::Body::wrap(body)).expect("a response").into()))
    });
    Box::pin(WholeReqwestLayer::new(limit).layer(client).oneshot(()))
}

#[tokio::test]
async fn a_call_lasts_as_long_as_its_body_which_has_its_address_and_all_its_bytes() {
    let go = Arc::new(AtomicBool::new(false));
    let mut call = call(100, &go);
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());

    go.store(true, Relaxed);
    let answer = call.await.unwrap();

    assert_eq!((answer.url().as_str(), answer.content_length()), ("http://a.test/b", Some(4)));
    assert_eq!(answer.text().await.unwrap(), "four");
}

#[tokio::test]
async fn what_is_longer_than_the_limit_is_handed_on_before_it_has_ended() {
    let go = Arc::new(AtomicBool::new(false));

    let answer = call(3, &go).await.unwrap();
    go.store(true, Relaxed);

    assert_eq!(answer.text().await.unwrap(), "four");
}

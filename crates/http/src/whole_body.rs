use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{Response, response::Parts};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Lets a call go on until the body of its response has come, so that one which breaks off is a failure that retry, circuit
/// breaker and fallback see. By itself a call ends with the head, and what becomes of the body is the caller's affair.
///
/// Innermost, next to the client, and so inside the attempt timeout, which then counts for the body too. At most `limit`
/// bytes are held: a response that is longer is handed on with what has come of it, and the rest streams. Frames are held as
/// they came, trailers too.
///
/// ```
/// use http_body_util::{BodyExt, Full};
/// use seawall_core::BoxError;
/// use seawall_http::WholeBodyLayer;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let client = service_fn(|_: http::Request<()>| async {
/// #     Ok::<_, BoxError>(http::Response::new(Full::new(bytes::Bytes::from("whole"))))
/// # });
/// let layer = WholeBodyLayer::new(64 << 10, BoxError::from);
/// let answer = layer.layer(client).oneshot(http::Request::new(())).await.unwrap();
/// assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "whole");
/// # }
/// ```
#[derive(Copy, Clone)]
pub struct WholeBodyLayer<M> {
    limit: u64,
    error: M,
}

impl<M> WholeBodyLayer<M> {
    /// Holds up to `limit` bytes. `error` makes an error of the client's of one of its bodies'.
    pub const fn new(limit: u64, error: M) -> Self {
        Self { limit, error }
    }
}

impl<S, M: Clone> Layer<S> for WholeBodyLayer<M> {
    type Service = WholeBody<S, M>;

    fn layer(&self, inner: S) -> Self::Service {
        WholeBody { inner, limit: self.limit, error: self.error.clone() }
    }
}

impl<M> fmt::Debug for WholeBodyLayer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeBodyLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A service behind a [`WholeBodyLayer`].
#[derive(Copy, Clone)]
pub struct WholeBody<S, M> {
    inner: S,
    limit: u64,
    error: M,
}

impl<S: fmt::Debug, M> fmt::Debug for WholeBody<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeBody").field("inner", &self.inner).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<S, Req, B, M> Service<Req> for WholeBody<S, M>
where
    S: Service<Req, Response = Response<B>>,
    B: Body + Unpin,
    M: Fn(B::Error) -> S::Error + Clone,
{
    type Response = Response<HeldBody<B>>;
    type Error = S::Error;
    type Future = WholeBodyFuture<S::Future, B, M>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        WholeBodyFuture {
            call: Some(self.inner.call(request)),
            limit: self.limit,
            error: self.error.clone(),
            head: None,
        }
    }
}

pin_project! {
    /// The future of a call through [`WholeBody`].
    #[must_use = "futures do nothing unless polled"]
    pub struct WholeBodyFuture<F, B, M>
    where
        B: Body,
    {
        // Nothing: it has ended.
        #[pin]
        call: Option<F>,
        limit: u64,
        error: M,
        // What has come of the response.
        head: Option<(Parts, HeldBody<B>)>,
    }
}

impl<F, B, M, E> Future for WholeBodyFuture<F, B, M>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + Unpin,
    M: Fn(B::Error) -> E,
{
    type Output = Result<Response<HeldBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (_, body) = if let Some(head) = this.head {
            head
        } else {
            let Some(call) = this.call.as_mut().as_pin_mut() else { return Poll::Pending };
            let response = ready!(call.poll(cx));
            this.call.set(None);
            let (parts, rest) = response?.into_parts();
            this.head.insert((parts, HeldBody { frames: VecDeque::new(), held: 0, rest: Some(rest) }))
        };
        if let Err(error) = ready!(body.poll_hold(*this.limit, cx)) {
            *this.head = None;
            return Poll::Ready(Err((this.error)(error)));
        }
        this.head.take().map_or(Poll::Pending, |(parts, body)| Poll::Ready(Ok(Response::from_parts(parts, body))))
    }
}

impl<F, B: Body, M> fmt::Debug for WholeBodyFuture<F, B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.head.as_ref().map(|(_, body)| body.held);
        f.debug_struct("WholeBodyFuture").field("limit", &self.limit).field("held", &held).finish_non_exhaustive()
    }
}

/// The body of a response through a [`WholeBodyLayer`]: the frames that have come, and the rest where it was too long.
pub struct HeldBody<B: Body> {
    frames: VecDeque<Frame<B::Data>>,
    /// Bytes in the frames.
    held: u64,
    rest: Option<B>,
}

impl<B: Body + Unpin> HeldBody<B> {
    /// Takes frames until the body has ended or is longer than `limit`.
    fn poll_hold(&mut self, limit: u64, cx: &mut Context<'_>) -> Poll<Result<(), B::Error>> {
        while let Some(rest) = &mut self.rest {
            if rest.size_hint().lower().saturating_add(self.held) > limit {
                break;
            }
            match ready!(Pin::new(rest).poll_frame(cx)?) {
                // Any number of them is within the limit, so none may take room.
                Some(frame) if frame.is_data() && length(&frame) == 0 => {}
                Some(frame) => {
                    self.held = self.held.saturating_add(length(&frame));
                    self.frames.push_back(frame);
                }
                None => self.rest = None,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "fallback")]
impl<B: Body> HeldBody<B> {
    /// Its frames and the bytes in them, where none is missing.
    pub(crate) fn whole(&self) -> Option<(&VecDeque<Frame<B::Data>>, u64)> {
        self.rest.is_none().then_some((&self.frames, self.held))
    }

    /// A body of `data`, all of which is there.
    pub(crate) fn of_data(data: B::Data) -> Self {
        let frame = Frame::data(data);
        let held = length(&frame);
        Self { frames: if held == 0 { VecDeque::new() } else { VecDeque::from([frame]) }, held, rest: None }
    }
}

fn length<D: Buf>(frame: &Frame<D>) -> u64 {
    frame.data_ref().map_or(0, |data| u64::try_from(data.remaining()).unwrap_or(u64::MAX))
}

impl<B: Body + Unpin> Body for HeldBody<B>
where
    B::Data: Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            self.held = self.held.saturating_sub(length(&frame));
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(self.held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(self.held));
        }
        hint
    }
}

impl<B: Body> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBody")
            .field("held", &self.held)
            .field("whole", &self.rest.is_none())
            .finish_non_exhaustive()
    }
}

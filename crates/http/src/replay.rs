use std::fmt;

use http::{Request, request::Parts};
use http_body::Body;
use seawall_backoff_with_jitter::Replay;
use seawall_core::Attributes;

#[cfg(feature = "reqwest")]
use crate::TimedRequest;
use crate::{HttpAttributes, ReplayBody, attempts::tell_previous_attempts, replay_body::ReplayHandle};

/// What is recorded of a body unless told otherwise: 64 KiB.
const RECORDED: usize = 64 << 10;

/// Keeps requests whose body can be cloned, and only those that may be repeated at all: a `POST` without an idempotency
/// key is neither kept nor cloned, unless [`with_unrepeatable`](Self::with_unrepeatable) says so.
///
/// Further attempts say in `x-previous-attempts`, and to gRPC servers in `grpc-previous-rpc-attempts`, how many went
/// before. For bodies that cannot be cloned there is [`ReplayBodies`].
/// ```
/// use seawall_backoff_with_jitter::Replay;
/// use seawall_http::HttpReplay;
///
/// let post = || http::Request::post("/").body("body").unwrap();
/// assert!(HttpReplay::default().keep(post()).1.is_none());
/// assert!(HttpReplay::default().with_unrepeatable().keep(post()).1.is_some());
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpReplay {
    all: bool,
}

impl HttpReplay {
    /// Keeps also what must not be repeated after it was sent. It is sent again only where it has not been: when a layer
    /// further in refused it, or [`HttpAdvice`](crate::HttpAdvice) finds proof of it. Default: not, which spares a `POST`
    /// the clone.
    #[must_use]
    pub const fn with_unrepeatable(mut self) -> Self {
        self.all = true;
        self
    }
}

impl<B: Clone> Replay<Request<B>> for HttpReplay {
    type Request = Request<B>;
    type Kept = Request<B>;

    #[inline]
    fn keep(&self, request: Request<B>) -> (Request<B>, Option<Request<B>>) {
        let kept = (self.all || may_repeat(&request)).then(|| request.clone());
        (request, kept)
    }

    fn again(&self, kept: &mut Request<B>, previous_attempts: u32) -> Option<Request<B>> {
        let mut request = kept.clone();
        tell_previous_attempts(request.headers_mut(), previous_attempts);
        Some(request)
    }
}

#[cfg(feature = "reqwest")]
impl Replay<reqwest::Request> for HttpReplay {
    type Request = reqwest::Request;
    type Kept = reqwest::Request;

    fn keep(&self, request: reqwest::Request) -> (reqwest::Request, Option<reqwest::Request>) {
        let kept = if self.all || may_repeat(&request) { request.try_clone() } else { None };
        (request, kept)
    }

    fn again(&self, kept: &mut reqwest::Request, previous_attempts: u32) -> Option<reqwest::Request> {
        let mut request = kept.try_clone()?;
        tell_previous_attempts(request.headers_mut(), previous_attempts);
        Some(request)
    }
}

#[cfg(feature = "reqwest")]
impl Replay<TimedRequest> for HttpReplay {
    type Request = TimedRequest;
    type Kept = TimedRequest;

    fn keep(&self, request: TimedRequest) -> (TimedRequest, Option<TimedRequest>) {
        let kept = if self.all || may_repeat(&request) { request.try_clone() } else { None };
        (request, kept)
    }

    fn again(&self, kept: &mut TimedRequest, previous_attempts: u32) -> Option<TimedRequest> {
        let mut timed = kept.try_clone()?;
        tell_previous_attempts(timed.request.headers_mut(), previous_attempts);
        Some(timed)
    }
}

/// Keeps requests whose body is a stream, by recording what goes by: up to a limit, 64 KiB unless told otherwise. Only
/// those that may be repeated at all.
///
/// Whether a request is recorded is decided by its head, before its body is touched: one that may not be repeated, or
/// says by its length that it is too long, is sent as it comes, once. One that turns out too long goes on, and is not
/// repeated. Trailers are kept. The service inside sees the body as a [`ReplayBody`].
///
/// ```
/// use seawall_backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer};
/// use seawall_http::{ReplayBodies, ReplayBody};
/// # use bytes::Bytes;
/// # use http_body_util::Full;
/// # use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let client = service_fn(|_: http::Request<ReplayBody<Full<Bytes>>>| async { Ok::<_, std::io::Error>(http::Response::new(())) });
/// let config = RetryConfig::new(IfUnknown::OnlyUnsent);
/// let retry = RetryLayer::with_env(config, seawall_http::env()).with_replay(ReplayBodies::default());
/// let answer = retry.protect(client).oneshot(http::Request::put("/").body(Full::<Bytes>::from("body")).unwrap()).await;
/// assert_eq!(answer.unwrap().status(), 200);
/// # }
/// ```
///
/// # Source
/// linkerd2-proxy's `ReplayBody` (64 KiB); gRPC proposal A6, "Memory Management (Buffering)".
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ReplayBodies {
    limit: usize,
    all: bool,
}

impl ReplayBodies {
    /// Records up to `limit` bytes of a body. 0 repeats only requests without one.
    pub const fn new(limit: usize) -> Self {
        Self { limit, all: false }
    }

    /// Records also what must not be repeated after it was sent, as [`HttpReplay::with_unrepeatable`] keeps it.
    #[must_use]
    pub const fn with_unrepeatable(mut self) -> Self {
        self.all = true;
        self
    }
}

impl Default for ReplayBodies {
    fn default() -> Self {
        Self::new(RECORDED)
    }
}

/// A request of which a further attempt can be made.
pub struct Recorded<B> {
    head: Parts,
    body: ReplayHandle<B>,
}

impl<B> fmt::Debug for Recorded<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("head", &self.head).finish_non_exhaustive()
    }
}

impl<B: Body> Replay<Request<B>> for ReplayBodies {
    type Request = Request<ReplayBody<B>>;
    type Kept = Recorded<B>;

    fn keep(&self, request: Request<B>) -> (Self::Request, Option<Recorded<B>>) {
        let least = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
        let repeats = least <= self.limit && (self.all || may_repeat(&request));
        let (head, body) = request.into_parts();
        let body = ReplayBody::new(body, if repeats { Some(self.limit) } else { None });
        let kept = repeats.then(|| Recorded { head: head.clone(), body: body.handle() });
        (Request::from_parts(head, body), kept)
    }

    fn again(&self, kept: &mut Recorded<B>, previous_attempts: u32) -> Option<Self::Request> {
        let mut request = Request::from_parts(kept.head.clone(), kept.body.again()?);
        tell_previous_attempts(request.headers_mut(), previous_attempts);
        Some(request)
    }
}

fn may_repeat<R>(request: &R) -> bool
where
    HttpAttributes: Attributes<R>,
{
    HttpAttributes.context(request).idempotent == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_is_kept_and_says_how_often_it_was_tried() {
        let (_, kept) = HttpReplay::default().keep(Request::get("/").body("body").unwrap());

        let replay = HttpReplay::default();
        let again = <HttpReplay as Replay<Request<&str>>>::again(&replay, &mut kept.unwrap(), 2).unwrap();

        assert_eq!((again.headers()["x-previous-attempts"].as_bytes(), *again.body()), (&b"2"[..], "body"));
    }

    #[test]
    fn a_post_without_a_key_is_sent_once() {
        assert!(HttpReplay::default().keep(Request::post("/").body(()).unwrap()).1.is_none());
        assert!(
            HttpReplay::default().keep(Request::post("/").header("idempotency-key", "a").body(()).unwrap()).1.is_some()
        );
    }
}

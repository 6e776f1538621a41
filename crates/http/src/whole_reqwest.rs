use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use reqwest::{Body, ResponseBuilderExt};
use tower_layer::Layer;
use tower_service::Service;

use crate::{HeldBody, WholeBody, WholeBodyFuture, WholeBodyLayer, reqwest_body::SharedBody};

/// What [`WholeBodyLayer`] is, for reqwest: lets a call go on until the body of its response has come, at most `limit` bytes of
/// it. Innermost, around the `reqwest::Client`, and so inside the attempt timeout, which then counts for the body too: one that
/// stands still, trickles or breaks off is a failure that retry, circuit breaker and fallback see, and
/// [`GoodAnswers`](crate::GoodAnswers) can keep it.
///
/// ```
/// use seawall_http::WholeReqwestLayer;
/// use tower::Layer;
///
/// let layer = WholeReqwestLayer::new(64 << 10);
/// let protected = seawall_core::WrapError::new(layer.layer(reqwest::Client::new()));
/// # let _ = protected;
/// ```
#[derive(Copy, Clone, Debug)]
pub struct WholeReqwestLayer {
    limit: u64,
}

impl WholeReqwestLayer {
    /// Holds up to `limit` bytes: what is longer is handed on with what has come of it, and the rest streams.
    pub const fn new(limit: u64) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for WholeReqwestLayer {
    type Service = WholeReqwest<S>;

    fn layer(&self, inner: S) -> WholeReqwest<S> {
        let same: Same = |error| error;
        WholeReqwest { inner: WholeBodyLayer::new(self.limit, same).layer(AsHttp { inner }) }
    }
}

type Same = fn(reqwest::Error) -> reqwest::Error;

/// A service behind a [`WholeReqwestLayer`].
#[derive(Copy, Clone, Debug)]
pub struct WholeReqwest<S> {
    inner: WholeBody<AsHttp<S>, Same>,
}

impl<S, Req> Service<Req> for WholeReqwest<S>
where
    S: Service<Req, Response = reqwest::Response, Error = reqwest::Error>,
{
    type Response = reqwest::Response;
    type Error = reqwest::Error;
    type Future = WholeReqwestFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        WholeReqwestFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The future of a call through [`WholeReqwest`].
    #[must_use = "futures do nothing unless polled"]
    pub struct WholeReqwestFuture<F> {
        #[pin]
        inner: WholeBodyFuture<AsHttpFuture<F>, Body, Same>,
    }
}

impl<F: Future<Output = Result<reqwest::Response, reqwest::Error>>> Future for WholeReqwestFuture<F> {
    type Output = Result<reqwest::Response, reqwest::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let held = ready!(self.project().inner.poll(cx))?;
        Poll::Ready(Ok(handed_on(held)))
    }
}

impl<F> fmt::Debug for WholeReqwestFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeReqwestFuture").field("inner", &self.inner).finish()
    }
}

/// reqwest's own response again, with all that is known of its content beside its body, which nobody can look into.
fn handed_on(response: Response<HeldBody<Body>>) -> reqwest::Response {
    #[cfg(feature = "fallback")]
    let response = {
        let mut response = response;
        if let Some(content) = crate::Content::content(response.body(), u64::MAX) {
            response.extensions_mut().insert(WholeContent(content));
        }
        response
    };
    response.map(|body| Body::wrap(SharedBody::new(body))).into()
}

/// The whole content of a response of reqwest.
#[cfg(feature = "fallback")]
#[derive(Clone)]
struct WholeContent(bytes::Bytes);

/// Gives reqwest's responses as those of `http`.
#[derive(Copy, Clone, Debug)]
struct AsHttp<S> {
    inner: S,
}

impl<S, Req> Service<Req> for AsHttp<S>
where
    S: Service<Req, Response = reqwest::Response, Error = reqwest::Error>,
{
    type Response = Response<Body>;
    type Error = reqwest::Error;
    type Future = AsHttpFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        AsHttpFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    struct AsHttpFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future<Output = Result<reqwest::Response, reqwest::Error>>> Future for AsHttpFuture<F> {
    type Output = Result<Response<Body>, reqwest::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().inner.poll(cx))?;
        // The address is lost on the way, unless it is handed over as an extension that only a builder can make.
        let address = Response::builder().url(response.url().clone());
        let mut response: Response<Body> = response.into();
        response.extensions_mut().extend(address.body(()).map(|it| it.into_parts().0.extensions).unwrap_or_default());
        Poll::Ready(Ok(response))
    }
}

#[cfg(feature = "fallback")]
pub use memory::shared_reqwest_page;

#[cfg(feature = "fallback")]
mod memory {
    use reqwest::{Body, ResponseBuilderExt};
    use seawall_fallback::Memory;

    use super::WholeContent;
    use crate::{GoodAnswers, KeptAnswer, good_answers::is_shared};

    /// What [`shared_page`](crate::shared_page) is, for requests of reqwest.
    pub fn shared_reqwest_page(request: &reqwest::Request) -> Option<String> {
        let page = || match request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok()) {
            Some(host) => format!("{host} {}", request.url()),
            None => request.url().to_string(),
        };
        is_shared(request.method(), request.headers()).then(page)
    }

    /// Of a client behind a [`WholeReqwestLayer`](super::WholeReqwestLayer).
    impl Memory<reqwest::Response> for GoodAnswers {
        type Kept = (KeptAnswer, reqwest::Url);

        fn remember(&self, response: &reqwest::Response) -> Option<Self::Kept> {
            let content = &response.extensions().get::<WholeContent>()?.0;
            let head = (response.status(), response.version(), response.headers());
            let kept = self.keep(head, |limit| crate::Content::content(content, limit))?;
            Some((kept, response.url().clone()))
        }

        fn weight(&self, (kept, address): &Self::Kept) -> u64 {
            Self::weigh(kept).saturating_add(u64::try_from(address.as_str().len()).unwrap_or(u64::MAX))
        }

        fn recall(&self, (kept, address): Self::Kept) -> Option<reqwest::Response> {
            let (mut parts, body) = kept.recall(Body::from).into_parts();
            let address = http::Response::builder().url(address).body(()).ok()?;
            parts.extensions.extend(address.into_parts().0.extensions);
            Some(http::Response::from_parts(parts, body).into())
        }
    }
}

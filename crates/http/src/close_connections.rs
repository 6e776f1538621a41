use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Has connections of HTTP/1 closed with their next answer while `when` says so: `connection: close`. Who is balanced over many
/// servers by the connection comes back to another, and what idle connections hold is free again.
///
/// Outermost on a server, so that refusals say it, too. HTTP/2 knows no such header and is left alone, as are answers that give
/// the connection to another protocol. `when` is asked once a call, as it begins.
///
/// ```
/// use seawall_http::CloseConnectionsLayer;
/// use std::sync::{Arc, atomic::{AtomicBool, Ordering::Relaxed}};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let overloaded = Arc::new(AtomicBool::new(false));
/// let asked = Arc::clone(&overloaded);
/// let server = CloseConnectionsLayer::new(move || asked.load(Relaxed)).layer(service_fn(|_: http::Request<()>| async {
///     Ok::<_, std::convert::Infallible>(http::Response::new(()))
/// }));
/// let call = || server.clone().oneshot(http::Request::new(()));
///
/// assert!(!call().await.unwrap().headers().contains_key("connection"));
/// overloaded.store(true, Relaxed);
/// assert_eq!(call().await.unwrap().headers()["connection"], "close");
/// # }
/// ```
///
/// # Source
/// RFC 9112 §9.6; Envoy's overload action `disable_http_keepalive`.
#[derive(Copy, Clone)]
pub struct CloseConnectionsLayer<W> {
    when: W,
}

impl<W: Fn() -> bool> CloseConnectionsLayer<W> {
    /// Closes them while `when` says so.
    pub const fn new(when: W) -> Self {
        Self { when }
    }
}

impl<W> fmt::Debug for CloseConnectionsLayer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseConnectionsLayer").finish_non_exhaustive()
    }
}

impl<S, W: Clone> Layer<S> for CloseConnectionsLayer<W> {
    type Service = CloseConnections<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        CloseConnections { inner, when: self.when.clone() }
    }
}

/// A service behind a [`CloseConnectionsLayer`].
#[derive(Copy, Clone)]
pub struct CloseConnections<S, W> {
    inner: S,
    when: W,
}

impl<S: fmt::Debug, W> fmt::Debug for CloseConnections<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseConnections").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, A, B, W> Service<Request<A>> for CloseConnections<S, W>
where
    S: Service<Request<A>, Response = Response<B>>,
    W: Fn() -> bool,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = CloseConnectionsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let closes = request.version() < Version::HTTP_2 && (self.when)();
        CloseConnectionsFuture { inner: self.inner.call(request), closes }
    }
}

pin_project! {
    /// The future of [`CloseConnections`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct CloseConnectionsFuture<F> {
        #[pin]
        inner: F,
        closes: bool,
    }
}

impl<F, B, X> Future for CloseConnectionsFuture<F>
where
    F: Future<Output = Result<Response<B>, X>>,
{
    type Output = Result<Response<B>, X>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if *this.closes && !response.status().is_informational() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;

    async fn connection(version: Version, status: u16, overloaded: bool) -> Option<HeaderValue> {
        let server = service_fn(move |_: Request<()>| async move {
            let answer = Response::builder().status(status).header(CONNECTION, "upgrade").body(()).unwrap();
            Ok::<_, Infallible>(answer)
        });
        let server = CloseConnectionsLayer::new(move || overloaded).layer(server);
        let request = Request::builder().version(version).body(()).unwrap();
        server.oneshot(request).await.unwrap().headers().get(CONNECTION).cloned()
    }

    #[tokio::test]
    async fn connections_of_http_1_are_closed_while_there_is_too_much_to_do_and_no_others() {
        let said = [
            connection(Version::HTTP_11, 200, true).await,
            connection(Version::HTTP_10, 503, true).await,
            connection(Version::HTTP_11, 200, false).await,
            connection(Version::HTTP_2, 200, true).await,
            connection(Version::HTTP_11, 101, true).await,
        ];

        assert_eq!(said.map(Option::unwrap), ["close", "close", "upgrade", "upgrade", "upgrade"]);
    }
}

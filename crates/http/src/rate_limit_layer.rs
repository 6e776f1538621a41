use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::RateLimitFields;

/// Writes `RateLimit` and `RateLimit-Policy` on every response, refusals included. Outside of
/// [`RespondLayer`](crate::RespondLayer), which writes `Retry-After`.
///
/// `look` is asked for each request, before it goes in, for a function that is asked again when the response is there: the
/// first borrows the key from the request, the second reads how the quota stands.
///
/// ```
/// use seawall_core::{Clock, MonotonicClock};
/// use seawall_http::{QuotaName, RateLimitFields, RateLimitHeadersLayer, RespondLayer};
/// use seawall_rate_limiter::{Quota, RateLimiterLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (name, quota) = (QuotaName::new("all")?, Quota::per_hour(10)?.with_burst(10)?);
/// let limiter = RateLimiterLayer::new(quota);
/// let limited = limiter.clone();
/// let look = move |_: &http::Request<()>| {
///     let limiter = limiter.clone();
///     move || RateLimitFields::new().with(name, &quota, limiter.gate().standing(MonotonicClock.now()))
/// };
/// let handler = service_fn(|_: http::Request<()>| async {
///     Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
/// });
/// let server = ServiceBuilder::new()
///     .layer(RateLimitHeadersLayer::new(look))
///     .layer(RespondLayer::new())
///     .service(limited.protect(handler));
/// let response = server.oneshot(http::Request::new(())).await?;
/// assert_eq!(response.headers()["ratelimit"], r#""all";r=9;t=360"#);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RateLimitHeadersLayer<L> {
    look: L,
}

impl<L> RateLimitHeadersLayer<L> {
    /// A layer that asks `look`.
    pub const fn new(look: L) -> Self {
        Self { look }
    }
}

impl<L> fmt::Debug for RateLimitHeadersLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitHeadersLayer").finish_non_exhaustive()
    }
}

impl<S, L: Clone> Layer<S> for RateLimitHeadersLayer<L> {
    type Service = RateLimitHeaders<S, L>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitHeaders { inner, look: self.look.clone() }
    }
}

/// A service behind a [`RateLimitHeadersLayer`].
#[derive(Clone)]
pub struct RateLimitHeaders<S, L> {
    inner: S,
    look: L,
}

impl<S: fmt::Debug, L> fmt::Debug for RateLimitHeaders<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitHeaders").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Req, B, L, T> Service<Req> for RateLimitHeaders<S, L>
where
    S: Service<Req, Response = Response<B>>,
    L: Fn(&Req) -> T,
    T: FnOnce() -> RateLimitFields,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = RateLimitHeadersFuture<S::Future, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let standing = Some((self.look)(&request));
        RateLimitHeadersFuture { inner: self.inner.call(request), standing }
    }
}

pin_project! {
    /// The future of [`RateLimitHeaders`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RateLimitHeadersFuture<F, T> {
        #[pin]
        inner: F,
        standing: Option<T>,
    }
}

impl<F: fmt::Debug, T> fmt::Debug for RateLimitHeadersFuture<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitHeadersFuture").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<F, B, X, T> Future for RateLimitHeadersFuture<F, T>
where
    F: Future<Output = Result<Response<B>, X>>,
    T: FnOnce() -> RateLimitFields,
{
    type Output = Result<Response<B>, X>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(standing) = this.standing.take() {
            standing().write(response.headers_mut());
        }
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::Request;
    use http_body_util::Empty;
    use seawall_core::{Clock, Env, VirtualClock};
    use seawall_rate_limiter::{KeyedRateLimiterLayer, Quota};
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;
    use crate::{QuotaName, RespondLayer};

    fn tenant(request: &Request<()>) -> &str {
        request.headers().get("tenant").and_then(|tenant| tenant.to_str().ok()).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_tenant_reads_what_is_left_of_its_own_quota_on_answers_and_on_refusals() {
        let (clock, name, quota) =
            (VirtualClock::new(), QuotaName::new("tenant").unwrap(), Quota::per_minute(30).unwrap());
        let limiter = KeyedRateLimiterLayer::with_env(quota, tenant, Env::new().with_clock(clock.clone()));
        let shared: KeyedRateLimiterLayer<str, _, _> = limiter.clone();
        let look = move |request: &Request<()>| {
            let (limiter, clock, tenant) = (limiter.clone(), clock.clone(), tenant(request).to_owned());
            move || RateLimitFields::new().with(name, &quota, limiter.gate().standing(tenant.as_str(), clock.now()))
        };
        let handler = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
        let server = ServiceBuilder::new()
            .layer(RateLimitHeadersLayer::new(look))
            .layer(RespondLayer::new())
            .service(shared.protect(handler));
        let call = |tenant| server.clone().oneshot(Request::builder().header("tenant", tenant).body(()).unwrap());

        let (answer, refusal, other) =
            (call("ann").await.unwrap(), call("ann").await.unwrap(), call("bob").await.unwrap());

        assert_eq!((answer.status().as_u16(), refusal.status().as_u16(), other.status().as_u16()), (200, 429, 200));
        assert_eq!(refusal.headers()["ratelimit-policy"], r#""tenant";q=30;w=60"#);
        assert_eq!(refusal.headers()["ratelimit"], r#""tenant";r=0;t=2"#);
        assert_eq!(refusal.headers()["retry-after"], "2");
    }
}

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Response, header::AGE};
use seawall_fallback::{Bounded, Bounds, Combine, Degraded, FallbackLayer, Flaw, Mark, Nothing};

use crate::{HttpEnv, env};

/// The header that names what answered in the place of a service.
pub const DEGRADED_HEADER: HeaderName = HeaderName::from_static("x-seawall-degraded");

/// The header that says why: `failure`, `overload`, `circuit_open`.
pub const DEGRADED_REASON_HEADER: HeaderName = HeaderName::from_static("x-seawall-degraded-reason");

/// A [`FallbackLayer`] for HTTP, in one call: in the environment of HTTP ([`env()`](env())), its answers marked
/// ([`MarkDegraded`]), within [`Bounds::default`]: a second, or what is left until the inherited deadline, and ten calls at the
/// same time. Other bounds are put around the alternative itself, or by hand.
///
/// ```
/// use seawall_fallback::Value;
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let broken = service_fn(|_: http::Request<()>| async {
///     Ok::<_, std::io::Error>(http::Response::builder().status(502).body("").unwrap())
/// });
/// let layer = seawall_http::fallback(Value::new(http::Response::new("what everybody likes")));
///
/// let answer = layer.protect(broken).oneshot(http::Request::new(())).await.unwrap();
///
/// assert_eq!(answer.headers()["x-seawall-degraded"], "value");
/// assert_eq!(answer.headers()["x-seawall-degraded-reason"], "failure");
/// # }
/// ```
pub fn fallback<A: Combine>(alternative: A) -> HttpFallbackLayer<A> {
    FallbackLayer::with_env(alternative.bounded(Bounds::default()), env()).with_mark(MarkDegraded)
}

/// What [`fallback`] makes.
pub type HttpFallbackLayer<A> = FallbackLayer<Bounded<A>, Nothing, HttpEnv, seawall_fallback::ByClass, MarkDegraded>;

/// Says in the headers of an answer that a fallback gave it: `x-seawall-degraded: <source>`, why in
/// `x-seawall-degraded-reason`, and `age` in whole seconds where the answer was given before. An `age` that it had then is
/// added to.
///
/// The service's own bad response whose fallback failed too gets the failure as an extension, [`FallbackFailure`],
/// which holds the alternative's error or a [`Flaw`].
///
/// ```
/// use seawall_fallback::{FallbackLayer, Value};
/// use seawall_http::MarkDegraded;
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let broken = service_fn(|_: http::Request<()>| async {
///     Ok::<_, std::io::Error>(http::Response::builder().status(502).body("").unwrap())
/// });
/// let popular = Value::new(http::Response::new("what everybody likes"));
/// let layer = FallbackLayer::with_env(popular.clone(), seawall_http::env()).with_mark(MarkDegraded);
///
/// let answer = layer.protect(broken).oneshot(http::Request::new(())).await.unwrap();
///
/// assert_eq!((answer.status().as_u16(), *answer.body()), (200, "what everybody likes"));
/// assert_eq!(answer.headers()["x-seawall-degraded"], "value");
/// # }
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkDegraded;

/// A response extension: how the fallback failed that should have answered in this response's place.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "one error in an extension")]
pub struct FallbackFailure<F>(pub Arc<F>);

impl<F> Clone for FallbackFailure<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: fmt::Display> fmt::Display for FallbackFailure<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl MarkDegraded {
    fn write(headers: &mut HeaderMap, degraded: &Degraded) {
        if let Ok(source) = HeaderValue::from_str(degraded.source) {
            headers.insert(DEGRADED_HEADER, source);
        }
        if !degraded.reason.is_empty() {
            headers.insert(DEGRADED_REASON_HEADER, HeaderValue::from_static(degraded.reason));
        }
        if let Some(age) = degraded.age {
            let before = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
            headers.insert(AGE, HeaderValue::from(age.as_secs().saturating_add(before)));
        }
    }
}

impl<B, F: Send + Sync + 'static> Mark<Response<B>, F> for MarkDegraded {
    fn degraded(&self, response: &mut Response<B>, degraded: &Degraded) {
        Self::write(response.headers_mut(), degraded);
    }

    fn failed(&self, response: &mut Response<B>, error: F) {
        response.extensions_mut().insert(FallbackFailure(Arc::new(error)));
    }

    fn flawed(&self, response: &mut Response<B>, flaw: Flaw) {
        response.extensions_mut().insert(FallbackFailure(Arc::new(flaw)));
    }
}

#[cfg(feature = "reqwest")]
impl<F: Send + Sync + 'static> Mark<reqwest::Response, F> for MarkDegraded {
    fn degraded(&self, response: &mut reqwest::Response, degraded: &Degraded) {
        Self::write(response.headers_mut(), degraded);
    }

    fn failed(&self, response: &mut reqwest::Response, error: F) {
        response.extensions_mut().insert(FallbackFailure(Arc::new(error)));
    }

    fn flawed(&self, response: &mut reqwest::Response, flaw: Flaw) {
        response.extensions_mut().insert(FallbackFailure(Arc::new(flaw)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn mark(response: &mut Response<()>, degraded: Degraded) {
        <MarkDegraded as Mark<_, ()>>::degraded(&MarkDegraded, response, &degraded);
    }

    #[test]
    fn an_answer_given_before_tells_its_whole_age() {
        let mut response = Response::builder().header(AGE, "5").body(()).unwrap();

        mark(&mut response, Degraded::new("last-good").with_age(Duration::from_millis(7_900)));

        assert_eq!(response.headers()[DEGRADED_HEADER], "last-good");
        assert_eq!(response.headers()[AGE], "12");
    }

    #[cfg(feature = "reqwest")]
    #[test]
    fn answers_of_reqwest_say_it_too() {
        let mut response = reqwest::Response::from(Response::new(""));

        <MarkDegraded as Mark<_, ()>>::degraded(&MarkDegraded, &mut response, &Degraded::new("value"));
        MarkDegraded.failed(&mut response, "empty");

        assert_eq!(response.headers()[DEGRADED_HEADER], "value");
        assert!(response.extensions().get::<FallbackFailure<&str>>().is_some());
    }

    #[test]
    fn a_fresh_answer_has_no_age_and_a_name_that_is_no_header_is_left_out() {
        let mut response = Response::new(());
        mark(&mut response, Degraded::new("value"));
        let mut nameless = Response::new(());
        mark(&mut nameless, Degraded::new("two\nlines"));

        assert_eq!(response.headers().len(), 1);
        assert!(nameless.headers().is_empty());
    }

    #[test]
    fn the_fallbacks_failure_is_kept_beside_the_bad_response() {
        let mut response = Response::new(());

        MarkDegraded.failed(&mut response, "empty");

        let failure = response.extensions().get::<FallbackFailure<&str>>();
        assert_eq!(failure.map(ToString::to_string).as_deref(), Some("empty"));

        <MarkDegraded as Mark<_, ()>>::flawed(&MarkDegraded, &mut response, Flaw::Panic);

        let failure = response.extensions().get::<FallbackFailure<Flaw>>();
        assert_eq!(failure.map(ToString::to_string).as_deref(), Some("the fallback panicked"));
    }
}

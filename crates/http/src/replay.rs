use http::{HeaderName, HeaderValue, Request};
use seawall_backoff_with_jitter::Replay;
use seawall_core::Attributes;

use crate::HttpAttributes;

/// The header that says how many attempts went before this one. Absent on the first.
const ATTEMPTS_HEADER: HeaderName = HeaderName::from_static("x-previous-attempts");

/// Keeps requests whose body can be cloned, and only those that may be repeated at all: a `POST` without an idempotency
/// key is neither kept nor cloned.
///
/// Further attempts say in `x-previous-attempts` how many went before.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpReplay;

impl<B: Clone> Replay<Request<B>> for HttpReplay {
    type Request = Request<B>;
    type Kept = Request<B>;

    fn keep(&self, request: Request<B>) -> (Request<B>, Option<Request<B>>) {
        let kept = may_repeat(&request).then(|| request.clone());
        (request, kept)
    }

    fn again(&self, kept: &mut Request<B>, previous_attempts: u32) -> Option<Request<B>> {
        let mut request = kept.clone();
        request.headers_mut().insert(ATTEMPTS_HEADER, HeaderValue::from(previous_attempts));
        Some(request)
    }
}

#[cfg(feature = "reqwest")]
impl Replay<reqwest::Request> for HttpReplay {
    type Request = reqwest::Request;
    type Kept = reqwest::Request;

    fn keep(&self, request: reqwest::Request) -> (reqwest::Request, Option<reqwest::Request>) {
        let kept = if may_repeat(&request) { request.try_clone() } else { None };
        (request, kept)
    }

    fn again(&self, kept: &mut reqwest::Request, previous_attempts: u32) -> Option<reqwest::Request> {
        let mut request = kept.try_clone()?;
        request.headers_mut().insert(ATTEMPTS_HEADER, HeaderValue::from(previous_attempts));
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
        let (_, kept) = HttpReplay.keep(Request::get("/").body("body").unwrap());

        let again = <HttpReplay as Replay<Request<&str>>>::again(&HttpReplay, &mut kept.unwrap(), 2).unwrap();

        assert_eq!((again.headers()[ATTEMPTS_HEADER].as_bytes(), *again.body()), (&b"2"[..], "body"));
    }

    #[test]
    fn a_post_without_a_key_is_sent_once() {
        assert!(HttpReplay.keep(Request::post("/").body(()).unwrap()).1.is_none());
        assert!(HttpReplay.keep(Request::post("/").header("idempotency-key", "a").body(()).unwrap()).1.is_some());
    }
}

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, HOST, PROXY_AUTHENTICATE, RANGE, SET_COOKIE,
        TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
    },
};
use seawall_fallback::Memory;

use crate::{Content, DEGRADED_HEADER};

/// What an answer takes up beside its body and its headers, estimated: key and bookkeeping.
const BESIDE: u64 = 256;
/// What a header takes up beside name and value: an entry of the map and its place in the index.
const BESIDE_HEADER: usize = 112;

/// What was for one connection, or one caller.
const NOT_KEPT: [HeaderName; 7] = [CONNECTION, PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// The last good answers over HTTP, as [`LastGood`](seawall_fallback::LastGood) keeps them: status, headers and the whole body,
/// where it is at hand ([`Content`]) and no longer than a limit. So a [`WholeBodyLayer`](crate::WholeBodyLayer) belongs next to
/// the client, for reqwest a `WholeReqwestLayer`.
///
/// Not kept are answers of a fallback, here or further in (`x-seawall-degraded`), parts (206, 304), what asks not to be
/// (`cache-control: no-store` or `private`), what varies by more than the encodings that are accepted, which are taken to be the
/// same for all calls of a client, and of the others cookies that are set and what was for one connection.
/// [`MarkDegraded`](crate::MarkDegraded) says in `age` how old an answer is that is given out again. It weighs its bytes, so
/// [`LastGoodConfig::with_max_weight`](seawall_fallback::LastGoodConfig::with_max_weight) bounds the memory.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use seawall_fallback::{LastGood, LastGoodConfig};
/// use seawall_http::{GoodAnswers, shared_page};
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = LastGoodConfig::default().with_max_weight(32 << 20)?;
/// let last = LastGood::remembering(config, GoodAnswers::new(64 << 10), Option::<String>::clone);
/// let layer = seawall_http::fallback(last).with_extract(shared_page::<()>);
/// let works = service_fn(|_: Request<()>| async { Ok::<_, std::io::Error>(Response::new(Bytes::from("sunny"))) });
/// let broken = service_fn(|_: Request<()>| async { Err::<Response<Bytes>, _>(std::io::Error::other("down")) });
///
/// layer.protect(works).oneshot(Request::get("/weather").body(())?).await?;
/// let answer = layer.protect(broken).oneshot(Request::get("/weather").body(())?).await?;
///
/// assert_eq!(answer.body(), "sunny");
/// assert_eq!((&answer.headers()["x-seawall-degraded"], &answer.headers()["age"]), (&"last-good".parse()?, &"0".parse()?));
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// What is left out: RFC 9110 §7.6.1 (fields for one connection), RFC 9111 §3 (storing responses).
#[derive(Clone, Debug)]
pub struct GoodAnswers {
    max_body: u64,
    headers: HeaderMap,
}

/// What is kept of an answer.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
}

impl GoodAnswers {
    /// Keeps answers whose bodies are no longer than `max_body` bytes.
    pub fn new(max_body: u64) -> Self {
        Self { max_body, headers: HeaderMap::new() }
    }

    /// Gives what is kept out with this header, in the place of its own: `x-cache: stale`, say.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn keep(
        &self,
        (status, version, headers): (StatusCode, Version, &HeaderMap),
        body: impl FnOnce(u64) -> Option<Bytes>,
    ) -> Option<KeptAnswer> {
        let is_part = matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
        if is_part || headers.contains_key(DEGRADED_HEADER) || asks_not_to_be_stored(headers) || varies(headers) {
            return None;
        }
        let body = body(self.max_body)?;
        let mut headers = headers.clone();
        for name in NOT_KEPT {
            headers.remove(name);
        }
        self.headers.iter().for_each(|(name, value)| drop(headers.insert(name, value.clone())));
        Some(KeptAnswer { status, version, headers, body })
    }

    pub(crate) fn weigh(kept: &KeptAnswer) -> u64 {
        let headers = kept.headers.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()));
        let headers = headers.map(|bytes| bytes.saturating_add(BESIDE_HEADER));
        let bytes = headers.fold(kept.body.len(), usize::saturating_add);
        u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(BESIDE)
    }
}

impl KeptAnswer {
    pub(crate) fn recall<B>(self, body: impl FnOnce(Bytes) -> B) -> Response<B> {
        let mut response = Response::new(body(self.body));
        *response.status_mut() = self.status;
        *response.version_mut() = self.version;
        *response.headers_mut() = self.headers;
        response
    }
}

impl<B: Content> Memory<Response<B>> for GoodAnswers {
    type Kept = KeptAnswer;

    fn remember(&self, response: &Response<B>) -> Option<KeptAnswer> {
        let head = (response.status(), response.version(), response.headers());
        self.keep(head, |limit| response.body().content(limit))
    }

    fn weight(&self, kept: &KeptAnswer) -> u64 {
        Self::weigh(kept)
    }

    fn recall(&self, kept: KeptAnswer) -> Option<Response<B>> {
        Some(kept.recall(B::of))
    }
}

fn asks_not_to_be_stored(headers: &HeaderMap) -> bool {
    let no_store = |directive: &str| ["no-store", "private"].iter().any(|it| directive.eq_ignore_ascii_case(it));
    members(headers, &CACHE_CONTROL).any(no_store)
}

fn varies(headers: &HeaderMap) -> bool {
    members(headers, &VARY).any(|name| !name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str()))
}

/// The members of a list that stands in one field or several.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let fields = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| field.split(',')).map(str::trim)
}

/// Where a request finds what everybody finds there: scheme, host, path and query of a `GET` without `Authorization`,
/// `Cookie` or `Range`; nothing of any other. What [`LastGood`](seawall_fallback::LastGood) may keep answers under that are
/// given to others.
///
/// ```
/// use http::Request;
/// use seawall_http::shared_page;
///
/// let page = Request::get("http://a.test/weather?city=Oslo").body(())?;
/// assert_eq!(shared_page(&page).as_deref(), Some("http://a.test/weather?city=Oslo"));
/// assert_eq!(shared_page(&Request::get("/me").header("cookie", "session=1").body(())?), None);
/// # Ok::<(), http::Error>(())
/// ```
pub fn shared_page<B>(request: &Request<B>) -> Option<String> {
    let (headers, uri) = (request.headers(), request.uri());
    if !is_shared(request.method(), headers) {
        return None;
    }
    match headers.get(HOST).and_then(|host| host.to_str().ok()) {
        Some(host) if uri.host().is_none() => Some(format!("{host}{uri}")),
        // Who is asked need not be who is meant.
        Some(host) if uri.authority().is_none_or(|authority| authority.as_str() != host) => {
            Some(format!("{host} {uri}"))
        }
        _ => Some(uri.to_string()),
    }
}

pub(crate) fn is_shared(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET && [AUTHORIZATION, COOKIE, RANGE].iter().all(|name| !headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, header: Option<(&str, &str)>) -> Response<Bytes> {
        let answer =
            Response::builder().status(status).header("content-type", "text/plain").header("set-cookie", "a=1");
        let answer = header.into_iter().fold(answer, |answer, (name, value)| answer.header(name, value));
        answer.body(Bytes::from("sunny")).unwrap()
    }

    fn kept(answer: &Response<Bytes>) -> Option<KeptAnswer> {
        GoodAnswers::new(5).remember(answer)
    }

    #[test]
    fn an_answer_comes_back_without_what_was_for_one_caller() {
        let memory =
            GoodAnswers::new(5).with_header(HeaderName::from_static("x-cache"), HeaderValue::from_static("stale"));
        let kept = memory.remember(&answer(203, Some(("x-cache", "hit")))).unwrap();

        let back: Response<Bytes> = memory.recall(kept).unwrap();

        assert_eq!((back.status().as_u16(), &back.body()[..]), (203, &b"sunny"[..]));
        assert_eq!(back.headers()["content-type"], "text/plain");
        assert_eq!(back.headers()["x-cache"], "stale");
        assert_eq!(back.headers().len(), 2);
    }

    #[test]
    fn fallbacks_answers_parts_and_what_asks_not_to_be_are_not_kept() {
        for (status, header) in [
            (200, Some(("x-seawall-degraded", "value"))),
            (206, None),
            (304, None),
            (200, Some(("cache-control", "max-age=60, No-Store"))),
            (200, Some(("cache-control", "Private"))),
            (200, Some(("vary", "accept-encoding, accept-language"))),
            (200, Some(("vary", "*"))),
        ] {
            assert!(kept(&answer(status, header)).is_none(), "{status} {header:?}");
        }
        for header in [("cache-control", "no-cache"), ("vary", "Accept-Encoding")] {
            assert!(kept(&answer(200, Some(header))).is_some(), "{header:?}");
        }
    }

    #[test]
    fn a_body_of_more_than_the_limit_is_not_kept_and_the_weight_is_its_bytes_and_those_of_headers() {
        let good = answer(200, None);

        assert!(GoodAnswers::new(4).remember(&good).is_none());
        let weight = <GoodAnswers as Memory<Response<Bytes>>>::weight(&GoodAnswers::new(5), &kept(&good).unwrap());
        assert_eq!(weight, BESIDE + 5 + "content-typetext/plain".len() as u64 + BESIDE_HEADER as u64);
    }

    #[test]
    fn only_what_is_the_same_for_everybody_has_a_page() {
        let page = |request: http::request::Builder| shared_page(&request.body(()).unwrap());

        assert_eq!(page(Request::get("/a?b=1").header("host", "c.test")).as_deref(), Some("c.test/a?b=1"));
        assert_eq!(page(Request::get("/a")).as_deref(), Some("/a"));
        let asked = |host| page(Request::get("http://10.0.0.1/a").header("host", host));
        assert_eq!(
            (asked("a.test").as_deref(), asked("10.0.0.1").as_deref()),
            (Some("a.test http://10.0.0.1/a"), Some("http://10.0.0.1/a"))
        );
        assert_eq!(page(Request::post("/a")), None);
        for name in ["authorization", "cookie", "range"] {
            assert_eq!(page(Request::get("/a").header(name, "x")), None, "{name}");
        }
    }
}

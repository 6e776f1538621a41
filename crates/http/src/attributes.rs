use http::Request;
use seawall_core::{Attributes, CallContext, Criticality};

use crate::{deadline::Deadline, is_idempotent};

/// The header that carries the criticality of a request: `sheddable`, `degraded`, `default` or `critical`.
pub const CRITICALITY_HEADER: &str = "x-criticality";

/// The header by which a client makes a request safe to repeat.
const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

/// A request extension that says whether repeating the request does harm, where method and headers say it wrongly.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "one word about one request")]
pub struct Idempotent(pub bool);

/// Reads the [`CallContext`] of a request from its extensions and headers.
///
/// | what | from |
/// |---|---|
/// | deadline | the extension [`Deadline`], or the [inherited](seawall_core::inherited_deadline) one where that is earlier |
/// | criticality | the extension [`Criticality`], else the header `x-criticality` |
/// | idempotent | the extension [`Idempotent`], else yes with an `Idempotency-Key`, else by method |
///
/// Headers of strangers decide how they are treated: strip `x-criticality` at the edge.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAttributes;

impl<B> Attributes<Request<B>> for HttpAttributes {
    fn context(&self, request: &Request<B>) -> CallContext {
        let (extensions, headers) = (request.extensions(), request.headers());
        let idempotent = extensions.get().map_or_else(
            || is_idempotent(request.method()) || headers.contains_key(IDEMPOTENCY_KEY_HEADER),
            |Idempotent(known)| *known,
        );
        let criticality = extensions
            .get()
            .copied()
            .or_else(|| parse_criticality(headers.get(CRITICALITY_HEADER)?.as_bytes()))
            .unwrap_or_default();
        let context = CallContext::new().with_idempotent(idempotent).with_criticality(criticality);
        match Deadline::earlier(extensions.get().copied()) {
            Some(deadline) => deadline.put_into(context),
            None => context,
        }
    }
}

/// A `reqwest::Request` has no extensions: criticality and idempotency come from its headers and its method.
#[cfg(feature = "reqwest")]
impl Attributes<reqwest::Request> for HttpAttributes {
    fn context(&self, request: &reqwest::Request) -> CallContext {
        let headers = request.headers();
        let idempotent = is_idempotent(request.method()) || headers.contains_key(IDEMPOTENCY_KEY_HEADER);
        let criticality = headers.get(CRITICALITY_HEADER).and_then(|value| parse_criticality(value.as_bytes()));
        CallContext::inherited().with_idempotent(idempotent).with_criticality(criticality.unwrap_or_default())
    }
}

fn parse_criticality(value: &[u8]) -> Option<Criticality> {
    let known: [(&[u8], Criticality); 4] = [
        (b"sheddable", Criticality::Sheddable),
        (b"degraded", Criticality::Degraded),
        (b"default", Criticality::Default),
        (b"critical", Criticality::Critical),
    ];
    known.into_iter().find(|(name, _)| value.eq_ignore_ascii_case(name)).map(|(_, criticality)| criticality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_idempotent_with_a_key_and_by_the_callers_word() {
        let post = || Request::post("/");

        let plain = HttpAttributes.context(&post().body(()).unwrap());
        let keyed = HttpAttributes.context(&post().header("Idempotency-Key", "a").body(()).unwrap());
        let told = HttpAttributes.context(&post().extension(Idempotent(true)).body(()).unwrap());

        assert_eq!((plain.idempotent, keyed.idempotent, told.idempotent), (Some(false), Some(true), Some(true)));
    }

    #[test]
    fn an_extension_outranks_the_header_and_an_unknown_word_is_the_default() {
        let header = Request::get("/").header(CRITICALITY_HEADER, "Critical").body(()).unwrap();
        let both = Request::get("/").header(CRITICALITY_HEADER, "critical").extension(Criticality::Sheddable);
        let unknown = Request::get("/").header(CRITICALITY_HEADER, "most").body(()).unwrap();

        assert_eq!(HttpAttributes.context(&header).criticality, Criticality::Critical);
        assert_eq!(HttpAttributes.context(&both.body(()).unwrap()).criticality, Criticality::Sheddable);
        assert_eq!(HttpAttributes.context(&unknown).criticality, Criticality::Default);
    }

    #[cfg(feature = "reqwest")]
    #[test]
    fn a_request_of_reqwest_inherits_the_callers_deadline() {
        let at = seawall_core::Timestamp::from_nanos(5);
        let request = reqwest::Request::new(reqwest::Method::GET, "http://localhost/".parse().expect("a URL"));

        let read = seawall_core::InheritDeadline::new(at, async { HttpAttributes.context(&request).deadline });

        let read = std::pin::pin!(read).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert_eq!(read, std::task::Poll::Ready(Some(at)));
    }
}

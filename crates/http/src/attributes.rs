use http::{HeaderMap, Request};
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

/// A request extension that says on whose behalf it is made, as any number that tells tenants apart: a hash of a name that
/// has been checked.
///
/// 0, as without it, is everybody of whom nothing is known.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "one word about one request")]
pub struct Tenant(pub u64);

/// A request extension that says how many places or tokens a request takes. Without it, 1.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "one word about one request")]
pub struct Cost(pub u32);

/// A request extension that lets a request through whatever the load: health checks, administration.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "its presence says all")]
pub struct Exempt;

/// Reads the [`CallContext`] of a request from its extensions and headers.
///
/// | what | from |
/// |---|---|
/// | deadline | the extension [`Deadline`], or the [inherited](seawall_core::inherited_deadline) one where that is earlier |
/// | criticality | the extension [`Criticality`], else the header `x-criticality` |
/// | idempotent | the extension [`Idempotent`], else yes with an `Idempotency-Key`, else by method |
/// | tenant | the extension [`Tenant`], else 0 |
/// | cost | the extension [`Cost`], else 1 |
/// | exempt | the extension [`Exempt`] |
///
/// Headers of strangers decide how they are treated: strip `x-criticality` at the edge. Tenant, cost and exemption have no
/// header for that reason: whoever has found out who asks says so by an extension, outside the layers that read it.
///
/// ```
/// use http::Request;
/// use seawall_core::Attributes;
/// use seawall_http::{Cost, Exempt, HttpAttributes, Tenant};
///
/// let export = Request::get("/export").extension(Tenant(7)).extension(Cost(20)).body(())?;
/// let probe = Request::get("/health").extension(Exempt).body(())?;
///
/// let (export, probe) = (HttpAttributes.context(&export), HttpAttributes.context(&probe));
/// assert_eq!((export.tenant, export.cost, export.exempt), (7, 20, false));
/// assert_eq!((probe.tenant, probe.cost, probe.exempt), (0, 1, true));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAttributes;

impl<B> Attributes<Request<B>> for HttpAttributes {
    fn context(&self, request: &Request<B>) -> CallContext {
        let (extensions, headers) = (request.extensions(), request.headers());
        let idempotent = extensions.get().map_or_else(
            || is_idempotent(request.method()) || headers.contains_key(IDEMPOTENCY_KEY_HEADER),
            |Idempotent(known)| *known,
        );
        let criticality = extensions.get().copied().or_else(|| parse_criticality(headers)).unwrap_or_default();
        let context = CallContext::new()
            .with_idempotent(idempotent)
            .with_criticality(criticality)
            .with_tenant(extensions.get().map_or(0, |Tenant(tenant)| *tenant))
            .with_cost(extensions.get().map_or(1, |Cost(cost)| *cost))
            .with_exempt(extensions.get::<Exempt>().is_some());
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
        let criticality = parse_criticality(headers).unwrap_or_default();
        CallContext::inherited().with_idempotent(idempotent).with_criticality(criticality)
    }
}

/// The criticality that the header `x-criticality` names, in letters of either case. `None` without the header, or when it
/// names none: whoever lowers what a request is worth by it does not take nonsense for a word.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use seawall_core::Criticality;
/// use seawall_http::{CRITICALITY_HEADER, parse_criticality};
///
/// let said = |word| HeaderMap::from_iter([(CRITICALITY_HEADER.parse().unwrap(), HeaderValue::from_static(word))]);
/// assert_eq!(parse_criticality(&said("Sheddable")), Some(Criticality::Sheddable));
/// assert_eq!(parse_criticality(&said("nonsense")), None);
/// ```
pub fn parse_criticality(headers: &HeaderMap) -> Option<Criticality> {
    let value = headers.get(CRITICALITY_HEADER)?.as_bytes();
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

    #[test]
    fn tenant_cost_and_exemption_are_what_the_extensions_say() {
        let plain = HttpAttributes.context(&Request::get("/").body(()).unwrap());
        let tenant = HttpAttributes.context(&Request::get("/").extension(Tenant(u64::MAX)).body(()).unwrap());
        let cost = HttpAttributes.context(&Request::get("/").extension(Cost(20)).body(()).unwrap());
        let exempt = HttpAttributes.context(&Request::get("/").extension(Exempt).body(()).unwrap());

        let read = |context: CallContext| (context.tenant, context.cost, context.exempt);
        assert_eq!(
            [plain, tenant, cost, exempt].map(read),
            [(0, 1, false), (u64::MAX, 1, false), (0, 20, false), (0, 1, true)]
        );
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

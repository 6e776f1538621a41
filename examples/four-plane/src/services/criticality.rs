//! Who goes first when there is not room for all.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use percent_encoding::percent_decode_str;
use seawall::http::{CRITICALITY_HEADER, parse_criticality};
use seawall_core::Criticality;

/// Money: a booking that is refused is one that another site gets. By method and whole path, as it is routed: what only
/// looks like one goes with the rest.
const CRITICAL: [(Method, &str); 2] = [(Method::POST, "/bookings"), (Method::POST, "/payments")];

/// Pages that are complete without these, by first segment. Whoever writes it in another way is not served first for that.
const LESS: [(&str, Criticality); 3] = [
    ("recommendations", Criticality::Degraded),
    ("feed", Criticality::Sheddable),
    ("analytics", Criticality::Sheddable),
];

/// Decides what requests are worth.
#[derive(Debug, Clone, Copy)]
pub struct Criticalities {
    trusting: bool,
}

impl Criticalities {
    /// By method and path; the header `x-criticality` lowers that, or where callers are trusted, decides. One that names
    /// no criticality says nothing.
    pub const fn new(trusting: bool) -> Self {
        Self { trusting }
    }

    /// What this request is worth.
    pub fn of<B>(self, request: &Request<B>) -> Criticality {
        let by_route = by_route(request.method(), request.uri().path());
        match parse_criticality(request.headers()) {
            None => by_route,
            Some(by_header) if self.trusting => by_header,
            Some(by_header) => by_header.min(by_route),
        }
    }
}

fn by_route(method: &Method, path: &str) -> Criticality {
    if CRITICAL.iter().any(|(of, whole)| of == method && *whole == path) {
        return Criticality::Critical;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let first = first_segment(&decoded);
    LESS.iter().find(|(segment, _)| first == Some(*segment)).map_or(Criticality::Default, |(_, worth)| *worth)
}

/// The first segment of what is left when dots are followed, as RFC 3986 §5.2.4 does, and empty segments are left out.
fn first_segment(path: &str) -> Option<&str> {
    let (mut first, mut depth) = (None, 0_usize);
    for segment in path.split('/').filter(|segment| !matches!(*segment, "" | ".")) {
        if segment == ".." {
            depth = depth.saturating_sub(1);
        } else {
            if depth == 0 {
                first = Some(segment);
            }
            depth = depth.saturating_add(1);
        }
    }
    first.filter(|_| depth > 0)
}

/// The name in the header `x-criticality`.
pub const fn name(criticality: Criticality) -> &'static str {
    match criticality {
        Criticality::Sheddable => "sheddable",
        Criticality::Degraded => "degraded",
        Criticality::Default => "default",
        Criticality::Critical => "critical",
    }
}

/// Tells it to everybody behind, in the place of what the caller said.
pub fn write(criticality: Criticality, headers: &mut HeaderMap) {
    headers.insert(HeaderName::from_static(CRITICALITY_HEADER), HeaderValue::from_static(name(criticality)));
}

#[cfg(test)]
mod tests {
    use seawall::http::HttpAttributes;
    use seawall_core::Attributes as _;

    use super::*;

    fn request(method: &Method, path: &str, header: Option<&str>) -> Request<()> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(header) = header {
            request = request.header(CRITICALITY_HEADER, header);
        }
        request.body(()).unwrap()
    }

    fn of_stranger(method: &Method, path: &str, header: Option<&str>) -> Criticality {
        Criticalities::new(false).of(&request(method, path, header))
    }

    #[test]
    fn bookings_go_first_and_the_feed_last() {
        let of = |method, path| of_stranger(&method, path, None);

        for path in ["/bookings", "/payments", "/payments?from=feed"] {
            assert_eq!(of(Method::POST, path), Criticality::Critical, "{path}");
        }
        assert_eq!(of(Method::GET, "/catalog/items/1"), Criticality::Default);
        assert_eq!(of(Method::GET, "/"), Criticality::Default);
        assert_eq!(of(Method::GET, "/recommendations/ann"), Criticality::Degraded);
        assert_eq!(of(Method::POST, "/feed/ann"), Criticality::Sheddable);
        assert_eq!(of(Method::GET, "/feeder"), Criticality::Default);
    }

    #[test]
    fn what_only_looks_like_a_booking_is_worth_no_more_than_another_page() {
        for path in [
            "/payments/",
            "//payments",
            "/./payments",
            "/payments/7",
            "/payments/../catalog/popular",
            "/payments/%2e%2e/catalog/popular",
            "/catalog/../payments",
            "/catalog/%2E%2e/payments",
            "/%70ayments",
            "/payments%2f..%2fcatalog",
            "/payments;a=1",
            "/PAYMENTS",
        ] {
            assert_eq!(of_stranger(&Method::POST, path, None), Criticality::Default, "{path}");
        }
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS] {
            assert_eq!(of_stranger(&method, "/payments", None), Criticality::Default, "{method}");
        }
    }

    #[test]
    fn the_feed_is_the_feed_however_it_is_written() {
        for path in [
            "/%66eed/ann",
            "//feed/ann",
            "/./feed/ann",
            "/payments/../feed/ann",
            "/payments/%2e%2E/feed/ann",
            "/../feed/ann",
            "/a/b/../../feed",
            "/feed%2Fann",
        ] {
            assert_eq!(of_stranger(&Method::POST, path, None), Criticality::Sheddable, "{path}");
        }
        assert_eq!(of_stranger(&Method::GET, "/feed/..", None), Criticality::Default);
        assert_eq!(of_stranger(&Method::GET, "/feed/../catalog/popular", None), Criticality::Default);
    }

    #[test]
    fn a_strangers_header_lowers_what_a_route_is_worth_and_never_raises_it() {
        let of = |method, path, header| of_stranger(&method, path, Some(header));

        assert_eq!(of(Method::POST, "/payments", "sheddable"), Criticality::Sheddable);
        assert_eq!(of(Method::GET, "/feed/ann", "critical"), Criticality::Sheddable);
        assert_eq!(of(Method::GET, "/catalog/popular", "critical"), Criticality::Default);
    }

    #[test]
    fn a_header_that_names_no_criticality_changes_nothing() {
        for header in ["nonsense", "", "critical, sheddable", "3"] {
            assert_eq!(of_stranger(&Method::POST, "/payments", Some(header)), Criticality::Critical, "{header}");
            let feed = Criticalities::new(true).of(&request(&Method::GET, "/feed/ann", Some(header)));
            assert_eq!(feed, Criticality::Sheddable, "{header}");
        }
    }

    #[test]
    fn a_trusted_callers_header_decides() {
        let of = |path, header| Criticalities::new(true).of(&request(&Method::GET, path, header));

        assert_eq!(of("/feed/ann", Some("critical")), Criticality::Critical);
        assert_eq!(of("/feed/ann", None), Criticality::Sheddable);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for criticality in [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical]
        {
            let mut request = request(&Method::GET, "/", Some("critical"));
            write(criticality, request.headers_mut());

            assert_eq!(HttpAttributes.context(&request).criticality, criticality);
            assert_eq!(request.headers().get_all(CRITICALITY_HEADER).iter().count(), 1);
        }
    }
}

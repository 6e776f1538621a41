//! Who goes first when there is not room for all.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use seawall::http::{CRITICALITY_HEADER, HttpAttributes};
use seawall_core::{Attributes as _, Criticality};

/// What a path's first segment is worth; everything else is as usual.
const PATHS: [(&str, Criticality); 6] = [
    // Money: a booking that is refused is one that another site gets.
    ("bookings", Criticality::Critical),
    ("payments", Criticality::Critical),
    // Pages that are complete without them.
    ("recommendations", Criticality::Degraded),
    ("feed", Criticality::Sheddable),
    ("analytics", Criticality::Sheddable),
    ("profiles", Criticality::Default),
];

/// Decides what requests are worth.
#[derive(Debug, Clone, Copy)]
pub struct Criticalities {
    trusting: bool,
}

impl Criticalities {
    /// By path; the header `x-criticality` lowers that, or where callers are trusted, decides.
    pub const fn new(trusting: bool) -> Self {
        Self { trusting }
    }

    /// What this request is worth.
    pub fn of<B>(self, request: &Request<B>) -> Criticality {
        let segment = request.uri().path().split('/').nth(1).unwrap_or_default();
        let by_path = PATHS.iter().find(|(path, _)| *path == segment).map_or(Criticality::Default, |(_, it)| *it);
        if !request.headers().contains_key(CRITICALITY_HEADER) {
            return by_path;
        }
        let by_header = HttpAttributes.context(request).criticality;
        if self.trusting { by_header } else { by_header.min(by_path) }
    }
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
    use super::*;

    fn request(path: &str, header: Option<&str>) -> Request<()> {
        let mut request = Request::get(path);
        if let Some(header) = header {
            request = request.header(CRITICALITY_HEADER, header);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn bookings_go_first_and_the_feed_last() {
        let of = |path| Criticalities::new(false).of(&request(path, None));

        assert_eq!((of("/bookings"), of("/payments/7")), (Criticality::Critical, Criticality::Critical));
        assert_eq!((of("/catalog/items/1"), of("/")), (Criticality::Default, Criticality::Default));
        assert_eq!(of("/recommendations/ann"), Criticality::Degraded);
        assert_eq!((of("/feed/ann"), of("/feeder")), (Criticality::Sheddable, Criticality::Default));
    }

    #[test]
    fn a_strangers_header_lowers_what_a_path_is_worth_and_never_raises_it() {
        let of = |path, header| Criticalities::new(false).of(&request(path, Some(header)));

        assert_eq!(of("/payments", "sheddable"), Criticality::Sheddable);
        assert_eq!(of("/feed/ann", "critical"), Criticality::Sheddable);
        assert_eq!(of("/catalog/popular", "critical"), Criticality::Default);
    }

    #[test]
    fn a_trusted_callers_header_decides() {
        let of = |path, header| Criticalities::new(true).of(&request(path, header));

        assert_eq!(of("/feed/ann", Some("critical")), Criticality::Critical);
        assert_eq!(of("/feed/ann", None), Criticality::Sheddable);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for criticality in [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical]
        {
            let mut request = request("/", Some("critical"));
            write(criticality, request.headers_mut());

            assert_eq!(HttpAttributes.context(&request).criticality, criticality);
            assert_eq!(request.headers().get_all(CRITICALITY_HEADER).iter().count(), 1);
        }
    }
}

//! The live page: the document's four planes, drawn from `GET /control/status`, with buttons that break them.
//!
//! Everything is embedded in the binary and served as it lies here: no build step, nothing fetched from elsewhere.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// The page loads and calls only its own origin; styles set by its scripts go through the object model, which this allows.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, content type and text of every file of the page.
const FILES: [(&str, &str, &str); 9] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JAVASCRIPT, include_str!("page/page.js")),
    ("/view.js", JAVASCRIPT, include_str!("page/view.js")),
    ("/board.js", JAVASCRIPT, include_str!("page/board.js")),
    ("/arrows.js", JAVASCRIPT, include_str!("page/arrows.js")),
    ("/charts.js", JAVASCRIPT, include_str!("page/charts.js")),
    ("/experiments.js", JAVASCRIPT, include_str!("page/experiments.js")),
    ("/format.js", JAVASCRIPT, include_str!("page/format.js")),
];

/// Serves the page at `/` and its files beside it.
///
/// Every answer is revalidated, so that a newer binary on the same port is never shown with an older page.
pub fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(move || async move { file(kind, text) }))
    })
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (HEADERS, [(header::CONTENT_TYPE, kind)], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, Response, StatusCode};
    use tower::ServiceExt;

    async fn answer(path: &str) -> Response<Body> {
        let request = Request::get(path).body(Body::empty()).expect("a plain request");
        routes().oneshot(request).await.expect("the router is infallible")
    }

    #[tokio::test]
    async fn every_file_has_its_content_type_and_policy() {
        for (path, kind, text) in FILES {
            let response = answer(path).await;

            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], kind, "{path}");
            assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], CONTENT_SECURITY_POLICY, "{path}");
            let body = to_bytes(response.into_body(), usize::MAX).await.expect("an embedded body");
            assert_eq!(body, text.as_bytes(), "{path}");
        }
    }

    #[test]
    fn the_page_asks_only_for_files_that_it_serves() {
        let served: Vec<&str> = FILES.iter().map(|(path, ..)| path.trim_start_matches('/')).collect();

        for (path, _, text) in FILES {
            for marker in ["src=\"", "href=\"", "from \"./"] {
                for asked in text.split(marker).skip(1).filter_map(|rest| rest.split('"').next()) {
                    let known = served.contains(&asked)
                        || asked.starts_with(['#'])
                        || asked.starts_with("data:")
                        || asked == "control/status";
                    assert!(known, "{path} asks for {asked}");
                }
            }
        }
    }

    #[test]
    fn no_markup_needs_an_inline_script_or_style() {
        let (_, _, page) = FILES[0];

        for forbidden in [" style=", "<style", " onclick=", "javascript:", "<script>"] {
            assert!(!page.contains(forbidden), "{forbidden} is refused by the content security policy");
        }
    }

    #[test]
    fn planes_have_the_colours_of_the_document() {
        let (_, _, style) = FILES[1];

        for colour in ["--edge: #3B82F6", "--service: #10B981", "--state: #F59E0B", "--control: #8B5CF6"] {
            assert!(style.contains(colour), "{colour}");
        }
    }
}

//! The live page.

use axum::Router;

/// `/`, `/page.css` and `/page.js`, all embedded in the binary.
pub fn routes() -> Router {
    Router::new()
}

//! An axum server behind the server preset: what it cannot finish in time is refused with 503 and `Retry-After`.
//!
//! `axum-server [ADDRESS]`, by default 127.0.0.1:3000, prints where it listens and serves until Ctrl-C.

use std::error::Error;

use axum::{Router, routing::get};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let app = Router::new().route("/", get(|| async { "hello\n" })).layer(seawall::server().leak());

    let listener = TcpListener::bind(&address).await?;
    println!("http://{}", listener.local_addr()?);
    let interrupted = async {
        // Without the signal's handler, Ctrl-C ends the process all the same.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    axum::serve(listener, app).with_graceful_shutdown(interrupted).await?;
    Ok(())
}

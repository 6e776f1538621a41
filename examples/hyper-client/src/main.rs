//! A hyper client behind the client preset: attempts and calls are bounded in time, what may be repeated is tried again on
//! a budget, and a server in trouble is left alone for a while.
//!
//! `hyper-client URL` prints the status and the body of the answer.

use std::error::Error;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: hyper-client URL")?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut client = seawall::client().leak().protect(client);

    let answer = client.ready().await?.call(Request::get(url).body(Full::default())?).await?;
    println!("{}", answer.status());
    let body = answer.into_body().collect().await?.to_bytes();
    print!("{}", String::from_utf8_lossy(&body));
    Ok(())
}

//! A reqwest client behind the client preset: attempts and calls are bounded in time, what may be repeated is tried again
//! on a budget, and a server in trouble is left alone for a while.
//!
//! `reqwest-client URL` prints the status and the body of the answer.

use std::{error::Error, time::Duration};

use reqwest::{Client, Method, Request};
use seawall::{
    bulkhead::{BulkheadConfig, BulkheadLayer},
    http::env,
    timeout::{TimeoutConfig, TimeoutLayer},
};
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: reqwest-client URL")?;
    // The preset's timeouts hand their deadline on in extensions, which a reqwest request has not, and its bulkhead holds a
    // place to the end of a body, which reqwest hides: these parts take the ones that need neither.
    let preset = seawall::client()
        .with_total(TimeoutLayer::with_env(TimeoutConfig::total(Duration::from_secs(5))?, env()))
        .with_bulkhead(BulkheadLayer::with_env(BulkheadConfig::new(100)?, env()))
        .with_attempt(TimeoutLayer::with_env(TimeoutConfig::attempt(Duration::from_secs(2))?, env()));
    let client = preset.leak().protect(Client::new());

    let answer = client.oneshot(Request::new(Method::GET, url.parse()?)).await?;
    println!("{}", answer.status());
    print!("{}", answer.text().await?);
    Ok(())
}

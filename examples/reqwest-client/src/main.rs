//! A reqwest client behind the client preset: attempts and calls are bounded in time, what may be repeated is tried again
//! on a budget, and a server in trouble is left alone for a while.
//!
//! `reqwest-client URL` prints the status and the body of the answer.

use std::error::Error;

use reqwest::{Client, Method, Request};
use tower::{Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: reqwest-client URL")?;
    let mut client = seawall::reqwest_client().leak().protect(Client::new());

    let answer = client.ready().await?.call(Request::new(Method::GET, url.parse()?)).await?;
    println!("{}", answer.status());
    print!("{}", answer.text().await?);
    Ok(())
}

//! One reading of the default clock for all layers of a preset, and fresh ones for what is inside.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use seawall::core::{Clock, MonotonicClock, Timestamp};
use tower::{Layer, Service, ServiceExt, layer::layer_fn, service_fn};

use crate::scripted::{Incoming, get};

/// Reads the clock before it calls, in the place of a layer.
#[derive(Clone)]
struct Reads<S>(S, fn([Timestamp; 2]));

impl<S: Service<Incoming>> Service<Incoming> for Reads<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Incoming) -> S::Future {
        (self.1)([MonotonicClock.now(), MonotonicClock.now()]);
        self.0.call(request)
    }
}

fn once([first, second]: [Timestamp; 2]) {
    assert_eq!(first, second, "a layer reads the clock of its scope");
}

fn twice([first, second]: [Timestamp; 2]) {
    assert!(first < second, "what is inside reads a clock that goes on");
}

#[tokio::test]
async fn the_layers_of_both_presets_share_a_reading_and_what_they_protect_reads_its_own() {
    let answers = || service_fn(|_: Incoming| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    let client = seawall::client().with_bulkhead(layer_fn(|inner| Reads(inner, once)));
    let server = seawall::server().with_bulkhead(layer_fn(|inner| Reads(inner, once)));

    let sent = client.protect(Reads(answers(), twice)).oneshot(get()).await;
    let handled = server.layer(Reads(answers(), twice)).oneshot(get()).await;

    assert_eq!((sent.unwrap().status(), handled.unwrap().status()), (http::StatusCode::OK, http::StatusCode::OK));
}

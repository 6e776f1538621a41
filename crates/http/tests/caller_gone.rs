//! Work whose caller has gone is cancelled, over real connections.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use seawall_core::WrapErrorLayer;
use seawall_http::{ReceiveDeadlineLayer, RespondLayer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tower::{Service, ServiceBuilder, service_fn};

/// Says that it was dropped.
struct Held(Arc<Notify>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Serves `handler`, behind the deadlines of its callers, on a port of its own.
async fn serve<S, F>(handler: S) -> SocketAddr
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<Full<Bytes>>, Error = Infallible, Future = F>
        + Clone
        + Send
        + 'static,
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    let service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(ReceiveDeadlineLayer::new(Duration::from_secs(30)))
        .layer(WrapErrorLayer::new())
        .service(handler);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await
            });
        }
    });
    address
}

#[tokio::test]
async fn a_handler_whose_caller_closes_the_connection_is_dropped() {
    let (called, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = service_fn({
        let (called, dropped) = (Arc::clone(&called), Arc::clone(&dropped));
        move |_: Request<hyper::body::Incoming>| {
            let held = Held(Arc::clone(&dropped));
            called.notify_one();
            async move {
                let _held = held;
                std::future::pending().await
            }
        }
    });
    let mut socket = TcpStream::connect(serve(handler).await).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    called.notified().await;

    drop(socket);

    dropped.notified().await;
}

#[tokio::test]
async fn a_request_that_arrives_with_nothing_left_gets_504_and_no_handler() {
    let handler = service_fn(|_: Request<hyper::body::Incoming>| async { panic!("called") });
    let mut socket = TcpStream::connect(serve(handler).await).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx-request-timeout-ms: 0\r\n\r\n";

    socket.write_all(request).await.unwrap();

    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains(r#""reason":"deadline_too_close""#), "{answer}");
}

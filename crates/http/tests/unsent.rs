//! What the errors of real clients prove about where a request got to.
#![cfg(all(feature = "hyper", feature = "retry"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use seawall_backoff_with_jitter::{Advice, IfUnknown, RetryConfig, RetryFigures, RetryLayer, RetryWhen};
use seawall_core::{BoxError, Class, Verdict};
use seawall_http::{HttpAdvice, HttpReplay};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;

/// What an HTTP/2 server does with one request.
#[derive(Copy, Clone)]
enum Does {
    Answer,
    Reset(h2::Reason),
    /// Says that it goes away and has looked at streams up to this one, then closes the connection if that is the request's.
    GoAway(u8),
}

/// Serves one connection per plan; the last one has to be an answer. Counts the requests.
async fn serve(plan: &'static [Does]) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        for does in plan {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(socket, *does, Arc::clone(&count)));
        }
    });
    (address, seen)
}

async fn connection(socket: TcpStream, does: Does, seen: Arc<AtomicU32>) {
    if let Does::GoAway(last) = does {
        return go_away(socket, last, &seen).await;
    }
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let mut first = true;
    while let Some(Ok((_, mut answer))) = connection.accept().await {
        seen.fetch_add(1, Relaxed);
        match does {
            Does::Reset(reason) if first => answer.send_reset(reason),
            _ => drop(answer.send_response(Response::new(()), true).unwrap()),
        }
        first = false;
    }
}

/// By hand, since a server of h2 looks at what it was sent.
async fn go_away(mut socket: TcpStream, last: u8, seen: &AtomicU32) {
    const HEADERS: u8 = 1;
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await.unwrap();
    // An empty SETTINGS.
    socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let mut rest = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        socket.read_exact(&mut rest).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    seen.fetch_add(1, Relaxed);
    // GOAWAY with NO_ERROR.
    socket.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0]).await.unwrap();
    if last == 0 {
        // Stays until the client goes.
        let _ = socket.read_to_end(&mut Vec::new()).await;
    }
}

fn post(address: SocketAddr) -> Request<Full<Bytes>> {
    Request::post(format!("http://{address}/")).body(Full::from("pay")).unwrap()
}

fn http_2() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

fn advice(error: &Error) -> Advice {
    HttpAdvice.advise(Verdict::new(Class::Failure), Err::<&Response<()>, _>(error))
}

/// Pays once through a retry over HTTP/2; `None`: in vain.
async fn pay(plan: &'static [Does]) -> (Option<u16>, u32, RetryFigures) {
    let (address, seen) = serve(plan).await;
    let retry = RetryLayer::with_env(RetryConfig::new(IfUnknown::OnlyUnsent), seawall_http::env())
        .with_replay(HttpReplay::default().with_unrepeatable())
        .with_when(HttpAdvice);

    let answer = retry.protect(http_2()).oneshot(post(address)).await;

    (answer.ok().map(|answer| answer.status().as_u16()), seen.load(Relaxed), retry.figures())
}

#[tokio::test]
async fn a_refused_stream_is_made_good_whatever_the_method() {
    let (answer, seen, figures) = pay(&[Does::Reset(h2::Reason::REFUSED_STREAM)]).await;

    assert_eq!((answer, seen, figures.retries), (Some(200), 2, 1));
}

#[tokio::test]
async fn a_stream_that_was_reset_for_another_reason_is_not_repeated() {
    let (answer, seen, figures) = pay(&[Does::Reset(h2::Reason::INTERNAL_ERROR)]).await;

    assert_eq!((answer, seen, figures.not_idempotent), (None, 1, 1));
}

#[tokio::test]
async fn a_stream_beyond_the_last_one_of_a_server_that_goes_away_is_made_good_on_another_connection() {
    let (answer, seen, figures) = pay(&[Does::GoAway(0), Does::Answer]).await;

    assert_eq!((answer, seen, figures.retries), (Some(200), 2, 1));
}

#[tokio::test]
async fn a_stream_that_a_server_which_goes_away_has_looked_at_is_not_repeated() {
    let (answer, seen, figures) = pay(&[Does::GoAway(1), Does::Answer]).await;

    assert_eq!((answer, seen, figures.not_idempotent), (None, 1, 1));
}

#[tokio::test]
async fn a_request_that_its_connection_never_took_was_not_seen() {
    let (here, _there) = tokio::io::duplex(64);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(here)).await.unwrap();
    drop(connection);

    let error = sender.send_request(post(([127, 0, 0, 1], 80).into())).await.unwrap_err();

    let failed = Verdict::new(Class::Failure);
    assert_eq!(HttpAdvice.advise(failed, Err::<&Response<()>, _>(&error)), Advice::Unseen);
    let boxed = BoxError::from(std::io::Error::other(error));
    assert_eq!(HttpAdvice.advise(failed, Err::<&Response<()>, _>(&*boxed)), Advice::Unseen);
}

#[tokio::test]
async fn where_no_connection_comes_about_the_request_may_be_repeated_but_not_for_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();

    let refused = http_2().request(post(free)).await.unwrap_err();
    let unresolved = Request::post("http://no-such-host.invalid/").body(Full::default()).unwrap();
    let unresolved = http_2().request(unresolved).await.unwrap_err();

    assert_eq!((advice(&refused), advice(&unresolved)), (Advice::Again, Advice::Again));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_proves_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 1024]).await;
    });

    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let error = client.request(post(address)).await.unwrap_err();

    assert_eq!(advice(&error), Advice::IfIdempotent);
}

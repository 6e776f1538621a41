//! An HTTP service that does what it is told, and time that goes on where everybody waits.
#![expect(clippy::disallowed_types, reason = "tests write down what happens")]

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use seawall::{
    core::{Clock, NoObserver, Timer, Timestamp, VirtualClock},
    http::{Http, HttpAttributes},
};
use tower::Service;

pub(crate) type Env = seawall::PresetEnv<VirtualClock, NoObserver, Chance>;
/// Always the middle of what chance may bring.
pub(crate) type Chance = fn() -> u64;
pub(crate) type Incoming = Request<Full<Bytes>>;
pub(crate) type Outgoing = Response<Full<Bytes>>;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What a preset's layers run in: HTTP, virtual time, and chance that always takes the middle.
pub(crate) fn env(clock: &VirtualClock) -> Env {
    let middle: Chance = || 1 << 63;
    seawall::core::Env::new()
        .with_classifier(Http)
        .with_attributes(HttpAttributes)
        .with_clock(clock.clone())
        .with_entropy(middle)
}

/// What the service does with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Answer(u16),
    /// Says 503 and when to come back.
    Shed,
    /// Answers 200 after so long.
    Take(Duration),
    /// Breaks the connection.
    Break,
    Hang,
}

/// One call that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) at: Timestamp,
}

#[derive(Clone)]
pub(crate) struct Scripted {
    clock: VirtualClock,
    does: Arc<Mutex<Does>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    running: Arc<AtomicUsize>,
}

impl Scripted {
    pub(crate) fn new(clock: &VirtualClock, does: Does) -> Self {
        Self { clock: clock.clone(), does: Arc::new(Mutex::new(does)), seen: Arc::default(), running: Arc::default() }
    }

    pub(crate) fn now_does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The value of `header` in each call that arrived.
    pub(crate) fn seen_header(&self, header: &str) -> Vec<Option<String>> {
        let value = |seen: &Seen| seen.headers.get(header).map(|value| value.to_str().unwrap().to_owned());
        self.seen().iter().map(value).collect()
    }

    /// How many calls are under way.
    pub(crate) fn running(&self) -> usize {
        self.running.load(SeqCst)
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("does", &self.does).finish_non_exhaustive()
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Service<Incoming> for Scripted {
    type Response = Outgoing;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Outgoing>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Incoming) -> Self::Future {
        let seen = Seen { headers: request.headers().clone(), at: self.clock.now() };
        self.seen.lock().unwrap().push(seen);
        self.running.fetch_add(1, SeqCst);
        let (does, clock, running) =
            (*self.does.lock().unwrap(), self.clock.clone(), Running(Arc::clone(&self.running)));
        Box::pin(async move {
            let _running = running;
            let answer = |status: u16| Response::builder().status(status);
            match does {
                Does::Answer(status) => Ok(answer(status).body(Full::from("said")).unwrap()),
                Does::Shed => Ok(answer(503).header("retry-after", "1").body(Full::default()).unwrap()),
                Does::Take(time) => {
                    clock.sleep_until(clock.now().saturating_add(time)).await;
                    Ok(answer(200).body(Full::from("said")).unwrap())
                }
                Does::Break => Err(io::Error::other("broken")),
                Does::Hang => std::future::pending().await,
            }
        })
    }
}

/// The same as a handler, which has no error of its own.
#[derive(Clone, Debug)]
pub(crate) struct Handler(pub(crate) Scripted);

impl Service<Incoming> for Handler {
    type Response = Outgoing;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Outgoing, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Incoming) -> Self::Future {
        let call = self.0.call(request);
        Box::pin(async move { Ok(call.await.unwrap()) })
    }
}

pub(crate) fn get() -> Incoming {
    Request::get("/").body(Full::default()).unwrap()
}

pub(crate) fn post() -> Incoming {
    Request::post("/").body(Full::default()).unwrap()
}

pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Drives `future` to its end, and says how long that took: whenever it waits, time goes on to the next timer.
pub(crate) fn drive<F: Future>(clock: &VirtualClock, future: F) -> (F::Output, Duration) {
    let (mut future, began) = (pin!(future), clock.now());
    loop {
        if let Poll::Ready(output) = poll_once(future.as_mut()) {
            return (output, clock.now().since(began));
        }
        clock.advance_to(clock.next_deadline().unwrap_or_else(|| panic!("it waits for ever")));
    }
}

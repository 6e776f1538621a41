use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use tokio::sync::Semaphore;
use tower_service::Service;

/// What the probe does with one request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Script {
    /// Answers when it is first polled.
    Answer,
    /// Answers when it is polled for the second time.
    AnswerLater,
    /// Fails when it is first polled.
    Fail,
    /// Answers once [`Probe::release`] lets it.
    Hold,
    /// Never answers.
    Hang,
    /// Never answers either: [`Cut`](crate::Cut) cuts it when it is first polled.
    TimeOut,
    /// Panics inside `call`.
    PanicInCall,
    /// Panics when it is first polled.
    PanicInPoll,
}

/// The failure of [`Script::Fail`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeError;

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the probe was told to fail")
    }
}

impl std::error::Error for ProbeError {}

/// An innermost service that follows the script in each request, and holds callers to Tower's contract: a `call`
/// without a `poll_ready` that said yes panics.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    ready: bool,
}

#[derive(Debug)]
struct Shared {
    calls: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    released: Arc<Semaphore>,
}

impl Clone for Probe {
    /// Shares the counts; readiness is not inherited.
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), ready: false }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe {
    /// A probe that nobody has called.
    pub fn new() -> Self {
        let shared = Shared {
            calls: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            released: Arc::new(Semaphore::new(0)),
        };
        Self { shared: Arc::new(shared), ready: false }
    }

    /// How many calls arrived.
    pub fn calls(&self) -> usize {
        self.shared.calls.load(SeqCst)
    }

    /// How many calls are under way.
    pub fn running(&self) -> usize {
        self.shared.running.load(SeqCst)
    }

    /// The most calls that were ever under way at once.
    pub fn most_running(&self) -> usize {
        self.shared.most.load(SeqCst)
    }

    /// Lets `count` calls that hold answer.
    pub fn release(&self, count: usize) {
        self.shared.released.add_permits(count);
    }
}

impl Service<Script> for Probe {
    type Response = &'static str;
    type Error = ProbeError;
    type Future = ProbeFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, script: Script) -> ProbeFuture {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        self.shared.calls.fetch_add(1, SeqCst);
        assert!(script != Script::PanicInCall, "the probe was told to panic in call");
        let running = self.shared.running.fetch_add(1, SeqCst).saturating_add(1);
        self.shared.most.fetch_max(running, SeqCst);
        let released = Arc::clone(&self.shared.released);
        let held = Box::pin(async move {
            // The semaphore is never closed.
            if let Ok(permit) = released.acquire().await {
                permit.forget();
            }
        });
        ProbeFuture { script, polled: false, held, running: Running(Arc::clone(&self.shared)) }
    }
}

/// Counts a call as under way until it is dropped.
#[derive(Debug)]
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

/// The future of a call to [`Probe`].
#[must_use = "futures do nothing unless polled"]
pub struct ProbeFuture {
    script: Script,
    polled: bool,
    held: Pin<Box<dyn Future<Output = ()> + Send>>,
    running: Running,
}

impl fmt::Debug for ProbeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFuture")
            .field("script", &self.script)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Future for ProbeFuture {
    type Output = Result<&'static str, ProbeError>;

    #[expect(clippy::panic, reason = "a scripted panic")]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.script {
            Script::Answer => Poll::Ready(Ok("answered")),
            Script::Fail => Poll::Ready(Err(ProbeError)),
            Script::AnswerLater if self.polled => Poll::Ready(Ok("answered")),
            Script::AnswerLater => {
                self.polled = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Script::Hold => self.held.as_mut().poll(cx).map(|()| Ok("answered")),
            Script::Hang | Script::TimeOut => Poll::Pending,
            Script::PanicInCall | Script::PanicInPoll => panic!("the probe was told to panic in poll"),
        }
    }
}

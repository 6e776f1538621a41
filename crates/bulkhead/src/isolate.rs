use std::{
    fmt,
    future::poll_fn,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use seawall_core::{CarryRejection, InheritDeadline, Pattern, Reason, Rejection, WrapError};
use tokio::{runtime::Handle, task::JoinHandle};
use tower_layer::Layer;
use tower_service::Service;

/// Runs the calls of a service on another tokio runtime: what blocks a thread there, or burns its time, leaves the
/// caller's runtime alone.
///
/// The service is made ready, called and polled over there, on a clone of its own for each call; here is only a handle.
///
/// - When the caller drops its future, the call is cancelled: dropped at its next await over there.
/// - A panic over there goes on in the caller, so that every layer sees it as one, as if there were one runtime.
/// - When the other runtime shuts down, a call that had begun is cut as [`Interrupted`](Reason::Interrupted): it may have
///   been sent. One that had not is refused as [`Closed`](Reason::Closed).
/// - Calls over there inherit the deadline of the caller's task.
///
/// A runtime bounds threads, not calls: put a bulkhead *inside*, `isolate.layer(bulkhead.layer(service))`. There it holds
/// its place until the call has really ended, be it blocked long after its caller has gone; outside it would give the
/// place back with the caller. It costs a task per call, so it is for what is dangerous: blocking drivers, foreign code,
/// heavy parsing.
///
/// ```
/// use seawall_bulkhead::{BulkheadConfig, BulkheadLayer, IsolateLayer};
/// use tokio::runtime::Builder;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dangerous = Builder::new_multi_thread().worker_threads(1).thread_name("dangerous").build()?;
/// let isolate = IsolateLayer::new(dangerous.handle().clone());
/// let bulkhead = BulkheadLayer::new(BulkheadConfig::new(8)?);
/// let service = service_fn(|()| async { Ok::<_, std::io::Error>(std::thread::current().name().map(str::to_owned)) });
/// let service = isolate.layer(bulkhead.protect(service));
///
/// # Builder::new_current_thread().build()?.block_on(async {
/// assert_eq!(service.oneshot(()).await?.as_deref(), Some("dangerous"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # dangerous.shutdown_background();
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// Ben Christensen, "Introducing Hystrix for resilience engineering", Netflix, 2012: a thread pool per dependency.
#[derive(Clone, Debug)]
pub struct IsolateLayer {
    handle: Handle,
}

impl IsolateLayer {
    /// Runs calls on the runtime of `handle`, which somebody else keeps alive.
    pub const fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Wraps the errors of `service` and runs its calls over there.
    pub fn protect<S>(&self, service: S) -> Isolate<WrapError<S>> {
        self.layer(WrapError::new(service))
    }
}

impl<S> Layer<S> for IsolateLayer {
    type Service = Isolate<S>;

    fn layer(&self, inner: S) -> Isolate<S> {
        Isolate { inner, handle: self.handle.clone() }
    }
}

/// A service behind an [`IsolateLayer`].
#[derive(Clone, Debug)]
pub struct Isolate<S> {
    inner: S,
    handle: Handle,
}

impl<S> Isolate<S> {
    /// The service that runs over there.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req> Service<Req> for Isolate<S>
where
    S: Service<Req, Response: Send, Error: CarryRejection + Send, Future: Send> + Clone + Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
    Req: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = IsolateFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (mut inner, begun) = (self.inner.clone(), Arc::new(AtomicBool::new(false)));
        let called = Arc::clone(&begun);
        let call = async move {
            poll_fn(|cx| inner.poll_ready(cx)).await?;
            // Relaxed: it is read after the task has ended.
            called.store(true, Relaxed);
            inner.call(request).await
        };
        IsolateFuture { task: Some(self.handle.spawn(InheritDeadline::from_here(call))), begun }
    }
}

/// The future of a call that runs on another runtime. Dropping it cancels the call.
#[must_use = "the call is cancelled when it is dropped"]
pub struct IsolateFuture<T, E> {
    task: Option<JoinHandle<Result<T, E>>>,
    begun: Arc<AtomicBool>,
}

impl<T, E: CarryRejection> Future for IsolateFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Polled again after it was ready: pending for ever, as nothing will wake it.
        let Some(task) = &mut self.task else { return Poll::Pending };
        let ended = ready!(Pin::new(task).poll(cx));
        self.task = None;
        Poll::Ready(ended.unwrap_or_else(|lost| {
            if lost.is_panic() {
                resume_unwind(lost.into_panic());
            }
            let reason = if self.begun.load(Relaxed) { Reason::Interrupted } else { Reason::Closed };
            Err(Rejection::new(Pattern::Bulkhead, reason).into())
        }))
    }
}

impl<T, E> Drop for IsolateFuture<T, E> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<T, E> fmt::Debug for IsolateFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolateFuture").field("running", &self.task.is_some()).finish_non_exhaustive()
    }
}

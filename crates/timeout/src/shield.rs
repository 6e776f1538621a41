use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use seawall_core::{CallContext, Classify, Env, Environment, Error, Timer};
use tokio::task::JoinHandle;

use crate::{TimeoutConfig, TimeoutError, TimeoutLayer};

/// Lets work finish whose caller has gone: a commit, a refund, what must not stop half way.
///
/// It runs as a task of its own, so that dropping the future, or the call around it, does not stop it. Neither does the
/// caller's deadline: what is shielded inherits none. In exchange it has a limit that is its own; what takes longer is
/// dropped, and ends with [`Reason::TotalTimeout`](seawall_core::Reason::TotalTimeout).
///
/// ```
/// use seawall_timeout::Shield;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), seawall_timeout::TimeoutError> {
/// let shield = Shield::new(Duration::from_secs(10))?;
/// let committed = shield.run(async { Ok::<_, std::io::Error>("committed") }).await;
/// assert_eq!(committed.ok(), Some("committed"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Shield<E: 'static = Env> {
    timeout: TimeoutLayer<E>,
}

impl Shield {
    /// Work that may take `limit`.
    ///
    /// # Errors
    /// `limit` is 0.
    pub fn new(limit: Duration) -> Result<Self, TimeoutError> {
        Self::with_env(limit, Env::new())
    }
}

impl<E: Environment> Shield<E> {
    /// The same with a clock and an observer of its own.
    ///
    /// # Errors
    /// `limit` is 0.
    pub fn with_env(limit: Duration, env: E) -> Result<Self, TimeoutError> {
        Ok(Self { timeout: TimeoutLayer::with_env(TimeoutConfig::total(limit)?, env) })
    }

    /// Begins `work` at once, as a task of the current tokio runtime.
    ///
    /// Whoever awaits the result gets it; a panic inside goes on in them. A runtime that shuts down stops the work: wait
    /// for it before.
    pub fn run<F, T, X>(&self, work: F) -> ShieldFuture<T, X>
    where
        F: Future<Output = Result<T, X>> + Send + 'static,
        T: Send + 'static,
        X: Send + 'static,
        E: Classify<T, X> + Environment<Clock: Timer>,
    {
        ShieldFuture { task: tokio::spawn(self.timeout.run_with(CallContext::new(), work)) }
    }
}

/// The result of shielded work. Dropping it does not stop the work.
#[must_use = "the work goes on, but nobody learns how it ended"]
pub struct ShieldFuture<T, X> {
    task: JoinHandle<Result<T, Error<X>>>,
}

impl<T, X> Future for ShieldFuture<T, X> {
    type Output = Result<T, Error<X>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx).map(|ended| match ended {
            Ok(result) => result,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and this task with it.
                Err(_) => Err(Error::Rejected(closed())),
            },
        })
    }
}

fn closed() -> seawall_core::Rejection {
    seawall_core::Rejection::new(seawall_core::Pattern::Timeout, seawall_core::Reason::Closed)
}

impl<T, X> fmt::Debug for ShieldFuture<T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShieldFuture").field("ended", &self.task.is_finished()).finish()
    }
}

use std::{fmt, sync::Arc, time::Duration};

use seawall_core::{Error, Pattern, Reason, Rejection, Span};

use crate::PoolStatus;

/// A setting that makes no sense.
#[derive(Copy, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolConfigError {
    /// The size is outside 1 to 1,000,000.
    #[error("max is {max}; allowed are 1 to 1000000")]
    Max {
        /// The value given.
        max: usize,
    },
    /// More connections are to be kept idle than there may be.
    #[error("min_idle is {min_idle}; allowed are 0 to max, which is {max}")]
    MinIdle {
        /// The value given.
        min_idle: usize,
        /// Connections at most.
        max: usize,
    },
    /// A number is 0 that must not be.
    #[error("{field} is 0; allowed is 1 or more")]
    Zero {
        /// Its name.
        field: &'static str,
    },
    /// A time is 0 that must not be.
    #[error("{field} is 0s; allowed is any time above 0s")]
    NoTime {
        /// Its name.
        field: &'static str,
    },
    /// Connections would end before they could be idle for long enough.
    #[error(
        "max_lifetime is {}; allowed is more than idle_timeout, which is {}",
        Span::exact(*max_lifetime), Span::exact(*idle_timeout)
    )]
    MaxLifetime {
        /// The value given.
        max_lifetime: Duration,
        /// The end of idle connections.
        idle_timeout: Duration,
    },
    /// The longest wait between connects is shorter than the first.
    #[error(
        "max_connect_backoff is {}; allowed is connect_backoff, which is {}, or more",
        Span::exact(*max_connect_backoff), Span::exact(*connect_backoff)
    )]
    MaxConnectBackoff {
        /// The value given.
        max_connect_backoff: Duration,
        /// The first wait.
        connect_backoff: Duration,
    },
}

seawall_core::debug_as_text!(PoolConfigError);

/// Why opening a connection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError<E> {
    /// The manager's own error.
    #[error("connecting{} failed", To(target.as_deref()))]
    Failed {
        /// What [`Manager::target`](crate::Manager::target) says.
        target: Option<String>,
        /// The error.
        source: E,
    },
    /// It took longer than [`PoolConfig::connect_timeout`](crate::PoolConfig::connect_timeout).
    #[error("connecting{} took longer than {}", To(target.as_deref()), Span::exact(*after))]
    TimedOut {
        /// What [`Manager::target`](crate::Manager::target) says.
        target: Option<String>,
        /// The time that it had.
        after: Duration,
    },
    /// The task that connected panicked, or ended with its runtime.
    #[error("connecting was given up: its task panicked or its runtime ended")]
    Abandoned,
    /// There is no tokio runtime to connect on.
    #[error("connecting needs a tokio runtime and there is none")]
    NoRuntime,
}

struct To<'a>(Option<&'a str>);

impl fmt::Display for To<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |target| write!(f, " to {target}"))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError<E> {
    /// None became free in time; the error tells what the pool was doing.
    #[error(transparent)]
    Timeout(Box<PoolTimeout<E>>),
    /// As many callers as may wait for a return wait already.
    #[error("{waiters} callers wait for a connection; allowed are {max_waiters} beyond those that can be served")]
    QueueFull {
        /// The callers that wait.
        waiters: usize,
        /// The setting.
        max_waiters: usize,
    },
    /// Connecting failed and no connection is open whose return could be waited for. One failure is shared by all that
    /// waited for it.
    #[error(transparent)]
    Connect(Arc<ConnectError<E>>),
    /// The pool was closed.
    #[error("the pool is closed")]
    Closed,
}

impl<E> PoolError<E> {
    /// The refusal that this is, as other layers know it; `None` for [`PoolError::Connect`], which is a failure of the
    /// other side.
    ///
    /// # Examples
    /// ```
    /// use seawall_core::Reason;
    /// use seawall_pool::PoolError;
    ///
    /// let error = PoolError::<std::io::Error>::Closed;
    /// assert_eq!(error.rejection().map(|rejection| rejection.reason()), Some(Reason::Closed));
    /// ```
    pub fn rejection(&self) -> Option<Rejection> {
        let because = |reason| Rejection::new(Pattern::Pool, reason);
        match self {
            Self::Timeout(timeout) => Some(because(Reason::PoolTimeout).with_queued(timeout.status.waiters)),
            Self::QueueFull { waiters, .. } => Some(because(Reason::QueueFull).with_queued(*waiters)),
            Self::Connect(_) => None,
            Self::Closed => Some(because(Reason::Closed)),
        }
    }
}

impl<E> Clone for PoolError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Timeout(timeout) => Self::Timeout(timeout.clone()),
            Self::QueueFull { waiters, max_waiters } => {
                Self::QueueFull { waiters: *waiters, max_waiters: *max_waiters }
            }
            Self::Connect(error) => Self::Connect(Arc::clone(error)),
            Self::Closed => Self::Closed,
        }
    }
}

/// A refusal by the pool is a refusal of the stack; a failed connect goes to the service's own error.
impl<E, C> From<PoolError<C>> for Error<E>
where
    E: From<PoolError<C>>,
{
    fn from(error: PoolError<C>) -> Self {
        error.rejection().map_or_else(|| Self::Inner(E::from(error)), Self::Rejected)
    }
}

/// What most likely kept a caller waiting.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutCause {
    /// The last connects failed.
    ConnectsFail,
    /// Connects or checks are under way and do not end.
    ConnectsHang,
    /// A connection has been out for longer than the caller waited: it leaks, or what it does is slow.
    HeldTooLong,
    /// Connections come and go, but more callers want one than there are.
    Backlog,
}

/// A caller got no connection in time, and this is what the pool was doing then.
pub struct PoolTimeout<E> {
    pub(crate) waited: Duration,
    pub(crate) status: PoolStatus,
    pub(crate) last_connect_error: Option<Arc<ConnectError<E>>>,
}

impl<E> PoolTimeout<E> {
    /// How long the caller waited.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// The pool at the end of the wait, this caller still among the waiters.
    pub const fn status(&self) -> &PoolStatus {
        &self.status
    }

    /// The failure of the last connect, unless one succeeded since.
    pub fn last_connect_error(&self) -> Option<&ConnectError<E>> {
        self.last_connect_error.as_deref()
    }

    /// What most likely kept the caller waiting.
    pub fn cause(&self) -> TimeoutCause {
        let status = &self.status;
        if status.in_use < status.max && self.last_connect_error.is_some() {
            TimeoutCause::ConnectsFail
        } else if status.in_use < status.max {
            TimeoutCause::ConnectsHang
        } else if status.oldest_checkout.is_some_and(|oldest| oldest.held > self.waited) {
            TimeoutCause::HeldTooLong
        } else {
            TimeoutCause::Backlog
        }
    }
}

impl<E> Clone for PoolTimeout<E> {
    fn clone(&self) -> Self {
        Self { waited: self.waited, status: self.status, last_connect_error: self.last_connect_error.clone() }
    }
}

impl<E> fmt::Debug for PoolTimeout<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolTimeout")
            .field("waited", &self.waited)
            .field("cause", &self.cause())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl<E> fmt::Display for PoolTimeout<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolStatus { max, size, idle, in_use, connecting, waiters, oldest_checkout, .. } = &self.status;
        let words = match self.cause() {
            TimeoutCause::ConnectsFail => "connecting fails",
            TimeoutCause::ConnectsHang => "connecting or checking hangs",
            TimeoutCause::HeldTooLong => "a connection leaks or is held for long",
            TimeoutCause::Backlog => "more callers than connections",
        };
        write!(
            f,
            "no connection within {}: {words}; {in_use} of {max} in use, {idle} idle, {connecting} connecting, {size} \
             open, {waiters} waiting",
            Span::rounded_up(self.waited)
        )?;
        oldest_checkout.map_or(Ok(()), |oldest| {
            write!(f, "; the oldest is out for {}, taken at {}", Span::rounded_up(oldest.held), oldest.at)
        })
    }
}

impl<E: std::error::Error + 'static> std::error::Error for PoolTimeout<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.last_connect_error().map(|error| error as _)
    }
}

/// Why an operation on a pooled connection has no result.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "it had no connection or it failed on one; there is no third")]
pub enum RunError<E> {
    /// It never began: there was no connection.
    #[error(transparent)]
    Pool(#[from] PoolError<E>),
    /// It failed.
    #[error(transparent)]
    Operation(E),
}

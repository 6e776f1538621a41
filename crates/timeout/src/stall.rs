use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use seawall_core::{Pattern, Reason, Rejection, Timer, Timestamp};

use crate::TimeoutError;

/// How long a body or a stream may take: from one frame to the next, and in all. Default: no limit.
///
/// ```
/// use seawall_timeout::StreamLimits;
/// use std::time::Duration;
///
/// let limits = StreamLimits::new().with_idle(Duration::from_secs(10))?.with_total(Duration::from_secs(300))?;
/// # let _ = limits;
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    idle: Duration,
    total: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamLimits {
    /// No limit.
    pub const fn new() -> Self {
        Self { idle: Duration::MAX, total: Duration::MAX }
    }

    /// Allows a reader to wait `idle` for the next frame. Time in which nobody reads does not count: a slow reader is not
    /// the sender's fault.
    ///
    /// # Errors
    /// `idle` is 0.
    pub const fn with_idle(mut self, idle: Duration) -> Result<Self, TimeoutError> {
        if idle.is_zero() {
            return Err(TimeoutError::Zero { field: "idle" });
        }
        self.idle = idle;
        Ok(self)
    }

    /// Allows `total` from the head, or the beginning of a stream, to its end.
    ///
    /// # Errors
    /// `total` is 0.
    pub const fn with_total(mut self, total: Duration) -> Result<Self, TimeoutError> {
        if total.is_zero() {
            return Err(TimeoutError::Zero { field: "total" });
        }
        self.total = total;
        Ok(self)
    }
}

pin_project! {
    /// Watches over one body or stream: what [`StreamLimits`] come to when they are at work. For wrappers of one's own.
    ///
    /// What is ready at once costs nothing: a timer is made when a frame has to be waited for.
    pub struct StallTimer<K: Timer> {
        clock: K,
        idle: Duration,
        ends: Timestamp,
        end: Reason,
        expired: Reason,
        #[pin]
        sleep: Option<K::Sleep>,
    }
}

impl<K: Timer> StallTimer<K> {
    /// Begins now. `deadline` counts where it comes before the total limit.
    pub fn new(limits: StreamLimits, clock: K, deadline: Option<Timestamp>) -> Self {
        let total = clock.now().saturating_add(limits.total);
        let (ends, end) = match deadline {
            Some(deadline) if deadline < total => (deadline, Reason::DeadlineExceeded),
            _ => (total, Reason::TotalTimeout),
        };
        Self { clock, idle: limits.idle, ends, end, expired: end, sleep: None }
    }

    /// Nothing is there yet: waits until that has lasted too long. The task is woken then.
    pub fn poll_expired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rejection> {
        let mut this = self.project();
        if this.sleep.is_none() {
            let idle = this.clock.now().saturating_add(*this.idle);
            let until = idle.min(*this.ends);
            *this.expired = if idle < *this.ends { Reason::IdleTimeout } else { *this.end };
            if until == Timestamp::MAX {
                return Poll::Pending;
            }
            this.sleep.set(Some(this.clock.sleep_until(until)));
        }
        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
            ready!(sleep.poll(cx));
        }
        this.sleep.set(None);
        Poll::Ready(Rejection::new(Pattern::Timeout, *this.expired))
    }

    /// A frame came: the time to the next one begins when that is asked for.
    pub fn progress(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.sleep.is_some() {
            this.sleep.set(None);
        }
    }
}

impl<K: Timer> std::fmt::Debug for StallTimer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StallTimer").field("idle", &self.idle).field("ends", &self.ends).finish_non_exhaustive()
    }
}

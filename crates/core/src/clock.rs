mod alarm;
mod monotonic;
mod monotonic_sleep;
mod timer_thread;
mod timestamp;
#[cfg(feature = "tokio")]
mod tokio;
mod virtual_clock;
mod wake_plan;
mod wheel;

pub use monotonic::MonotonicClock;
pub use monotonic_sleep::MonotonicSleep;
pub use timestamp::Timestamp;
pub use virtual_clock::{VirtualClock, VirtualSleep};

#[cfg(feature = "tokio")]
pub use self::tokio::{TokioClock, TokioSleep};

/// Reads the time.
///
/// A clock never goes back for one reader; two threads may see stamps that differ by nanoseconds, so every difference
/// of [`Timestamp`]s saturates.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// A clock that can also wake a task.
pub trait Timer: Clock {
    /// Completes at the time given to [`Timer::sleep_until`]: never before it.
    type Sleep: Future<Output = ()> + Send;

    /// A future that completes once [`Clock::now`] has reached `at`. Nothing is registered until it is polled.
    fn sleep_until(&self, at: Timestamp) -> Self::Sleep;
}

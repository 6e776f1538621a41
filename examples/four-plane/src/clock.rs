//! The two clocks of the parent's side, read in one place.

use std::time::{Duration, SystemTime};

use seawall_core::{Clock as _, MonotonicClock};

/// Time since some moment in this process's life. Never goes back.
pub fn since_start() -> Duration {
    Duration::from_nanos(MonotonicClock.now().as_nanos())
}

/// Milliseconds since 1970, for people and pages to read; it may jump, so nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "the one place of this package that reads the wall clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

//! The two clocks of this package, each read in one place.

use std::time::{Duration, SystemTime};

use seawall_core::{Clock as _, MonotonicClock};

/// Time since some moment in this process's life. Never goes back.
pub fn since_start() -> Duration {
    Duration::from_nanos(MonotonicClock.now().as_nanos())
}

/// The wall clock, which all processes share and which goes on between two runs. It may jump: no decision about a call
/// depends on it.
#[expect(clippy::disallowed_methods, reason = "the one place of this package that reads the wall clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970, for people and pages to read.
pub fn unix_ms() -> u64 {
    let since = wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

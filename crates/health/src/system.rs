mod disk;
mod memory;

pub use disk::DiskSpace;
pub use memory::MemoryUse;

use std::sync::PoisonError;

use crate::{Observation, Watermark};

#[expect(clippy::disallowed_types, reason = "taken once per run of a check")]
type Lock<T> = std::sync::Mutex<T>;

/// Puts a reading to a level's marks.
fn observe(watermark: &Lock<Watermark>, what: &str, level: std::io::Result<f64>) -> Observation {
    match level {
        Ok(level) => watermark.lock().unwrap_or_else(PoisonError::into_inner).observe(what, level),
        Err(error) => Observation::fail(format!("{what} cannot be read: {error}")),
    }
}

//! Load: an open loop whose popularity follows Zipf's law.
//!
//! Requests are sent when they are due, whether or not earlier ones have been answered, and latency counts from when a
//! request was due: a stack that slows down cannot hide it. At most [`engine::MOST_IN_FLIGHT`] wait for an answer;
//! beyond that a request counts as failed without being sent.

pub mod driver;
pub mod engine;
pub(crate) mod mix;
mod report;
mod tally;
pub(crate) mod zipf;

pub use report::{command, drive, run};
pub use tally::{IN_TIME, LoadReport, LoadTotals, Sorted};

/// What `four-plane load` is told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The edge, without a slash at the end.
    pub url: String,
    /// Requests per second, 0 to 100,000. Default 200.
    pub rps: f64,
    /// How long, 1 to 86,400 seconds. Default 10.
    pub seconds: u32,
    /// The same seed sends the same requests at the same times. Default 1.
    pub seed: u64,
    /// Says of each request what it is worth, in `x-criticality`: a tenth of them critical, four tenths nothing special,
    /// two tenths degraded, three tenths sheddable. Default: says nothing.
    pub criticalities: bool,
    /// The report as one JSON object.
    pub json: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { url: String::new(), rps: 200.0, seconds: 10, seed: 1, criticalities: false, json: false }
    }
}

impl LoadOptions {
    /// A load on one edge, everything else as by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

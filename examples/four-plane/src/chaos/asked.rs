//! How often a dependency was asked, and how often of that once more.

use std::time::Duration;

use crate::client::Client;
use crate::control::{Malformed, samples};
use crate::run::Ready;

const LIMIT: Duration = Duration::from_secs(5);

/// What the callers of one dependency have counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Asked {
    /// Whole calls, also those that were refused on this side.
    calls: f64,
    /// Attempts after the first.
    retries: f64,
}

impl Asked {
    /// Reads the figures of every process.
    pub(super) async fn of(dependency: &str, ready: &Ready, client: &Client) -> anyhow::Result<Self> {
        let mut asked = Self::default();
        for process in ready.processes.iter().filter(|process| !process.url.is_empty()) {
            let answer = client.get(&format!("{}/metrics", process.url), LIMIT).await?;
            asked.add(std::str::from_utf8(&answer.body)?, dependency)?;
        }
        Ok(asked)
    }

    fn add(&mut self, figures: &str, dependency: &str) -> Result<(), Malformed> {
        for sample in samples(figures)? {
            let (count, label) = match sample.name {
                "four_plane_upstream_requests_total" => (&mut self.calls, "upstream"),
                "seawall_retry_attempts_total" => (&mut self.retries, "name"),
                _ => continue,
            };
            if sample.label(label) == dependency {
                *count += sample.value;
            }
        }
        Ok(())
    }

    /// Attempts since then beyond one for each call.
    pub(super) fn extra_since(self, earlier: Self) -> f64 {
        (self.retries - earlier.retries) / (self.calls - earlier.calls).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_load_is_what_retries_add_to_the_calls_of_one_dependency() {
        let (mut before, mut after) = (Asked::default(), Asked::default());
        before.add("four_plane_upstream_requests_total{upstream=\"catalog\",outcome=\"ok\"} 100\n", "catalog").unwrap();
        for figures in [
            "four_plane_upstream_requests_total{upstream=\"catalog\",outcome=\"ok\"} 100\n\
             four_plane_upstream_requests_total{upstream=\"catalog\",outcome=\"error\"} 50\n\
             seawall_retry_attempts_total{name=\"catalog\"} 10\n",
            "four_plane_upstream_requests_total{upstream=\"catalog\",outcome=\"error\"} 50\n\
             four_plane_upstream_requests_total{upstream=\"recommendation\",outcome=\"error\"} 900\n\
             seawall_retry_attempts_total{name=\"recommendation\"} 300\n",
        ] {
            after.add(figures, "catalog").unwrap();
        }

        assert!((after.extra_since(before) - 0.1).abs() < 1e-9, "{after:?}");
        assert!(before.extra_since(before).abs() < 1e-9);
    }
}

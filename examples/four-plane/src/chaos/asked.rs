//! How often a dependency was asked, and how often of that once more.

use std::time::Duration;

use crate::client::Client;
use crate::control::{Malformed, samples};
use crate::run::Ready;

const LIMIT: Duration = Duration::from_secs(5);

/// What the callers of one dependency have counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Asked {
    /// First attempts that were sent: calls that were refused on this side are no load.
    first: f64,
    /// Attempts on top: of retries, and of pools that found a connection broken.
    further: f64,
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
            let (count, label) = match (sample.name, sample.label("attempt")) {
                ("four_plane_upstream_attempts_total", "first") => (&mut self.first, "upstream"),
                ("four_plane_upstream_attempts_total", _) => (&mut self.further, "upstream"),
                ("seawall_pool_repeated_total", _) => (&mut self.further, "name"),
                _ => continue,
            };
            if sample.label(label) == dependency {
                *count += sample.value;
            }
        }
        Ok(())
    }

    /// Attempts since then beyond one for each call that reached it.
    pub(super) fn extra_since(self, earlier: Self) -> f64 {
        (self.further - earlier.further) / (self.first - earlier.first).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_load_is_what_retries_add_to_the_first_attempts_that_reach_a_dependency() {
        let (mut before, mut after) = (Asked::default(), Asked::default());
        before
            .add("four_plane_upstream_attempts_total{upstream=\"catalog\",attempt=\"first\"} 100\n", "catalog")
            .unwrap();
        for figures in [
            "four_plane_upstream_requests_total{upstream=\"catalog\",outcome=\"error\"} 4000\n\
             seawall_retry_attempts_total{name=\"catalog\"} 70\n\
             four_plane_upstream_attempts_total{upstream=\"catalog\",attempt=\"first\"} 150\n\
             four_plane_upstream_attempts_total{upstream=\"catalog\",attempt=\"further\"} 10\n",
            "four_plane_upstream_attempts_total{upstream=\"catalog\",attempt=\"first\"} 50\n\
             four_plane_upstream_attempts_total{upstream=\"recommendation\",attempt=\"first\"} 900\n\
             four_plane_upstream_attempts_total{upstream=\"recommendation\",attempt=\"further\"} 300\n",
        ] {
            after.add(figures, "catalog").unwrap();
        }

        assert!((after.extra_since(before) - 0.1).abs() < 1e-9, "{after:?}");
        assert!(before.extra_since(before).abs() < 1e-9);
    }

    #[test]
    fn what_a_pool_asks_once_more_is_extra_load_of_a_part() {
        let (before, mut after) = (Asked::default(), Asked::default());
        let figures = "four_plane_upstream_attempts_total{upstream=\"cache\",attempt=\"first\"} 200\n\
                       seawall_pool_repeated_total{name=\"cache\"} 8\n\
                       seawall_pool_repeated_total{name=\"database\"} 90\n";
        after.add(figures, "cache").unwrap();

        assert!((after.extra_since(before) - 0.04).abs() < 1e-9, "{after:?}");
    }
}

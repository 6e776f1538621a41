//! Quantiles of durations that were all kept.

use std::time::Duration;

/// The smallest of `took` that `share` (0 to 1) of them do not exceed; nothing for nothing.
pub(super) fn quantile(took: impl IntoIterator<Item = Duration>, share: f64) -> Option<Duration> {
    let mut took: Vec<_> = took.into_iter().collect();
    took.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a length is a length"
    )]
    let rank = (share.clamp(0.0, 1.0) * took.len() as f64).ceil() as usize;
    took.get(rank.saturating_sub(1)).copied()
}

/// Milliseconds with one decimal.
pub(super) fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1e3)
}

/// Microseconds with one decimal.
pub(super) fn microseconds(took: Duration) -> String {
    format!("{:.1} µs", took.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_one_of_the_values_and_covers_its_share() {
        let took = (1..=100).map(Duration::from_millis).rev().collect::<Vec<_>>();

        assert_eq!(quantile(took.clone(), 0.5), Some(Duration::from_millis(50)));
        assert_eq!(quantile(took.clone(), 0.99), Some(Duration::from_millis(99)));
        assert_eq!(quantile(took.clone(), 1.0), Some(Duration::from_millis(100)));
        assert_eq!(quantile(took, 0.0), Some(Duration::from_millis(1)));
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(quantile([], 0.99), None);
    }
}

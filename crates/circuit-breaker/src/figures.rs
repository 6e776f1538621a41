/// What a window holds, or a round of probes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Figures {
    /// Results that count.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that took longer than the slow-call threshold, failed ones included.
    pub slow: u64,
}

impl Figures {
    pub(crate) const fn is_all_good(&self) -> bool {
        self.failures == 0 && self.slow == 0
    }

    /// The share that failed, 0 to 1; `None` without results.
    pub fn failure_ratio(&self) -> Option<f64> {
        ratio(self.failures, self.calls)
    }

    /// The share that was slow, 0 to 1; `None` without results.
    pub fn slow_ratio(&self) -> Option<f64> {
        ratio(self.slow, self.calls)
    }
}

/// Divides rather than multiplies the threshold: a quotient is rounded once, as the literal that it is compared with was,
/// so 7 of 100 reaches 0.07.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2⁵³")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    if whole == 0 { None } else { Some(part as f64 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_in_percent_reaches_the_threshold_of_the_same_number() {
        for part in 0..=100_u32 {
            let figures = Figures { calls: 100, failures: part.into(), slow: 0 };

            assert!(figures.failure_ratio() >= Some(f64::from(part) / 100.0), "{part}");
        }
        assert_eq!(Figures { calls: 100, failures: 7, slow: 0 }.failure_ratio(), Some(0.07));
    }

    #[test]
    fn nothing_has_no_ratio() {
        assert_eq!(Figures::default().failure_ratio(), None);
        assert_eq!(Figures::default().slow_ratio(), None);
    }
}

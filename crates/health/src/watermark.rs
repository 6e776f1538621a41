use crate::{HealthError, Observation, Status};

/// Judges a level between 0 and 1, such as the free share of a disk, with two marks: it fails beyond the one and passes
/// again only beyond the other, so that a level that trembles at a mark does not set off one alarm after another.
///
/// # Examples
/// ```
/// use seawall_health::{Status, Watermark};
///
/// let mut free = Watermark::free_disk();
/// assert_eq!(free.judge(0.099), Status::Fail);
/// assert_eq!(free.judge(0.11), Status::Fail);
/// assert_eq!(free.judge(0.12), Status::Pass);
/// assert_eq!(free.judge(0.11), Status::Pass);
/// ```
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Watermark {
    side: Side,
    fail: f64,
    recover: f64,
    failing: bool,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Side {
    Below,
    Above,
}

impl Watermark {
    /// Fails below 10% free and recovers at 12%.
    pub const fn free_disk() -> Self {
        Self { side: Side::Below, fail: 0.10, recover: 0.12, failing: false }
    }

    /// Fails above 90% used and recovers at 85%.
    pub const fn used_memory() -> Self {
        Self { side: Side::Above, fail: 0.90, recover: 0.85, failing: false }
    }

    /// Fails below `fail` and recovers at `recover`, both 0 to 1.
    ///
    /// # Errors
    /// [`HealthError::Watermark`] when `recover` is less than `fail`, or either is outside 0 to 1.
    pub fn below(fail: f64, recover: f64) -> Result<Self, HealthError> {
        if (0.0..=1.0).contains(&fail) && (fail..=1.0).contains(&recover) {
            Ok(Self { side: Side::Below, fail, recover, failing: false })
        } else {
            Err(HealthError::Watermark { fail, recover })
        }
    }

    /// Fails above `fail` and recovers at `recover`, both 0 to 1.
    ///
    /// # Errors
    /// [`HealthError::Watermark`] when `recover` is more than `fail`, or either is outside 0 to 1.
    pub fn above(fail: f64, recover: f64) -> Result<Self, HealthError> {
        if (0.0..=1.0).contains(&fail) && (0.0..=fail).contains(&recover) {
            Ok(Self { side: Side::Above, fail, recover, failing: false })
        } else {
            Err(HealthError::Watermark { fail, recover })
        }
    }

    /// Takes in a level: [`Status::Pass`] or [`Status::Fail`]. What is no number fails.
    pub fn judge(&mut self, level: f64) -> Status {
        let (crossed, mended) = match self.side {
            Side::Below => (level < self.fail, level >= self.recover),
            Side::Above => (level > self.fail, level <= self.recover),
        };
        self.failing = level.is_nan() || crossed || (self.failing && !mended);
        if self.failing { Status::Fail } else { Status::Pass }
    }

    /// The same as an observation in percent, which names `what` it is about: "free space of /".
    pub fn observe(&mut self, what: &str, level: f64) -> Observation {
        let percent = level * 100.0;
        let observation = if self.judge(level) == Status::Pass {
            Observation::pass()
        } else {
            let side = match self.side {
                Side::Below => "at least",
                Side::Above => "at most",
            };
            Observation::fail(format!("{what} is {percent:.1}%; allowed is {side} {:.0}%", self.fail * 100.0))
        };
        observation.with_value(percent, "percent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_fails_above_ninety_percent_and_not_at_it() {
        let mut used = Watermark::used_memory();

        assert_eq!(used.judge(0.90), Status::Pass);
        assert_eq!(used.judge(0.901), Status::Fail);
        assert_eq!(used.judge(0.88), Status::Fail);
        assert_eq!(used.judge(0.85), Status::Pass);
    }

    #[test]
    fn a_disk_fails_below_ten_percent_and_not_at_it() {
        let mut free = Watermark::free_disk();

        assert_eq!(free.judge(0.10), Status::Pass);
        assert_eq!(free.judge(0.0999), Status::Fail);
    }

    #[test]
    fn what_is_no_number_fails_and_says_so() {
        let observation = Watermark::free_disk().observe("free space of /", f64::NAN);

        assert_eq!(observation.output(), Some("free space of / is NaN%; allowed is at least 10%"));
    }

    #[test]
    fn marks_in_the_wrong_order_are_refused() {
        assert!(Watermark::below(0.2, 0.1).is_err());
        assert!(Watermark::above(0.8, 0.9).is_err());
        assert!(Watermark::above(f64::NAN, 0.9).is_err());
        assert_eq!(
            Watermark::below(-1.0, 0.5).unwrap_err().to_string(),
            "the mark fails at -1 and recovers at 0.5; allowed are 0 to 1 with recovery on the good side"
        );
        assert_eq!(Watermark::above(1.0, 0.0).map(|mut it| it.judge(1.0)), Ok(Status::Pass));
    }
}

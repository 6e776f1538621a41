//! How often something was seen of late: views, or views of two items together, of which the older count less.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A view counts half as much after this time: what somebody looks at for an afternoon is popular in that afternoon.
pub const HALF_LIFE: Duration = Duration::from_mins(10);
/// That two items were seen together counts half as much after this time: what people like together changes with the
/// season, not with the afternoon.
pub const TOGETHER_HALF_LIFE: Duration = Duration::from_hours(7 * 24);
/// What has less than this left of it is not popular, or not seen together.
const LEAST: f64 = 0.5;

/// Counts of one thing, each weighed by its age: the logarithm of their sum as it was in 1970. All with one half-life.
///
/// Old counts lose weight without being touched: relative to each other, weights stay the same, so the order by heat is the
/// order by weighed counts at any moment. They may come in any order.
///
/// # Source
/// Cormode, Shkapenyuk, Srivastava and Xu, Forward Decay: A Practical Time Decay Model for Streaming Systems, ICDE 2009.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
#[serde(transparent)]
pub struct Heat(f64);

impl Heat {
    /// Of one that counts half as much after each `half_life`.
    pub fn fresh(at: SystemTime, half_life: Duration) -> Self {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self(seconds / half_life.as_secs_f64() * std::f64::consts::LN_2)
    }

    /// The least that still is something.
    pub fn least(now: SystemTime, half_life: Duration) -> Self {
        Self(Self::fresh(now, half_life).0 + LEAST.ln())
    }

    /// Of both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let (less, more) = if self < other { (self, other) } else { (other, self) };
        Self(more.0 + (less.0 - more.0).exp().ln_1p())
    }

    /// How many of this moment weigh as much.
    pub fn weight(self, now: SystemTime, half_life: Duration) -> f64 {
        (self.0 - Self::fresh(now, half_life).0).exp()
    }

    /// The same in whole ones.
    pub fn count(self, now: SystemTime, half_life: Duration) -> u64 {
        whole(self.weight(now, half_life))
    }

    /// As a database keeps it.
    pub(super) const fn as_number(self) -> f64 {
        self.0
    }

    /// As a database has kept it.
    pub(super) const fn from_number(number: f64) -> Self {
        Self(number)
    }
}

/// A weight in whole ones.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, not below 0, and saturating")]
pub(super) fn whole(weight: f64) -> u64 {
    weight.round() as u64
}

impl Ord for Heat {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Heat {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Heat {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Heat {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds after some day in 2026.
    #[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    fn fresh(moment: SystemTime) -> Heat {
        Heat::fresh(moment, HALF_LIFE)
    }

    fn count(heat: Heat, moment: SystemTime) -> u64 {
        heat.count(moment, HALF_LIFE)
    }

    fn seen(times: u32, moment: SystemTime) -> Heat {
        (1..times).fold(fresh(moment), |heat, _| heat.with(fresh(moment)))
    }

    #[test]
    fn views_of_one_moment_count_one_each_and_half_as_much_after_the_half_life() {
        let heat = seen(1000, at(0));

        assert_eq!((count(heat, at(0)), count(heat, at(600)), count(heat, at(1200))), (1000, 500, 250));
    }

    #[test]
    fn many_old_views_weigh_less_than_a_few_fresh_ones() {
        let (old, fresh) = (seen(1000, at(0)), seen(3, at(6000)));

        assert!(fresh > old);
        assert_eq!((count(old, at(6000)), count(fresh, at(6000))), (1, 3));
    }

    #[test]
    fn the_order_of_two_items_does_not_depend_on_when_it_is_asked_for() {
        let (one, other) = (seen(5, at(0)), seen(3, at(300)));

        assert!(one > other);
        assert_eq!((count(one, at(300)), count(other, at(300))), (4, 3));
        assert_eq!((count(one, at(900)), count(other, at(900))), (2, 2));
    }

    #[test]
    fn the_order_in_which_views_come_does_not_matter() {
        let (early, late) = (fresh(at(0)), fresh(at(600)));

        assert_eq!(early.with(late), late.with(early));
        assert_eq!(count(seen(10, at(0)).with(seen(10, at(600))), at(600)), 15);
    }

    #[test]
    fn less_than_half_a_view_is_not_popular() {
        let heat = fresh(at(0));

        assert!(heat >= Heat::least(at(599), HALF_LIFE));
        assert!(heat < Heat::least(at(601), HALF_LIFE));
    }

    #[test]
    fn a_clock_that_was_set_back_or_stands_before_1970_is_no_matter() {
        let heat = fresh(at(0));

        assert_eq!(count(heat, SystemTime::UNIX_EPOCH), u64::MAX);
        assert_eq!(fresh(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), fresh(SystemTime::UNIX_EPOCH));
        assert_eq!(fresh(SystemTime::UNIX_EPOCH).with(heat), heat);
    }
}

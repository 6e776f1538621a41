use std::time::Duration;

use seawall_core::Timestamp;

use crate::{CheckConfig, Status, config::STALE_INTERVALS};

/// Judges one check from its runs: how many failures make it fail, how many passes mend it, and when silence is a
/// failure. The whole decision; the time comes in, nothing else does.
///
/// # Examples
/// ```
/// use seawall_core::Timestamp;
/// use seawall_health::{CheckConfig, Judge, Status};
/// use std::time::Duration;
///
/// let mut judge = Judge::new(&CheckConfig::database()); // 2 failures, every 30 s
/// let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
/// assert_eq!(judge.status(at(0)), Status::Unknown);
/// judge.record(Status::Pass, at(0));
/// judge.record(Status::Fail, at(30));
/// assert_eq!(judge.status(at(30)), Status::Pass);
/// judge.record(Status::Fail, at(60));
/// assert_eq!(judge.status(at(60)), Status::Fail);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    failures: u32,
    successes: u32,
    stale_after: Duration,
    standing: Status,
    /// Runs in a row that did not fail, and that failed; one of them is 0.
    good: u32,
    bad: u32,
    completed: Option<Timestamp>,
}

impl Judge {
    /// A judge that has seen nothing.
    pub const fn new(config: &CheckConfig) -> Self {
        Self {
            failures: config.failures,
            successes: config.successes,
            stale_after: config.interval.saturating_mul(STALE_INTERVALS),
            standing: Status::Unknown,
            good: 0,
            bad: 0,
            completed: None,
        }
    }

    /// Takes in what a run found that was completed at `now`, and says what the check is now. [`Status::Unknown`] is a
    /// failure: a run that found nothing.
    pub fn record(&mut self, found: Status, now: Timestamp) -> Status {
        self.take(found, self.failures, now)
    }

    /// Takes in a failure that was completed at `now` and needs no other to confirm it, and says what the check is now.
    pub fn record_conclusive_failure(&mut self, now: Timestamp) -> Status {
        self.take(Status::Fail, 1, now)
    }

    fn take(&mut self, found: Status, enough: u32, now: Timestamp) -> Status {
        self.look(now);
        self.completed = Some(now);
        if found.is_up() {
            self.bad = 0;
            self.good = self.good.saturating_add(1);
            if self.standing != Status::Fail || self.good >= self.successes {
                self.standing = found;
            }
        } else {
            self.good = 0;
            self.bad = self.bad.saturating_add(1);
            if self.bad >= enough {
                self.standing = Status::Fail;
            }
        }
        self.standing
    }

    /// Notices that a check is stuck, and says what it is now. A check that was stuck has to pass as often as one that
    /// failed.
    pub fn look(&mut self, now: Timestamp) -> Status {
        if self.is_stuck(now) {
            self.standing = Status::Fail;
            self.good = 0;
        }
        self.standing
    }

    /// What the check is at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        if self.is_stuck(now) { Status::Fail } else { self.standing }
    }

    /// Whether more than three intervals have passed since a run was completed. A check that never ran is unknown, not
    /// stuck.
    pub fn is_stuck(&self, now: Timestamp) -> bool {
        self.completed.is_some_and(|completed| now.since(completed) > self.stale_after)
    }

    /// What the check was at the last run or look.
    pub(crate) const fn standing(&self) -> Status {
        self.standing
    }

    /// When a run was last completed.
    pub const fn completed(&self) -> Option<Timestamp> {
        self.completed
    }

    /// Failures in a row, up to the last run.
    pub const fn failures_in_a_row(&self) -> u32 {
        self.bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn one_failure_too_few_fails_nothing_and_a_pass_starts_the_count_anew() {
        let mut judge = Judge::new(&CheckConfig::application());
        judge.record(Status::Pass, at(0));

        judge.record(Status::Fail, at(10));
        assert_eq!(judge.record(Status::Fail, at(20)), Status::Pass);
        judge.record(Status::Pass, at(30));
        judge.record(Status::Fail, at(40));
        assert_eq!(judge.record(Status::Fail, at(50)), Status::Pass);
        assert_eq!(judge.record(Status::Fail, at(60)), Status::Fail);
    }

    #[test]
    fn a_conclusive_failure_fails_at_once_and_is_one_failure() {
        let mut judge = Judge::new(&CheckConfig::application());
        judge.record(Status::Pass, at(0));

        assert_eq!(judge.record_conclusive_failure(at(10)), Status::Fail);
        assert_eq!(judge.failures_in_a_row(), 1);
        assert_eq!(judge.record(Status::Pass, at(20)), Status::Fail);
        assert_eq!(judge.record(Status::Pass, at(30)), Status::Pass);
    }

    #[test]
    fn one_lucky_run_does_not_end_a_failure() {
        let mut judge = Judge::new(&CheckConfig::application().with_failures(1));
        judge.record(Status::Fail, at(0));

        assert_eq!(judge.record(Status::Pass, at(10)), Status::Fail);
        assert_eq!(judge.record(Status::Warn, at(20)), Status::Warn);
    }

    #[test]
    fn silence_for_more_than_three_intervals_is_a_failure() {
        let mut judge = Judge::new(&CheckConfig::application());
        judge.record(Status::Pass, at(0));

        assert_eq!(judge.status(at(30)), Status::Pass);
        assert_eq!(judge.status(Timestamp::from_nanos(30_000_000_001)), Status::Fail);
        assert_eq!(judge.record(Status::Pass, at(40)), Status::Fail);
        assert_eq!(judge.record(Status::Pass, at(50)), Status::Pass);
    }

    #[test]
    fn what_never_ran_is_unknown_for_ever() {
        let mut judge = Judge::new(&CheckConfig::application());

        assert_eq!(judge.look(Timestamp::MAX), Status::Unknown);
    }

    #[test]
    fn a_stamp_from_before_the_last_run_changes_nothing() {
        let mut judge = Judge::new(&CheckConfig::application());
        judge.record(Status::Pass, Timestamp::MAX);

        assert_eq!(judge.status(Timestamp::ZERO), Status::Pass);
    }
}

use crate::WarmUpQuota;

/// How the pace depends on what is stored: a trapezium whose area is the time of warming up.
#[derive(Debug, Copy, Clone, PartialEq)]
pub(super) struct Curve {
    /// Nanoseconds a call, warm.
    pub(super) interval: f64,
    pub(super) warm_up: f64,
    /// What may be stored without slowing down.
    pub(super) threshold: f64,
    pub(super) most: f64,
    /// Nanoseconds a call, for each one stored above the threshold.
    pub(super) slope: f64,
}

impl Curve {
    /// Of a call each `interval` nanoseconds, once warm.
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact to 2⁻⁵³")]
    pub(super) fn new(interval: u64, quota: &WarmUpQuota) -> Self {
        let interval = interval as f64;
        let (warm_up, cold) = (quota.warm_up().as_nanos() as f64, f64::from(quota.cold_factor()));
        let threshold = warm_up / interval / (cold - 1.0);
        let most = threshold + 2.0 * warm_up / interval / (1.0 + cold);
        Self { interval, warm_up, threshold, most, slope: interval * (cold - 1.0) / (most - threshold) }
    }

    /// Nanoseconds a call.
    pub(super) fn pace(&self, stored: f64) -> f64 {
        self.slope.mul_add((stored - self.threshold).max(0.0), self.interval)
    }

    /// What is stored after half of the calls that begin within `step` nanoseconds when they come without a pause. Its
    /// pace is their mean one; the pace of the first would be too slow for the rest, and what lags grows.
    pub(super) fn amid(&self, stored: f64, step: f64) -> f64 {
        (stored - (step / self.pace(stored)).ceil() / 2.0).max(0.0)
    }

    /// What is stored after `span` nanoseconds in which `taken` calls went on at `pace`: each uses up one, until none is
    /// left, and the time in which none was due stores again. Calls that came ahead of their time leave some `ahead`, in
    /// nanoseconds.
    pub(super) fn after(&self, (stored, ahead): (f64, f64), taken: f64, pace: f64, span: f64) -> (f64, f64) {
        let idle = span - taken.mul_add(pace, ahead);
        let regained = idle.max(0.0) / self.warm_up * self.most;
        (((stored - taken).max(0.0) + regained).min(self.most), (-idle).max(0.0))
    }
}

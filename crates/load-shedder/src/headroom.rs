/// A lower limit gives more than this much more throughput: the limit is past the peak.
const PAST_PEAK: f64 = 1.05;
/// A little less gives less than this part of the throughput: there is more to be had.
const BEFORE_PEAK: f64 = 0.95;
/// Low limits are too coarse to say anything about a peak.
const LEAST_LIMIT: f64 = 6.0;
const SHRINK: f64 = 0.8;
const GROW: f64 = 1.15;
const MOST: f64 = 1.5;
/// As far as the headroom shrinks when half the limit, or more, was tried; and when only a little less was, which is seen
/// less surely.
const LEAST: f64 = 0.25;
const LEAST_UNSURE: f64 = 0.35;
/// How much of a new comparison is taken over at once.
const SMOOTHING: f64 = 0.4;
const SMOOTHING_UNSURE: f64 = 0.4;
const SMOOTHING_FULL: f64 = 0.3;
/// A limit that has moved by more than this, in logarithms, is another one: its throughput is known anew.
const ANOTHER_LIMIT: f64 = 0.25;
/// One comparison counts for no more than this: the server may have stood still in between.
const FURTHEST: f64 = 0.25;

/// The part of the usual queue that a server can bear, found by comparing throughputs: at the limit, at about half of it,
/// and at a little less than it. All are logarithms of limit over latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Headroom {
    factor: f64,
    /// The limit, and the throughput there, smoothed.
    at_limit: Option<(f64, f64)>,
    half_over_full: f64,
    less_over_full: f64,
}

impl Default for Headroom {
    fn default() -> Self {
        Self { factor: 1.0, at_limit: None, half_over_full: 0.0, less_over_full: 0.0 }
    }
}

impl Headroom {
    pub(crate) const fn factor(&self) -> f64 {
        self.factor
    }

    /// How much more throughput a probe at `part` of the limit has than the limit itself, if that is known.
    pub(crate) fn over(&self, part: f64, limit: f64, mean: f64) -> Option<f64> {
        self.at_limit.map(|(_, at_limit)| (part * limit / mean).ln() - at_limit)
    }

    /// A window at the limit.
    pub(crate) fn full(&mut self, limit: f64, mean: f64) {
        let now = (limit / mean).ln();
        let before = self.at_limit.filter(|(other, _)| (limit / other).ln().abs() < ANOTHER_LIMIT);
        self.at_limit = Some(match before {
            Some((limit, before)) => (limit, before + SMOOTHING_FULL * (now - before)),
            None => (limit, now),
        });
    }

    /// A probe at `part` of the limit, which is a little less than it, or deep enough to be sure, or both.
    pub(crate) fn less(&mut self, part: f64, limit: f64, mean: f64, little_less: bool, deep: bool) {
        let Some(over) = self.over(part, limit, mean).map(|over| over.clamp(-FURTHEST, FURTHEST)) else { return };
        if little_less {
            self.less_over_full += SMOOTHING_UNSURE * (over - self.less_over_full);
        }
        if deep {
            self.half_over_full += SMOOTHING * (over - self.half_over_full);
        }
        let peak = PAST_PEAK.ln();
        self.factor = if limit > LEAST_LIMIT && self.half_over_full > peak {
            (SHRINK * self.factor).max(LEAST)
        } else if limit > LEAST_LIMIT && self.less_over_full > peak {
            (SHRINK * self.factor).max(LEAST_UNSURE.min(self.factor))
        } else if self.less_over_full < BEFORE_PEAK.ln() {
            (GROW * self.factor).min(MOST)
        } else if self.factor > 1.0 {
            (self.factor / GROW).max(1.0)
        } else {
            (GROW * self.factor).min(1.0)
        };
    }
}

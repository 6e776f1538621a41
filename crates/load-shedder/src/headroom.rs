/// As far as the headroom shrinks and grows. More than a third more would be felt as latency by every call, for a throughput
/// that hardly rises.
const LEAST: f64 = 0.25;
const MOST: f64 = 1.35;
/// How much of a new throughput is taken over at once.
const SMOOTHING: f64 = 0.3;
/// A limit that has moved by more than this, in logarithms, is another one: its throughput is known anew.
const ANOTHER_LIMIT: f64 = 0.25;
/// Throughput may fall this steeply with the limit, in logarithms, before less is allowed: where it neither rises nor
/// falls, as before workers that are all busy, a longer queue costs little and bridges gaps.
const STEEP: f64 = -0.12;
/// How much of a slope is taken over at once. One comparison is half a unit off; a convoy falls by a third of one.
const TILT: f64 = 0.15;

/// The part of the usual queue that a server can bear, found by how the throughput changes as the limit
/// [sways](crate::sway::Sway); and the throughput at the limit, in logarithms of limit over latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Headroom {
    factor: f64,
    /// The limit, and the throughput there, smoothed.
    at_limit: Option<(f64, f64)>,
}

impl Default for Headroom {
    fn default() -> Self {
        Self { factor: 1.0, at_limit: None }
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
            Some((limit, before)) => (limit, before + SMOOTHING * (now - before)),
            None => (limit, now),
        });
    }

    /// How steep throughput is in the limit.
    pub(crate) fn tilt(&mut self, slope: f64) {
        self.factor = (self.factor * (TILT * (slope - STEEP)).exp()).clamp(LEAST, MOST);
    }
}

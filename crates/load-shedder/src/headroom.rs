/// As far as the headroom shrinks and grows. More than a quarter more would be felt as latency by every call, for a throughput
/// that hardly rises.
const LEAST: f64 = 0.25;
const MOST: f64 = 1.25;
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

    /// Whether a probe that let in so many calls, in a mean of so long, had clearly less throughput than the limit of which the
    /// rest of `allowed` is the knee: its latency is that of a server that is not full, however slow it is.
    ///
    /// Counted in whole calls: half of a limit of 3 is a probe of one. A probe that lets in as many as the limit has seen what
    /// there is to see, and between it and the limit there is always one call at least that a full server would not miss.
    pub(crate) fn is_busy_below(&self, let_in: f64, limit: f64, allowed: f64, mean: f64) -> bool {
        let knee = (limit - allowed).max(let_in + 1.0);
        if knee > limit.ceil() {
            return true;
        }
        let as_if_not_full = (let_in / knee).ln();
        self.at_limit.is_some_and(|(_, at_limit)| (let_in / mean).ln() - at_limit < as_if_not_full / 2.0)
    }

    /// A window at the limit, of which `in_force` was in force.
    pub(crate) fn full(&mut self, limit: f64, in_force: f64, mean: f64) {
        let now = (in_force.ceil() / mean).ln();
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

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    /// What a probe of half of the limit, in whole calls, is taken for, where calls at the limit take `at_limit` and those of the
    /// probe `probe`.
    fn is_busy_below(limit: f64, allowed: f64, at_limit: f64, probe: f64) -> bool {
        let mut headroom = Headroom::default();
        headroom.full(limit, limit, at_limit);
        headroom.is_busy_below((limit / 2.0).max(1.0).floor(), limit, allowed, probe)
    }

    #[test]
    fn a_server_that_has_as_much_throughput_with_half_as_many_calls_is_full_at_every_limit() {
        for limit in [2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 20.0, 100.0_f64] {
            // All calls share one core: latency is in proportion to what is under way.
            let [at_limit, probe] = [limit.ceil(), (limit / 2.0).floor()].map(|calls| 10e6 * calls);

            assert!(!is_busy_below(limit, 1.35 * limit.sqrt(), at_limit, probe), "{limit}");
        }
    }

    #[test]
    fn a_server_that_is_as_slow_with_half_as_many_calls_is_not_full_at_any_limit() {
        for limit in [1.0, 1.2, 1.7, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 20.0, 100.0_f64] {
            assert!(is_busy_below(limit, 1.35 * limit.sqrt(), 50e6, 50e6), "{limit}");
        }
    }

    #[test]
    fn a_probe_of_as_many_calls_as_the_limit_is_believed() {
        assert!(is_busy_below(1.0, 1.35, 10e6, 5e6));
    }
}

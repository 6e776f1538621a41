use crate::Window;

/// How far the limit goes up and down, as a part of what may queue; in calls and as a part of the limit at least: a large
/// limit that may queue little would else never learn that more may queue now.
const WIDTH: f64 = 0.4;
const LEAST_WIDTH: f64 = 0.75;
const LEAST_PART: f64 = 0.01;
/// Each half lasts until so many times the limit have ended: what is inside when it begins came under the other one.
const LIMITS_PER_HALF: f64 = 6.0;
/// Two halves differ by no more than this, in logarithms: the server may have stood still in one of them.
const FURTHEST: f64 = 0.4;
/// Limits closer than this, in logarithms, say nothing.
const SHORTEST_LEVER: f64 = 0.01;
const STEEPEST: f64 = 3.0;

/// The limit goes up and down a little all the time, and what that does to the throughput is compared. A probe sees a few
/// dozen calls in some thousand, and takes their latency for the throughput; this sees all of them, by the time that they
/// take.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sway {
    up: bool,
    half: Half,
    /// The logarithms of limit and throughput in the half before.
    before: Option<(f64, f64)>,
}

/// The windows of half a sway.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Half {
    calls: f64,
    seconds: f64,
    /// The logarithms of the limits, by calls.
    limits: f64,
}

impl Sway {
    /// The limit in force around `limit`, in whole calls.
    pub(crate) fn around(&self, limit: f64, allowed: f64) -> f64 {
        let width = (WIDTH * allowed).max(LEAST_WIDTH).max(LEAST_PART * limit);
        if self.up { (limit + width).round() } else { (limit - width).round().max(1.0) }
    }

    /// A window under a limit that was in use: how steep the throughput is in the limit, in logarithms, at the end of each
    /// other half.
    pub(crate) fn window(&mut self, limit: f64, window: &Window) -> Option<f64> {
        // Written so that what is no number is left out, too.
        let Some(throughput) = window.throughput.filter(|throughput| *throughput > 0.0 && throughput.is_finite())
        else {
            self.half = Half::default();
            return None;
        };
        let calls = f64::from(window.samples);
        self.half.calls += calls;
        self.half.seconds += calls / throughput;
        self.half.limits += calls * limit.ln();
        if self.half.calls < LIMITS_PER_HALF * limit {
            return None;
        }
        let half = std::mem::take(&mut self.half);
        self.up = !self.up;
        let now = (half.limits / half.calls, (half.calls / half.seconds).ln());
        let Some(before) = self.before.take() else {
            self.before = Some(now);
            return None;
        };
        let lever = now.0 - before.0;
        let steep = || ((now.1 - before.1).clamp(-FURTHEST, FURTHEST) / lever).clamp(-STEEPEST, STEEPEST);
        (lever.abs() > SHORTEST_LEVER).then(steep)
    }

    /// The limit was not in use, or does not sway: what was seen of it says nothing.
    pub(crate) fn stop(&mut self) {
        *self = Self { up: self.up, ..Self::default() };
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    fn window(per_second: f64) -> Window {
        Window::new(120, 10e6, 0.5, 20).with_throughput(per_second)
    }

    /// Sways around 20 for so many windows of 120 calls before a server that does so many calls a second at a limit; to the
    /// hundredth.
    fn slopes(windows: u32, per_second: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut sway = Sway::default();
        let mut seen = Vec::new();
        for _ in 0..windows {
            let limit = sway.around(20.0, 5.0);
            seen.extend(sway.window(limit, &window(per_second(limit))));
        }
        seen.iter().map(|slope| (slope * 100.0).round() / 100.0).collect()
    }

    #[test]
    fn every_other_half_tells_how_steep_the_throughput_is() {
        // A half under 18 is over with the first window, one under 22 with the second.
        assert_eq!(slopes(12, |limit| 1_000.0 * limit.powf(-0.3)), [-0.3; 4]);
    }

    #[test]
    fn a_server_that_stood_still_in_one_half_says_little() {
        assert_eq!(slopes(3, |limit| if limit > 20.0 { 0.001 } else { 1_000.0 }), [-1.99], "0.4 from 18 to 22");
    }

    #[test]
    fn windows_of_unknown_throughput_and_limits_not_in_use_are_left_out() {
        let unknown = Window::new(120, 10e6, 0.5, 20);
        let mut sway = Sway::default();

        assert_eq!(sway.window(18.0, &window(100.0)), None, "the first half is over");
        assert_eq!(sway.window(22.0, &window(100.0)), None, "not the second");
        for nonsense in [unknown, window(0.0), window(f64::NAN), window(f64::INFINITY)] {
            assert_eq!(sway.window(22.0, &nonsense), None);
        }
        assert_eq!(sway.window(22.0, &window(100.0)), None, "it began anew");
        assert_eq!(sway.window(22.0, &window(100.0)), Some(0.0));
        assert_eq!(sway.window(18.0, &window(100.0)), None);
        sway.stop();
        for _ in 0..2 {
            assert_eq!(sway.window(22.0, &window(100.0)), None, "there is no half before");
        }
    }

    #[test]
    fn a_large_limit_that_may_queue_little_still_says_something() {
        let mut sway = Sway::default();
        let mut seen = None;
        for _ in 0..2 {
            let limit = sway.around(10_000.0, 30.0);
            seen = sway.window(limit, &Window::new(60_600, 10e6, 0.5, 10_000).with_throughput(10_000.0 / limit));
        }

        assert!(seen.is_some_and(|slope| (slope + 1.0).abs() < 0.01), "{seen:?}");
    }

    #[test]
    fn it_never_goes_below_one_and_always_by_whole_calls() {
        let sway = Sway::default();

        assert_eq!((sway.around(1.2, 0.3), sway.around(12.0, 4.7)), (1.0, 10.0));
    }
}

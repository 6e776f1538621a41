//! The adaptive limit against a list of all calls, sorted anew for each window.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use proptest::prelude::*;
use seawall_core::Timestamp;
use seawall_timeout::{AdaptiveConfig, AdaptiveTimeout};

const WINDOW: u64 = 1_000_000_000;
const FLOOR: u64 = 4_000_000;
const CEILING: u64 = 200_000_000;
const FACTOR: u64 = 3;

/// The truth: every call with its window; failures have no latency.
struct Truth {
    share: f64,
    calls: Vec<(u64, Option<u64>)>,
    window: u64,
    known: Option<u64>,
    is_frozen: bool,
    /// When a call was last given the ceiling during an outage.
    tried: u64,
}

impl Truth {
    fn latencies(&self, windows: std::ops::Range<u64>) -> Vec<u64> {
        let of_windows = self.calls.iter().filter(|(window, _)| windows.contains(window));
        let mut latencies: Vec<_> = of_windows.filter_map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        latencies
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small test numbers"
    )]
    fn turn_to(&mut self, now: u64) {
        let (next, last) = (now / WINDOW, self.window);
        if next <= last {
            return;
        }
        self.window = next;
        let succeeded = self.latencies(last..last + 1).len();
        let failed = self.calls.iter().filter(|(window, latency)| *window == last && latency.is_none()).count();
        self.is_frozen = failed * 10 > failed + succeeded || (self.is_frozen && succeeded == 0);
        if !self.is_frozen {
            let recent = self.latencies(next.saturating_sub(2)..next);
            let rank = ((recent.len() as f64 * self.share).ceil() as usize).max(1);
            self.known = (recent.len() >= 100).then(|| recent[rank - 1]);
        }
    }

    fn usual_limit(&mut self, now: u64) -> u64 {
        self.turn_to(now);
        self.known.map_or(CEILING, |known| (known * FACTOR).clamp(FLOOR, CEILING))
    }

    fn limit(&mut self, now: u64) -> u64 {
        let usual = self.usual_limit(now);
        if self.is_frozen && now - self.tried >= WINDOW {
            self.tried = now;
            return CEILING;
        }
        usual
    }

    fn record(&mut self, latency: u64, now: u64) {
        self.turn_to(now);
        self.calls.push((self.window, Some(latency)));
        if self.is_frozen && latency > self.usual_limit(now) {
            (self.known, self.is_frozen) = (None, false);
        }
    }

    fn fail(&mut self, now: u64) {
        self.turn_to(now);
        self.calls.push((self.window, None));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Succeed { latency: u64, calls: u32 },
    Fail { calls: u32 },
    Begin,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    // None is near a limit that comes of another, so that no rounding decides.
    let latency = prop::sample::select(vec![500_000, 1_000_000, 2_000_000, 5_000_000, 20_000_000, 100_000_000_u64]);
    prop_oneof![
        5 => (latency, 1..90_u32).prop_map(|(latency, calls)| Step::Succeed { latency, calls }),
        2 => (1..30_u32).prop_map(|calls| Step::Fail { calls }),
        3 => Just(Step::Begin),
        4 => prop_oneof![5 => 0..WINDOW / 2, 2 => WINDOW / 2..2 * WINDOW, 1 => WINDOW..4 * WINDOW].prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn the_limit_is_what_the_sorted_list_of_the_last_two_windows_says(
        share in prop::sample::select(vec![0.5, 0.9, 0.99]), steps in prop::collection::vec(step(), 1..120),
    ) {
        let nanos = Duration::from_nanos;
        let config = AdaptiveConfig::new(nanos(FLOOR), nanos(CEILING)).and_then(|config| config.with_window(nanos(WINDOW)));
        let config = config.and_then(|config| config.with_quantile(share)).unwrap();
        let timeout = AdaptiveTimeout::new(config);
        let mut truth =
            Truth { share, calls: Vec::new(), window: 0, known: None, is_frozen: false, tried: 0 };
        let mut now = 0;

        for step in steps {
            let (at, began) = (Timestamp::from_nanos(now), now);
            match step {
                Step::Succeed { latency, calls } => for _ in 0..calls {
                    timeout.record(at, nanos(latency));
                    truth.record(latency, now);
                },
                Step::Fail { calls } => for _ in 0..calls {
                    timeout.record_failure(at);
                    truth.fail(now);
                },
                Step::Begin => {
                    let (limit, wanted) = (timeout.limit(at), nanos(truth.limit(now)));
                    prop_assert!(limit.abs_diff(wanted) <= wanted / 64, "{:?} at {}, not {:?}", limit, now, wanted);
                }
                Step::Pass(time) => now += time,
            }
            let (limit, wanted) = (timeout.usual_limit(at), nanos(truth.usual_limit(began)));
            prop_assert!(limit.abs_diff(wanted) <= wanted / 64, "{:?} at {}, not {:?}", limit, began, wanted);
        }
    }
}

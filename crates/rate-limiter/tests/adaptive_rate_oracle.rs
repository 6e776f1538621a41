//! The rate that adapts against a list of all calls that were sent, counted anew for each question.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::time::Duration;

use proptest::prelude::*;
use seawall_core::Timestamp;
use seawall_rate_limiter::{AdaptiveQuota, AdaptiveRate};

const HALF_SECOND: u64 = 500_000_000;
const KEPT: f64 = 0.7;
const SCALE: f64 = 0.4;

/// The last time that the rate was lowered.
struct Lowered {
    at: u64,
    refused_at: f64,
}

#[derive(Default)]
struct Truth {
    sent: Vec<u64>,
    lowered: Option<Lowered>,
    allowed: f64,
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("small"))
}

impl Truth {
    fn sent_in(&self, step: u64) -> f64 {
        count(self.sent.iter().filter(|at| **at / HALF_SECOND == step).count())
    }

    /// Calls a second: of each half second in which some were sent, over the time until the next such; the newest is
    /// four fifths.
    fn measured(&self) -> f64 {
        let mut steps: Vec<_> = [0].into_iter().chain(self.sent.iter().map(|at| at / HALF_SECOND)).collect();
        steps.dedup();
        steps.windows(2).fold(0.0, |measured, steps| {
            let halves = count(usize::try_from(steps[1] - steps[0]).expect("small"));
            0.8 * self.sent_in(steps[0]) / (halves / 2.0) + 0.2 * measured
        })
    }

    fn send(&mut self, now: u64) {
        let last = self.sent.last().map_or(0, |last| last / HALF_SECOND);
        self.sent.push(now);
        if now / HALF_SECOND > last
            && let Some(Lowered { at, refused_at }) = self.lowered
        {
            let late = Duration::from_nanos(now - at).as_secs_f64();
            let flat = (refused_at * (1.0 - KEPT) / SCALE).cbrt();
            let cubic = refused_at + SCALE * (late - flat).powi(3);
            self.allowed = cubic.min(2.0 * self.measured()).clamp(0.5, 1e6);
        }
    }

    fn refuse(&mut self, sent: u64, now: u64) {
        if self.lowered.as_ref().is_some_and(|lowered| sent <= lowered.at) {
            return;
        }
        let measured = self.measured();
        let lately = self.sent.last().map_or(0, |last| last / HALF_SECOND);
        let measured = if measured > 0.0 { measured } else { 2.0 * self.sent_in(lately) };
        let refused_at = if self.lowered.is_some() { measured.min(self.allowed) } else { measured };
        self.lowered = Some(Lowered { at: now, refused_at });
        self.allowed = (KEPT * refused_at).clamp(0.5, 1e6);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many calls ask, so far apart.
    Ask {
        calls: u32,
        gap: u64,
    },
    /// The other side refuses a call that was sent so long ago.
    Refuse {
        ago: u64,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..60_u32, 0..60_000_000_u64).prop_map(|(calls, gap)| Step::Ask { calls, gap }),
        2 => prop_oneof![Just(0), 0..400_000_000_u64].prop_map(|ago| Step::Refuse { ago }),
        2 => (0..3 * HALF_SECOND).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn the_rate_is_what_the_list_of_all_calls_says(steps in prop::collection::vec(step(), 1..40)) {
        let limiter = AdaptiveRate::new(AdaptiveQuota::default());
        let mut truth = Truth::default();
        let mut now: u64 = 0;

        for step in steps {
            match step {
                Step::Ask { calls, gap } => for _ in 0..calls {
                    let went_on = limiter.take(1, Timestamp::from_nanos(now)).is_ok();
                    prop_assert!(went_on || truth.lowered.is_some(), "refused at {} without need", now);
                    if went_on {
                        truth.send(now);
                    }
                    now += gap;
                },
                Step::Refuse { ago } => {
                    let sent = now.saturating_sub(ago);
                    limiter.refused(Timestamp::from_nanos(sent), Timestamp::from_nanos(now));
                    truth.refuse(sent, now);
                }
                Step::Pass(time) => now += time,
            }
            match (limiter.rate(), &truth.lowered) {
                (None, None) => {}
                (Some(rate), Some(_)) => {
                    prop_assert!((rate - truth.allowed).abs() < 1e-6 * rate, "{} at {}, not {}", rate, now, truth.allowed);
                }
                (rate, _) => prop_assert!(false, "{:?} at {}", rate, now),
            }
        }
    }
}

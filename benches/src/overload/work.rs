//! Work that keeps a core busy, in slices between which others have their turn: as an async server's handlers share it.

use std::{hint::black_box, time::Duration};

use seawall::core::{Clock, MonotonicClock};

/// How much of a request is done at a time.
const SLICE: Duration = Duration::from_micros(100);
/// Steps of a calibration, which is the quickest of several: whatever else ran only makes it slower.
const STEPS: u32 = 100_000;
const CALIBRATIONS: usize = 20;

/// How much a request is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two numbers on a command line")]
pub struct Work {
    /// Steps of a slice.
    pub steps: u32,
    /// Slices of a request.
    pub slices: u32,
}

impl Work {
    /// About this much time of this core.
    pub fn taking(time: Duration) -> Self {
        let quickest = (0..CALIBRATIONS).map(|_| timed(STEPS)).min().unwrap_or(SLICE);
        let steps = f64::from(STEPS) * SLICE.as_secs_f64() / quickest.as_secs_f64().max(f64::MIN_POSITIVE);
        let slices = time.as_secs_f64() / SLICE.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        Self { steps: (steps as u32).max(1), slices: (slices.round() as u32).max(1) }
    }

    /// Does it.
    pub async fn run(self) {
        for _ in 0..self.slices {
            steps(self.steps);
            tokio::task::yield_now().await;
        }
    }
}

fn timed(count: u32) -> Duration {
    let begin = MonotonicClock.now();
    steps(count);
    MonotonicClock.now().since(begin)
}

/// Each needs the one before, so that nothing is done at once or not at all.
fn steps(count: u32) {
    let mut state: u64 = black_box(1);
    for _ in 0..count {
        state = state.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) ^ 0x5555;
    }
    black_box(state);
}

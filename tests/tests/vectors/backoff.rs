//! Waits between attempts: ceilings, what a given random number makes of them, and their distribution.

use std::time::Duration;

use seawall::{
    backoff_with_jitter::{Backoff, Jitter, Position},
    core::{Entropy, SeededEntropy},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{accepted, expect, expect_near, parse};

const RUNS: u32 = 100_000;
const SEED: u64 = 0x5EA_0A11;
/// The sequences go on for ever: retries far beyond those that are listed.
const FAR: [u32; 4] = [1 << 10, 1 << 16, 1 << 31, u32::MAX];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exponential {
    initial_ms: f64,
    factor: f64,
    max_ms: f64,
    delays_ms: Vec<f64>,
    /// Who else says so.
    #[serde(default, rename = "agree")]
    _agree: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenU {
    initial_ms: f64,
    factor: f64,
    max_ms: f64,
    u: Vec<f64>,
    ceiling_ms: Vec<f64>,
    full_ms: Vec<f64>,
    equal_ms: Vec<f64>,
    decorrelated_ms: Vec<f64>,
    decorrelated_v2_ms: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moments {
    initial_ms: f64,
    factor: f64,
    max_ms: f64,
    full_mean: Vec<f64>,
    full_sd: Vec<f64>,
    equal_mean: Vec<f64>,
    equal_sd: Vec<f64>,
    decorrelated_mean: Vec<f64>,
    decorrelated_sd: Vec<f64>,
}

fn backoff(initial_ms: f64, factor: f64, max_ms: f64, jitter: Jitter) -> Result<Backoff, String> {
    let ms = |ms: f64| accepted(Duration::try_from_secs_f64(ms / 1e3));
    accepted(Backoff::exponential(ms(initial_ms)?, factor, ms(max_ms)?).and_then(|backoff| backoff.with_jitter(jitter)))
}

fn in_ms(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1e3
}

/// Whether a wait is the recorded one, within 1 ns of the nearest whole nanosecond.
fn expect_exact(what: &str, wait: Duration, recorded_ms: f64) -> Result<(), String> {
    expect_near(what, (in_ms(wait) * 1e6).round(), (recorded_ms * 1e6).round(), 1.0)
}

pub(crate) fn exponential(case: &Value) -> Result<(), String> {
    let Exponential { initial_ms, factor, max_ms, delays_ms, .. } = parse(case)?;
    let backoff = backoff(initial_ms, factor, max_ms, Jitter::None)?;
    let mut position = Position::START;
    for (retry, recorded) in (0..).zip(delays_ms) {
        expect_exact(&format!("ceiling of retry {retry}"), backoff.ceiling(retry), recorded)?;
        expect_exact(&format!("wait before retry {retry}"), backoff.next(&mut position, u64::MAX), recorded)?;
    }
    for retry in FAR {
        let factors = factor.powf(f64::from(retry));
        let formula = if initial_ms > 0.0 { max_ms.min(initial_ms * factors) } else { 0.0 };
        expect_exact(&format!("ceiling of retry {retry}"), backoff.ceiling(retry.into()), formula)?;
    }
    expect_exact("ceiling of retry 2^32", backoff.ceiling(1 << 32), in_ms(backoff.ceiling(u32::MAX.into())))
}

/// The random word that stands for `u`.
fn word(u: f64) -> Result<u64, String> {
    if !(0.0..1.0).contains(&u) {
        return Err(format!("u is {u}; allowed are 0 to below 1"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "u is in [0, 1)")]
    let word = (u * 2_f64.powi(64)) as u64;
    Ok(word)
}

pub(crate) fn jitter_given_u(case: &Value) -> Result<(), String> {
    /// Within 1 µs.
    const TOLERANCE_MS: f64 = 1e-3;
    let case: GivenU = parse(case)?;
    let words = case.u.iter().map(|u| word(*u)).collect::<Result<Vec<_>, _>>()?;
    for (name, jitter, recorded) in [
        ("ceiling", Jitter::None, &case.ceiling_ms),
        ("full", Jitter::Full, &case.full_ms),
        ("equal", Jitter::Equal, &case.equal_ms),
        ("decorrelated", Jitter::Decorrelated, &case.decorrelated_ms),
        ("decorrelated_v2", Jitter::Smooth, &case.decorrelated_v2_ms),
    ] {
        expect(&format!("waits of {name}"), &words.len(), &recorded.len())?;
        let backoff = backoff(case.initial_ms, case.factor, case.max_ms, jitter)?;
        let mut position = Position::START;
        let mut previous = case.initial_ms;
        for ((retry, word), recorded) in (0..).zip(&words).zip(recorded) {
            let wait = in_ms(backoff.next(&mut position, *word));
            expect_near(&format!("{name} before retry {retry}"), wait, *recorded, TOLERANCE_MS)?;

            let ceiling = in_ms(backoff.ceiling(retry));
            let (least, most) = match jitter {
                Jitter::None => (ceiling, ceiling),
                Jitter::Equal => (ceiling / 2.0, ceiling),
                Jitter::Decorrelated => (case.initial_ms.min(case.max_ms), case.max_ms.min(3.0 * previous)),
                Jitter::Smooth => (0.0, case.max_ms),
                _ => (0.0, ceiling),
            };
            if !(least - TOLERANCE_MS..=most + TOLERANCE_MS).contains(&wait) {
                return Err(format!("{name} before retry {retry}: {wait} is not in {least} to {most}"));
            }
            previous = wait;
        }
    }
    Ok(())
}

/// What `RUNS` samples come to: mean, standard deviation, and the standard error of that deviation.
fn moments(samples: &[f64]) -> (f64, f64, f64) {
    let runs = f64::from(RUNS);
    let mean = samples.iter().sum::<f64>() / runs;
    let central = |power| samples.iter().map(|sample| (sample - mean).powi(power)).sum::<f64>() / runs;
    let sd = central(2).sqrt();
    let kurtosis = if sd > 0.0 { central(4) / sd.powi(4) } else { 1.0 };
    (mean, sd, sd * ((kurtosis - 1.0) / (4.0 * runs)).sqrt())
}

pub(crate) fn jitter_moments(case: &Value) -> Result<(), String> {
    let case: Moments = parse(case)?;
    // The moments of decorrelated jitter are themselves from samples.
    for (name, jitter, means, sds, slack) in [
        ("full", Jitter::Full, &case.full_mean, &case.full_sd, 0.0),
        ("equal", Jitter::Equal, &case.equal_mean, &case.equal_sd, 0.0),
        ("decorrelated", Jitter::Decorrelated, &case.decorrelated_mean, &case.decorrelated_sd, 0.005),
    ] {
        expect(&format!("moments of {name}"), &means.len(), &sds.len())?;
        let backoff = backoff(case.initial_ms, case.factor, case.max_ms, jitter)?;
        let entropy = SeededEntropy::new(SEED);
        let mut samples = vec![Vec::new(); means.len()];
        for _ in 0..RUNS {
            let mut position = Position::START;
            for waits in &mut samples {
                waits.push(in_ms(backoff.next(&mut position, entropy.next_u64())));
            }
        }
        for ((waits, retry), (mean, sd)) in samples.iter().zip(0..).zip(means.iter().zip(sds)) {
            let (our_mean, our_sd, sd_error) = moments(waits);
            let bound = 5.0 * sd / f64::from(RUNS).sqrt() + slack * mean;
            // Waits are whole nanoseconds.
            let grain = 1e-6;
            expect_near(&format!("{name}_mean of retry {retry}"), our_mean, *mean, bound + grain)?;
            expect_near(&format!("{name}_sd of retry {retry}"), our_sd, *sd, 5.0 * sd_error + slack * sd + grain)?;
        }
    }
    Ok(())
}

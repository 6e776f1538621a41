//! Random numbers that depend on nothing but a seed and what they are for.

/// The step of the Weyl sequence behind `SplitMix64`.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Scrambles one word so that close inputs give unrelated outputs (the finalizer of `SplitMix64`).
pub(crate) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// One sequence of random numbers. Sequences of different purposes are unrelated, so what one part of the world draws
/// changes nothing for the others: two protections are tried on the same arrivals and the same demands.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of `seed` for one `purpose`.
    pub const fn new(seed: u64, purpose: u64) -> Self {
        Self { state: mix(mix(seed.wrapping_add(GOLDEN)) ^ purpose.wrapping_mul(GOLDEN)) }
    }

    /// The next word.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Uniform in (0, 1).
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Normal with mean 0 and variance 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Below `bound`, which is above 0.
    pub const fn below(&mut self, bound: u32) -> u32 {
        (((self.next_u64() >> 32) * bound as u64) >> 32) as u32
    }

    /// An index, each with the probability of its weight.
    pub fn pick(&mut self, weights: &[f64]) -> usize {
        let mut rest = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            rest -= weight;
            if rest <= 0.0 {
                return index;
            }
        }
        weights.len().saturating_sub(1)
    }
}

/// How the work of calls is spread around its mean.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Law {
    /// All take the same.
    Deterministic,
    /// Exponential.
    Exponential,
    /// Lognormal with this standard deviation of the logarithm.
    Lognormal(f64),
    /// Pareto with this exponent, above 1, cut at 1,000 times the mean.
    Pareto(f64),
    /// This share of the calls takes so many times as long as the others.
    Bimodal {
        /// The share of the dear ones.
        share: f64,
        /// How many times as long they take.
        ratio: f64,
    },
    /// Five tenants whose calls take .2 to 5 units; which one dominates changes six times in the run.
    Tenants,
}

const TENANT_WORK: [f64; 5] = [0.2, 0.5, 1.0, 2.0, 5.0];
const LONGEST: f64 = 1_000.0;

impl Law {
    /// The work of one call, in units of the mean; `progress` is how much of the run is over.
    pub fn sample(self, random: &mut Random, progress: f64) -> f64 {
        match self {
            Self::Deterministic => 1.0,
            Self::Exponential => random.exponential(),
            Self::Lognormal(sigma) => (sigma * random.normal() - sigma * sigma / 2.0).exp(),
            Self::Pareto(alpha) => ((alpha - 1.0) / alpha * random.unit().powf(-1.0 / alpha)).min(LONGEST),
            Self::Bimodal { share, ratio } => {
                let cheap = 1.0 / (1.0 + share * (ratio - 1.0));
                if random.unit() < share { cheap * ratio } else { cheap }
            }
            Self::Tenants => {
                let mut weights = [0.15; 5];
                weights[(progress * 6.0) as usize % 5] = 0.4;
                // 1.74 is the mean over all rotations.
                TENANT_WORK[random.pick(&weights)] * random.exponential() / 1.74
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_law_has_a_mean_of_about_one() {
        let laws = [
            Law::Deterministic,
            Law::Exponential,
            Law::Lognormal(1.5),
            Law::Pareto(2.2),
            Law::Bimodal { share: 0.1, ratio: 19.0 },
            Law::Tenants,
        ];
        for law in laws {
            let mut random = Random::new(7, 1);
            let count = 400_000;
            let sum: f64 = (0..count).map(|index| law.sample(&mut random, f64::from(index) / f64::from(count))).sum();

            let mean = sum / f64::from(count);

            assert!((mean - 1.0).abs() < 0.08, "{law:?}: {mean}");
        }
    }
}

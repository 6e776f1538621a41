use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A source of random words for the shells; cores take the words as arguments.
///
/// Not for secrets. Any `Fn() -> u64` is one, so `|| rand::random()` adapts the `rand` crate.
///
/// ```
/// use seawall_core::{Entropy, SeededEntropy};
///
/// let (a, b) = (SeededEntropy::new(7), SeededEntropy::new(7));
/// assert_eq!(a.next_u64(), b.next_u64());
/// let always_four = || 4_u64;
/// assert_eq!(always_four.next_u64(), 4);
/// ```
pub trait Entropy: Send + Sync + 'static {
    /// The next word; all 64 bits are uniform.
    fn next_u64(&self) -> u64;
}

impl<F: Fn() -> u64 + Send + Sync + 'static> Entropy for F {
    #[inline]
    fn next_u64(&self) -> u64 {
        self()
    }
}

/// The step of the Weyl sequence behind `SplitMix64`: 2⁶⁴ divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Scrambles one word so that close inputs give unrelated outputs.
///
/// # Source
/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014 (the finalizer of `SplitMix64`).
#[inline]
const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// The default: a generator of its own for every thread, seeded by the operating system.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadEntropy;

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
}

impl Entropy for ThreadEntropy {
    #[inline]
    fn next_u64(&self) -> u64 {
        STATE.with(|state| {
            let next = state.get().wrapping_add(GOLDEN);
            state.set(next);
            mix(next)
        })
    }
}

/// The same words for the same seed, for tests and simulation. Clones share the sequence.
#[derive(Clone, Debug)]
pub struct SeededEntropy {
    /// Moved on by one addition a word: relaxed, and each word is told once.
    state: Arc<AtomicU64>,
}

impl SeededEntropy {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(AtomicU64::new(seed)) }
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        mix(self.state.fetch_add(GOLDEN, Relaxed).wrapping_add(GOLDEN))
    }
}

/// `word` as a number in `[0, 1)`, on a grid of 2⁻⁵³.
///
/// ```
/// assert_eq!(seawall_core::unit_interval(0), 0.0);
/// assert!(seawall_core::unit_interval(u64::MAX) < 1.0);
/// ```
#[inline]
pub const fn unit_interval(word: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "2⁵³ and what is below it are exact in an f64")]
    {
        (word >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeded_sequence_is_splitmix64() {
        let entropy = SeededEntropy::new(1_234_567);

        let words: Vec<u64> = (0..3).map(|_| entropy.next_u64()).collect();

        assert_eq!(words, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn two_threads_have_different_sequences() {
        let here = ThreadEntropy.next_u64();

        let there = std::thread::spawn(|| ThreadEntropy.next_u64()).join().unwrap();

        assert_ne!(here, there);
    }
}

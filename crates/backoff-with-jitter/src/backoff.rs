use std::{sync::Arc, time::Duration};

use seawall_core::{Entropy, Timer, unit_interval};

use crate::{
    BackoffError, Delays, Jitter, Pauses,
    curve::{Curve, Custom, doubling, nanos, real},
    jitter::{SMOOTH_SCALE, nanos_up_to, share, smooth_curve},
};

/// How long to wait before each retry: a sequence of ceilings, a maximum, and a [`Jitter`] that draws from them.
///
/// A pure value: the random word comes in as an argument. No retry number overflows, however high: from some point on
/// every wait has the maximum as its ceiling.
///
/// Default: 50 ms doubling up to 1 s, full jitter. Every constructor starts with [`Jitter::Full`].
///
/// ```
/// use seawall_backoff_with_jitter::{Backoff, Jitter};
/// use std::time::Duration;
///
/// let backoff = Backoff::exponential(Duration::from_secs(1), 2.0, Duration::from_secs(8))?.with_jitter(Jitter::None)?;
/// let waits: Vec<u64> = (0..5).map(|retry| backoff.ceiling(retry).as_secs()).collect();
/// assert_eq!(waits, [1, 2, 4, 8, 8]);
/// # Ok::<(), seawall_backoff_with_jitter::BackoffError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    curve: Curve,
    jitter: Jitter,
    initial: u64,
    max: u64,
}

/// Where one call is in its sequence. Starts before the first retry.
#[derive(Copy, Clone, Debug, Default)]
pub struct Position {
    retry: u64,
    /// The last wait, for decorrelated jitter.
    previous: u64,
    /// The last point on the curve, for smooth jitter.
    reached: f64,
}

impl Position {
    /// Before the first retry.
    pub const START: Self = Self { retry: 0, previous: 0, reached: 0.0 };

    /// How many waits were drawn.
    pub const fn retries(&self) -> u64 {
        self.retry
    }
}

impl Backoff {
    /// Always `wait`; zero is allowed.
    pub fn constant(wait: Duration) -> Self {
        let wait = nanos(wait);
        Self { curve: Curve::Constant, jitter: Jitter::Full, initial: wait, max: wait }
    }

    /// `step`, 2 × `step`, 3 × `step` …, at most `max`.
    ///
    /// # Errors
    /// `step` of zero, or above `max`.
    pub fn linear(step: Duration, max: Duration) -> Result<Self, BackoffError> {
        Self::growing(Curve::Linear, step, max)
    }

    /// `initial`, `initial` × `factor`, `initial` × `factor`² …, at most `max`.
    ///
    /// # Errors
    /// `initial` of zero, or above `max`; a `factor` that is below 1 or not finite.
    pub fn exponential(initial: Duration, factor: f64, max: Duration) -> Result<Self, BackoffError> {
        if !(factor.is_finite() && factor >= 1.0) {
            return Err(BackoffError::Factor { factor });
        }
        let doubling = factor.to_bits() == 2.0_f64.to_bits();
        Self::growing(if doubling { Curve::Doubling } else { Curve::Exponential(factor) }, initial, max)
    }

    /// `initial` × 1, 1, 2, 3, 5, 8 …, at most `max`.
    ///
    /// # Errors
    /// `initial` of zero, or above `max`.
    pub fn fibonacci(initial: Duration, max: Duration) -> Result<Self, BackoffError> {
        Self::growing(Curve::Fibonacci, initial, max)
    }

    /// The waits as they are listed, the last one repeating.
    ///
    /// # Errors
    /// An empty list.
    pub fn listed(waits: impl Into<Arc<[Duration]>>) -> Result<Self, BackoffError> {
        let waits = waits.into();
        let (Some(first), Some(max)) = (waits.first().copied(), waits.iter().max().copied()) else {
            return Err(BackoffError::Empty);
        };
        Self::new(Curve::Listed(waits), first, max)
    }

    /// What `wait` says of each retry (the first is 0), at most `max`: for a sequence that is none of the others. It is asked
    /// for the wait without jitter, once a retry and never under a lock.
    ///
    /// ```
    /// use seawall_backoff_with_jitter::Backoff;
    /// use std::time::Duration;
    ///
    /// let squares = Backoff::from_fn(Duration::from_secs(60), |retry| Duration::from_secs((retry + 1).saturating_pow(2)));
    /// let waits: Vec<u64> = (0..9).map(|retry| squares.ceiling(retry).as_secs()).collect();
    /// assert_eq!(waits, [1, 4, 9, 16, 25, 36, 49, 60, 60]);
    /// ```
    pub fn from_fn(max: Duration, wait: impl Fn(u64) -> Duration + Send + Sync + 'static) -> Self {
        let initial = nanos(wait(0).min(max));
        Self { curve: Curve::Custom(Custom(Arc::new(wait))), jitter: Jitter::Full, initial, max: nanos(max) }
    }

    /// 1, 2, 4, 8 s, then 8 s each: for background work that has the time.
    pub const fn unhurried() -> Self {
        const SECOND: u64 = 1_000_000_000;
        Self { curve: Curve::Doubling, jitter: Jitter::Full, initial: SECOND, max: 8 * SECOND }
    }

    /// A curve that grows by what it begins with.
    fn growing(curve: Curve, initial: Duration, max: Duration) -> Result<Self, BackoffError> {
        if initial.is_zero() { Err(BackoffError::NoWait) } else { Self::new(curve, initial, max) }
    }

    fn new(curve: Curve, initial: Duration, max: Duration) -> Result<Self, BackoffError> {
        if initial > max {
            return Err(BackoffError::Initial { initial, max });
        }
        Ok(Self { curve, jitter: Jitter::Full, initial: nanos(initial), max: nanos(max) })
    }

    /// Draws waits as `jitter` says. Default [`Jitter::Full`].
    ///
    /// # Errors
    /// A proportional jitter whose spread is not from 0 to 1.
    pub fn with_jitter(mut self, jitter: Jitter) -> Result<Self, BackoffError> {
        if let Jitter::Proportional(spread) = jitter {
            if !(0.0..=1.0).contains(&spread) {
                return Err(BackoffError::Spread { spread });
            }
        }
        self.jitter = jitter;
        Ok(self)
    }

    /// The wait before retry `retry` (the first is 0) without jitter.
    pub fn ceiling(&self, retry: u64) -> Duration {
        Duration::from_nanos(self.ceiling_nanos(retry))
    }

    #[inline]
    fn ceiling_nanos(&self, retry: u64) -> u64 {
        self.curve.ceiling(retry, self.initial, self.max)
    }

    /// Draws the next wait with one random word, and moves on.
    #[inline]
    pub fn next(&self, position: &mut Position, word: u64) -> Duration {
        let retry = position.retry;
        let wait = match (&self.jitter, &self.curve) {
            // In line, as it is the default and takes a dozen steps.
            (Jitter::Full, Curve::Doubling) => share(word, doubling(retry, self.initial, self.max)),
            _ => self.draw(position, word),
        };
        *position = Position { retry: retry.saturating_add(1), previous: wait, ..*position };
        Duration::from_nanos(wait)
    }

    /// The next wait, whatever the curve and the jitter.
    #[inline(never)]
    fn draw(&self, position: &mut Position, word: u64) -> u64 {
        let retry = position.retry;
        match self.jitter {
            Jitter::None => self.ceiling_nanos(retry),
            Jitter::Full => share(word, self.ceiling_nanos(retry)),
            Jitter::Equal => {
                let ceiling = self.ceiling_nanos(retry);
                let half = ceiling / 2;
                ceiling.saturating_sub(half).saturating_add(share(word, half))
            }
            Jitter::Decorrelated => {
                let previous = if retry == 0 { self.initial } else { position.previous };
                let span = previous.saturating_mul(3).saturating_sub(self.initial);
                self.initial.saturating_add(share(word, span)).min(self.max)
            }
            Jitter::Smooth => self.smooth(position, retry, word),
            Jitter::Proportional(spread) => {
                let factor = 1.0 - spread + 2.0 * spread * unit_interval(word);
                nanos_up_to(self.max, real(self.ceiling_nanos(retry)) * factor)
            }
        }
    }

    /// A wait that was asked for, with something added at random so that not everybody comes back at once: up to a tenth of
    /// it, or up to `ceiling` where that is longer. Nothing without jitter.
    pub(crate) fn spread(&self, wait: Duration, ceiling: Duration, word: u64) -> Duration {
        if self.jitter == Jitter::None {
            return wait;
        }
        // The other half of the word than the one that decides on the backoff's own wait.
        let more = share(word.rotate_left(32), nanos(wait.mul_f64(0.1).max(ceiling)));
        wait.saturating_add(Duration::from_nanos(more))
    }

    fn smooth(&self, position: &mut Position, retry: u64, word: u64) -> u64 {
        let reached = smooth_curve(real(retry) + unit_interval(word));
        let step = (reached - position.reached).max(0.0);
        position.reached = reached;
        if self.initial == 0 {
            return 0;
        }
        // Beyond all numbers the curve is far beyond any maximum.
        if reached.is_finite() { nanos_up_to(self.max, step * real(self.initial) / SMOOTH_SCALE) } else { self.max }
    }

    /// The waits one after another, without end: for loops without Tower.
    ///
    /// ```
    /// use seawall_backoff_with_jitter::Backoff;
    /// use seawall_core::ThreadEntropy;
    /// use std::time::Duration;
    ///
    /// let waits: Vec<Duration> = Backoff::unhurried().delays(ThreadEntropy).take(4).collect();
    /// assert!(waits.iter().zip([1, 2, 4, 8]).all(|(wait, ceiling)| *wait < Duration::from_secs(ceiling)));
    /// ```
    pub const fn delays<R: Entropy>(self, entropy: R) -> Delays<R> {
        Delays::new(self, entropy)
    }

    /// The waits one after another, slept on `timer`: for loops without Tower.
    ///
    /// ```
    /// use seawall_backoff_with_jitter::Backoff;
    /// use seawall_core::{MonotonicClock, ThreadEntropy};
    /// use std::time::Duration;
    ///
    /// # async fn fetch() -> Result<u32, std::io::Error> { Ok(7) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let pauses = Backoff::default().pauses(ThreadEntropy, MonotonicClock);
    /// let mut pauses = pauses.with_max_elapsed(Duration::from_secs(30));
    /// let answer = loop {
    ///     match fetch().await {
    ///         Ok(answer) => break Ok(answer),
    ///         Err(error) if pauses.pause().await.is_none() => break Err(error),
    ///         Err(_) => {}
    ///     }
    /// };
    /// assert_eq!(answer.ok(), Some(7));
    /// # }
    /// ```
    pub const fn pauses<R: Entropy, T: Timer>(self, entropy: R, timer: T) -> Pauses<T, R> {
        Pauses::new(self.delays(entropy), timer)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        const MILLISECOND: u64 = 1_000_000;
        Self { curve: Curve::Doubling, jitter: Jitter::Full, initial: 50 * MILLISECOND, max: 1_000 * MILLISECOND }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn first(backoff: &Backoff, count: u64) -> Vec<u64> {
        (0..count).map(|retry| u64::try_from(backoff.ceiling(retry).as_millis()).unwrap()).collect()
    }

    #[test]
    fn each_sequence_grows_as_its_name_says() {
        assert_eq!(first(&Backoff::constant(ms(7)), 3), [7, 7, 7]);
        assert_eq!(first(&Backoff::linear(ms(10), ms(35)).unwrap(), 5), [10, 20, 30, 35, 35]);
        assert_eq!(first(&Backoff::exponential(ms(10), 3.0, ms(100)).unwrap(), 4), [10, 30, 90, 100]);
        assert_eq!(first(&Backoff::fibonacci(ms(10), ms(100)).unwrap(), 7), [10, 10, 20, 30, 50, 80, 100]);
        assert_eq!(first(&Backoff::listed([ms(5), ms(1), ms(9)]).unwrap(), 5), [5, 1, 9, 9, 9]);
        assert_eq!(first(&Backoff::unhurried(), 6), [1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    }

    #[test]
    fn the_defaults_are_these() {
        assert_eq!(
            format!("{:?}", Backoff::default()),
            "Backoff { curve: Doubling, jitter: Full, initial: 50000000, max: 1000000000 }"
        );
    }

    #[test]
    fn no_sequence_overflows_at_any_retry() {
        let year = Duration::from_secs(365 * 24 * 3_600);
        let sequences = [
            Backoff::constant(Duration::MAX),
            Backoff::linear(ms(1), Duration::MAX).unwrap(),
            Backoff::exponential(ms(1), 2.0, year).unwrap(),
            Backoff::exponential(ms(1), 1e300, Duration::MAX).unwrap(),
            Backoff::exponential(ms(1), 1.000_000_01, year).unwrap(),
            Backoff::constant(Duration::ZERO),
            Backoff::fibonacci(ms(1), Duration::MAX).unwrap(),
            Backoff::listed([ms(1), Duration::MAX]).unwrap(),
            Backoff::from_fn(year, |retry| ms(retry.saturating_mul(retry))),
        ];
        let jitters = [
            Jitter::None,
            Jitter::Full,
            Jitter::Equal,
            Jitter::Decorrelated,
            Jitter::Smooth,
            Jitter::Proportional(1.0),
        ];
        for backoff in sequences {
            for retry in [0, 1, 62, 63, 64, 65, 92, 93, 1_023, 1_024, 1 << 31, 1 << 32, u64::MAX] {
                assert!(backoff.ceiling_nanos(retry) <= backoff.max);
                for jitter in jitters {
                    let backoff = backoff.clone().with_jitter(jitter).unwrap();
                    for word in [0, 1, 1 << 63, u64::MAX] {
                        let mut position = Position { retry, previous: backoff.max, reached: 0.0 };
                        assert!(nanos(backoff.next(&mut position, word)) <= backoff.max, "{backoff:?} {retry} {word}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_smooth_curve_stays_at_the_maximum_beyond_all_numbers() {
        let backoff = Backoff::exponential(ms(1), 2.0, ms(5)).unwrap().with_jitter(Jitter::Smooth).unwrap();
        let mut position = Position::default();

        for _ in 0..3_000 {
            backoff.next(&mut position, 1 << 63);
        }

        assert_eq!(backoff.next(&mut position, 0), ms(5));
    }

    #[test]
    fn waits_at_the_maximum_are_spread_too() {
        for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(0.5)] {
            let backoff = Backoff::exponential(ms(8), 2.0, ms(1_000)).unwrap().with_jitter(jitter).unwrap();
            let at_maximum = Position { retry: 40, previous: 1_000 * MS, reached: 0.0 };
            let wait = |word| backoff.next(&mut at_maximum.clone(), word);

            assert!(wait(1 << 60) < wait(1 << 61), "{jitter:?}");
        }
    }

    #[test]
    fn a_constant_wait_of_zero_is_allowed() {
        for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Smooth] {
            let backoff = Backoff::constant(Duration::ZERO).with_jitter(jitter).unwrap();
            let mut far = Position { retry: 2_000, ..Position::START };
            assert_eq!(backoff.next(&mut Position::default(), u64::MAX), Duration::ZERO, "{jitter:?}");
            assert_eq!(backoff.next(&mut far, u64::MAX), Duration::ZERO, "{jitter:?}");
        }
    }

    #[test]
    fn a_sequence_that_grows_from_zero_is_refused_since_it_would_never_wait() {
        let grown = [
            Backoff::linear(Duration::ZERO, ms(1)),
            Backoff::exponential(Duration::ZERO, 2.0, ms(1)),
            Backoff::exponential(Duration::ZERO, 2.0, Duration::ZERO),
            Backoff::fibonacci(Duration::ZERO, ms(1)),
        ];

        for sequence in grown {
            assert_eq!(sequence, Err(BackoffError::NoWait));
        }
        assert!(Backoff::listed([Duration::ZERO, ms(1)]).is_ok(), "at once, then after a millisecond");
    }

    #[test]
    fn a_sequence_of_ones_own_has_its_maximum_and_its_jitter_and_is_equal_to_its_clones() {
        let own = |max| Backoff::from_fn(max, |retry| ms(if retry == 1 { 900 } else { 10 }));
        let backoff = own(ms(100));

        assert_eq!(first(&backoff, 3), [10, 100, 10]);
        assert_eq!(backoff.next(&mut Position::default(), 1 << 63), ms(5));
        assert_eq!(first(&own(Duration::ZERO), 2), [0, 0]);
        assert_eq!(backoff, backoff.clone());
        assert_ne!(backoff, own(ms(100)));
    }

    #[test]
    fn a_sequence_that_cannot_be_is_refused_when_built() {
        assert_eq!(
            Backoff::linear(ms(2), ms(1)).unwrap_err().to_string(),
            "initial is 2ms; allowed are times up to max, which is 1ms"
        );
        for factor in [0.5, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Backoff::exponential(ms(1), factor, ms(2)), Err(BackoffError::Factor { .. })), "{factor}");
        }
        assert_eq!(Backoff::listed([]).unwrap_err(), BackoffError::Empty);
        for spread in [-0.1, 1.1, f64::NAN] {
            let refused = Backoff::default().with_jitter(Jitter::Proportional(spread));
            assert!(matches!(refused, Err(BackoffError::Spread { .. })), "{spread}");
        }
    }

    proptest! {
        #[test]
        fn ceilings_are_what_repeated_multiplication_gives(
            initial in 1..10_000_u64, max in 1..100_000_u64, factor in 1..5_u32,
        ) {
            let (initial, max) = (initial.min(max), max);
            let backoff = Backoff::exponential(ms(initial), f64::from(factor), ms(max)).unwrap();
            let mut expected = initial * MS;
            for retry in 0..40 {
                prop_assert_eq!(backoff.ceiling_nanos(retry), expected);
                expected = (expected * u64::from(factor)).min(max * MS);
            }
        }

        #[test]
        fn every_wait_is_within_the_bounds_of_its_jitter(
            initial in 1..1_000_u64, more in 0..100_000_u64, words in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let (initial, max) = (initial * MS, (initial + more) * MS);
            let base = Backoff::exponential(Duration::from_nanos(initial), 2.0, Duration::from_nanos(max)).unwrap();
            let of = |jitter| (base.clone().with_jitter(jitter).unwrap(), Position::default());
            let (full, mut full_at) = of(Jitter::Full);
            let (equal, mut equal_at) = of(Jitter::Equal);
            let (decorrelated, mut decorrelated_at) = of(Jitter::Decorrelated);
            let (smooth, mut smooth_at) = of(Jitter::Smooth);
            let (proportional, mut proportional_at) = of(Jitter::Proportional(0.1));
            let mut previous = initial;
            for (retry, word) in words.into_iter().enumerate() {
                let ceiling = base.ceiling_nanos(retry as u64);
                prop_assert!(nanos(full.next(&mut full_at, word)) <= ceiling);
                let wait = nanos(equal.next(&mut equal_at, word));
                prop_assert!((ceiling / 2..=ceiling).contains(&wait));
                let wait = nanos(decorrelated.next(&mut decorrelated_at, word));
                prop_assert!((initial..=max.min(3 * previous)).contains(&wait));
                previous = wait;
                prop_assert!(nanos(smooth.next(&mut smooth_at, word)) <= max);
                let wait = nanos(proportional.next(&mut proportional_at, word));
                prop_assert!(wait <= max && wait >= ceiling / 10 * 9 && wait <= ceiling + ceiling / 10 + 1);
            }
        }
    }
}

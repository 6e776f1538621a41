use std::{fmt, ptr, sync::Arc, time::Duration};

use seawall_core::Timestamp;

use crate::jitter::nanos_up_to;

/// Fibonacci numbers from 1, 1, 2: all that fit a word.
const FIBONACCI: [u64; 93] = {
    let mut numbers = [1_u64; 93];
    let mut i = 2;
    while i < numbers.len() {
        numbers[i] = numbers[i - 1] + numbers[i - 2];
        i += 1;
    }
    numbers
};

/// How ceilings grow from one retry to the next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Curve {
    Constant,
    Linear,
    Doubling,
    Exponential(f64),
    Fibonacci,
    Listed(Arc<[Duration]>),
    Custom(Custom),
}

/// A sequence that somebody else wrote. It is equal to its clones alone.
#[derive(Clone)]
pub(crate) struct Custom(pub(crate) Arc<dyn Fn(u64) -> Duration + Send + Sync>);

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        ptr::addr_eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom")
    }
}

impl Curve {
    /// The wait before retry `retry` without jitter, in nanoseconds: at most `max`, however high the number.
    #[inline]
    pub(crate) fn ceiling(&self, retry: u64, initial: u64, max: u64) -> u64 {
        match self {
            Self::Constant => initial,
            Self::Linear => initial.saturating_mul(retry.saturating_add(1)).min(max),
            Self::Doubling => doubling(retry, initial, max),
            Self::Exponential(factor) => nanos_up_to(max, real(initial) * power(*factor, retry)),
            Self::Fibonacci => {
                let number = usize::try_from(retry).ok().and_then(|retry| FIBONACCI.get(retry)).copied();
                initial.saturating_mul(number.unwrap_or(u64::MAX)).min(max)
            }
            Self::Custom(wait) => nanos(wait.0(retry)).min(max),
            Self::Listed(waits) => {
                let last = waits.len().saturating_sub(1);
                waits.get(usize::try_from(retry).map_or(last, |retry| retry.min(last))).map_or(0, |wait| nanos(*wait))
            }
        }
    }
}

/// `initial` × 2 to the power of `retry`, at most `max`.
#[inline]
pub(crate) const fn doubling(retry: u64, initial: u64, max: u64) -> u64 {
    if retry < u64::BITS as u64 && initial <= max >> retry {
        initial << retry
    } else if initial == 0 {
        0
    } else {
        max
    }
}

pub(crate) const fn nanos(wait: Duration) -> u64 {
    Timestamp::ZERO.saturating_add(wait).as_nanos()
}

#[expect(clippy::cast_precision_loss, reason = "a wait need not be exact beyond 2⁵³ ns, 104 days")]
#[inline]
pub(crate) const fn real(nanos: u64) -> f64 {
    nanos as f64
}

#[inline]
fn power(factor: f64, retry: u64) -> f64 {
    i32::try_from(retry).map_or_else(|_| factor.powf(real(retry)), |retry| factor.powi(retry))
}

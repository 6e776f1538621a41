/// How a wait is drawn at random from what the sequence gives, so that callers that failed together do not come back
/// together.
///
/// `u` is uniform in `[0, 1)`; the ceiling is the sequence's own wait, capped.
///
/// # Source
/// Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full, equal, decorrelated); Polly's
/// `DecorrelatedJitterBackoffV2` (smooth).
#[derive(Copy, Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Jitter {
    /// The ceiling itself. Callers that failed together come back together.
    None,
    /// `u × ceiling`: uniform between nothing and the ceiling. The default: callers that failed together come back
    /// over the whole of it.
    #[default]
    Full,
    /// `ceiling / 2 + u × ceiling / 2`: uniform between half of the ceiling and all of it.
    Equal,
    /// Uniform between the initial wait and three times the last one, capped. Only the sequence's initial wait and
    /// maximum count.
    Decorrelated,
    /// Uniform over a curve without steps whose median doubles from one wait to the next, near the initial wait at
    /// first; capped. Only the sequence's initial wait and maximum count.
    Smooth,
    /// `ceiling × (1 - spread + 2u × spread)`, capped by the sequence's maximum: uniform around the ceiling.
    /// `spread` is a share from 0 to 1; [`Backoff::with_jitter`](crate::Backoff::with_jitter) refuses others.
    Proportional(f64),
}

/// `word / 2⁶⁴ × of`, rounded down: uniform in `[0, of)` for a uniform word.
#[inline]
pub(crate) const fn share(word: u64, of: u64) -> u64 {
    #[expect(clippy::arithmetic_side_effects, reason = "64 bits × 64 bits fit into 128")]
    {
        ((word as u128 * of as u128) >> 64) as u64
    }
}

/// Nanoseconds from a real number, between 0 and `max`. What is no number is `max`.
#[inline]
pub(crate) fn nanos_up_to(max: u64, nanos: f64) -> u64 {
    if nanos.is_nan() {
        return max;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates at both ends")]
    (nanos.round() as u64).min(max)
}

/// The smooth curve at `t` steps, in units of about one initial wait.
#[inline]
pub(crate) fn smooth_curve(t: f64) -> f64 {
    t.exp2() * (4.0 * t).sqrt().tanh()
}

/// What the smooth curve is divided by so that the first wait's median is near the initial wait.
pub(crate) const SMOOTH_SCALE: f64 = 1.4;

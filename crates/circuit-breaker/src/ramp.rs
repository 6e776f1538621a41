use seawall_core::unit_interval;

/// The share that is admitted at once after closing.
const FIRST_SHARE: f64 = 0.1;

/// The share of calls that is admitted so long after closing: from a tenth to all, evenly over the ramp.
pub(crate) fn share(elapsed: u64, length: u64) -> f64 {
    if elapsed >= length {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of the ramp, good to 2⁻⁵³")]
    let passed = elapsed as f64 / length as f64;
    FIRST_SHARE + (1.0 - FIRST_SHARE) * passed
}

/// Whether the call that draws `word` is among `share` of all.
pub(crate) fn is_among(word: u64, share: f64) -> bool {
    unit_interval(word) < share
}

/// The step of a sequence whose words are spread evenly: 2⁶⁴ divided by the golden ratio, made odd. Of any n calls in a
/// row, the number that is among a share differs from it by a few at most, so a ramp does not admit in bursts.
///
/// # Source
/// Weyl's equidistributed sequence.
pub(crate) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_a_tenth_and_rises_evenly_to_all() {
        for (elapsed, length, expected) in
            [(0, 100, 0.1), (50, 100, 0.55), (100, 100, 1.0), (101, 100, 1.0), (u64::MAX, u64::MAX, 1.0), (0, 0, 1.0)]
        {
            assert!((share(elapsed, length) - expected).abs() < 1e-12, "{elapsed} of {length}");
        }
    }

    #[test]
    fn any_run_of_calls_has_the_share_to_within_three() {
        for (start, share) in [(0_u64, 0.1), (7, 0.5), (u64::MAX, 0.93)] {
            let mut admitted = 0;
            for call in 1..=1_000_u32 {
                admitted += u32::from(is_among(start.wrapping_add(STEP.wrapping_mul(call.into())), share));
                assert!((f64::from(admitted) - share * f64::from(call)).abs() < 3.0, "{admitted} of {call}");
            }
        }
    }
}

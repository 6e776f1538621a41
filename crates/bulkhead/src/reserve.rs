use seawall_core::Criticality;

use crate::BulkheadError;

/// What shares are counted in.
const MILLION: u32 = 1_000_000;
/// As many as there are criticalities.
const CLASSES: usize = 4;

/// How much of a bulkhead is kept free for calls that matter more: a criticality may take what is left.
///
/// A ceiling for the sum of what is taken, not a partition: critical calls may take all places, and what they have taken
/// counts against the others. Rounded down to whole places, but never to none: where there is one place, all may have it.
///
/// The default keeps a tenth above degraded calls and a fifth above sheddable ones, as the load shedder does.
///
/// ```
/// use seawall_bulkhead::Reserve;
/// use seawall_core::Criticality;
///
/// let reserve = Reserve::none().with_kept_above(Criticality::Sheddable, 0.25)?;
/// assert_eq!(reserve.ceiling(Criticality::Sheddable, 20), 15);
/// assert_eq!(reserve.ceiling(Criticality::Critical, 20), 20);
/// # Ok::<(), seawall_bulkhead::BulkheadError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Raw", into = "Raw"))]
pub struct Reserve {
    /// Per criticality, in millionths. A higher criticality never has more than a lower one, the highest nothing.
    kept: [u32; CLASSES],
}

impl Reserve {
    /// Nothing is kept: all criticalities may take all places.
    pub const fn none() -> Self {
        Self { kept: [0; CLASSES] }
    }

    /// Keeps `share` of the places free of calls of `criticality` and below. Allowed: 0 to less than 1, in millionths.
    /// Where two such shares meet the larger holds.
    ///
    /// # Errors
    /// [`BulkheadError::Kept`] outside that range, or above [`Criticality::Critical`]: nothing matters more.
    pub fn with_kept_above(mut self, criticality: Criticality, share: f64) -> Result<Self, BulkheadError> {
        let kept = millionths(share).filter(|kept| *kept < MILLION && criticality < Criticality::Critical);
        let Some(kept) = kept else { return Err(BulkheadError::Kept { criticality, share }) };
        for class in self.kept.iter_mut().take((criticality as usize).saturating_add(1)) {
            *class = kept.max(*class);
        }
        Ok(self)
    }

    /// How many of `limit` places calls of `criticality` may take.
    #[inline]
    pub const fn ceiling(&self, criticality: Criticality, limit: u32) -> u32 {
        let kept = (limit as u64).saturating_mul(self.kept[criticality as usize] as u64).div_ceil(MILLION as u64);
        #[expect(clippy::cast_possible_truncation, reason = "it is less than the limit, or the limit")]
        let left = limit.saturating_sub(kept as u32);
        if left == 0 && limit > 0 { 1 } else { left }
    }
}

impl Default for Reserve {
    fn default() -> Self {
        let kept = [MILLION / 5, MILLION / 10, 0, 0];
        Self { kept }
    }
}

/// A share as a whole number of millionths; `None` outside 0 to 1.
pub(crate) fn millionths(share: f64) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
    (0.0..=1.0).contains(&share).then(|| (share * f64::from(MILLION)).round() as u32)
}

/// How much of each criticality's ceiling is kept, as it stands in a file.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names are those of the file")]
struct Raw {
    #[serde(default)]
    above_sheddable: f64,
    #[serde(default)]
    above_degraded: f64,
    #[serde(default)]
    above_default: f64,
}

#[cfg(feature = "serde")]
impl From<Reserve> for Raw {
    fn from(reserve: Reserve) -> Self {
        let [above_sheddable, above_degraded, above_default, _] =
            reserve.kept.map(|kept| f64::from(kept) / f64::from(MILLION));
        Self { above_sheddable, above_degraded, above_default }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Raw> for Reserve {
    type Error = BulkheadError;

    fn try_from(raw: Raw) -> Result<Self, BulkheadError> {
        Self::none()
            .with_kept_above(Criticality::Sheddable, raw.above_sheddable)?
            .with_kept_above(Criticality::Degraded, raw.above_degraded)?
            .with_kept_above(Criticality::Default, raw.above_default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Criticality; CLASSES] =
        [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical];

    fn ceilings(reserve: Reserve, limit: u32) -> [u32; CLASSES] {
        ALL.map(|criticality| reserve.ceiling(criticality, limit))
    }

    #[test]
    fn by_default_a_fifth_is_kept_above_the_sheddable_and_a_tenth_above_the_degraded() {
        assert_eq!(ceilings(Reserve::default(), 100), [80, 90, 100, 100]);
    }

    #[test]
    fn what_is_kept_above_one_criticality_is_kept_above_all_below_it() {
        let reserve = Reserve::none().with_kept_above(Criticality::Default, 0.3).unwrap();

        assert_eq!(ceilings(reserve, 10), [7, 7, 7, 10]);
        let more = reserve.with_kept_above(Criticality::Sheddable, 0.5).unwrap();
        assert_eq!(ceilings(more, 10), [5, 7, 7, 10]);
        assert_eq!(ceilings(more.with_kept_above(Criticality::Degraded, 0.1).unwrap(), 10), [5, 7, 7, 10]);
    }

    #[test]
    fn a_part_of_a_place_is_kept_whole_but_one_place_is_left_to_all() {
        let reserve = Reserve::none().with_kept_above(Criticality::Sheddable, 1.0 / 3.0).unwrap();

        assert_eq!([1, 2, 3, 4, 6].map(|limit| reserve.ceiling(Criticality::Sheddable, limit)), [1, 1, 2, 2, 4]);
        assert_eq!(reserve.ceiling(Criticality::Sheddable, 0), 0, "a closed bulkhead lets nobody in");
        assert_eq!(Reserve::none().ceiling(Criticality::Sheddable, u32::MAX), u32::MAX);
    }

    #[test]
    fn a_share_that_leaves_nothing_or_means_nothing_is_refused() {
        for share in [1.0, 1.1, -0.1, f64::NAN, f64::INFINITY] {
            let refused = Reserve::none().with_kept_above(Criticality::Sheddable, share);

            assert!(matches!(refused, Err(BulkheadError::Kept { .. })), "{share}");
        }
        let error = Reserve::none().with_kept_above(Criticality::Critical, 0.5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "0.5 of the places are kept above Critical; allowed are 0 to less than 1, and above Sheddable, Degraded or Default"
        );
    }
}

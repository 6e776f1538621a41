use crate::{BulkheadError, reserve::millionths};

/// More tenants than anybody names one by one.
const MAX_SHARES: usize = 1_024;
const MILLION: u32 = 1_000_000;

/// How the places of a bulkhead are divided between tenants, as [`CallContext::tenant`](seawall_core::CallContext) tells
/// them apart.
///
/// A share is a guarantee, not a wall. What a tenant leaves unused others may borrow; they give it back as their calls
/// end, since a place that comes free goes to the tenant that holds least in proportion to its share. So no place stays
/// free while somebody waits, and who asks for its share has it as soon as enough borrowers have finished.
///
/// Nobody is cut short, so what a borrower's call holds that hangs is lost to its owner until a timeout ends that call: the
/// attempt timeout goes inside the bulkhead. Where owners are not to wait even for that, [`Shares::with_kept`] lends less.
///
/// ```
/// use seawall_bulkhead::{BulkheadError, Shares};
///
/// // Half for tenant 1, three tenths for tenant 2; all others share what is left.
/// let shares = Shares::fixed([(1, 0.5), (2, 0.3)])?;
/// assert_eq!(shares.of(7).map(|share| (share * 10.0).round()), Some(2.0));
/// assert!(matches!(Shares::fixed([(1, 0.7), (2, 0.4)]), Err(BulkheadError::ShareSum { .. })));
/// # Ok::<(), BulkheadError>(())
/// ```
///
/// # Source
/// Netflix concurrency-limits, `AbstractPartitionedLimiter`, for named shares; Demers, Keshav and Shenker, "Analysis and
/// simulation of a fair queueing algorithm", SIGCOMM 1989, for max-min fairness.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Raw", into = "Raw"))]
pub struct Shares {
    /// By tenant, in millionths; `None`: the same for all that are active.
    fixed: Option<Vec<(u64, u32)>>,
    /// Of all places, in millionths: not lent.
    kept: u32,
}

impl Shares {
    /// Every tenant that has calls under way or waiting has the same share: of `n` the `n`th part.
    pub const fn equal() -> Self {
        Self { fixed: None, kept: 0 }
    }

    /// The given share for each of the given tenants; what is left for all others together. Allowed: up to 1,024 shares
    /// above 0 and of 1 at most, in sum too, counted in millionths. Where nothing is left, the others have what nobody
    /// else wants.
    ///
    /// # Errors
    /// [`BulkheadError::Share`], [`BulkheadError::ShareSum`], [`BulkheadError::ShareTwice`] or
    /// [`BulkheadError::ShareCount`] for what is not allowed.
    pub fn fixed(shares: impl IntoIterator<Item = (u64, f64)>) -> Result<Self, BulkheadError> {
        let mut fixed: Vec<(u64, u32)> = Vec::new();
        for (tenant, share) in shares {
            let parts = millionths(share).filter(|parts| *parts > 0);
            fixed.push((tenant, parts.ok_or(BulkheadError::Share { tenant, share })?));
            if fixed.len() > MAX_SHARES {
                return Err(BulkheadError::ShareCount);
            }
        }
        fixed.sort_unstable();
        if let Some(twice) = fixed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(BulkheadError::ShareTwice { tenant: twice[0].0 });
        }
        let sum: u64 = fixed.iter().map(|(_, parts)| u64::from(*parts)).sum();
        if sum > MILLION.into() {
            return Err(BulkheadError::ShareSum { millionths: sum });
        }
        Ok(Self { fixed: Some(fixed), kept: 0 })
    }

    /// Keeps `share` of the places free of borrowers: a call beyond its tenant's share finds them closed, one within it does
    /// not. However many borrowers hang, those who ask for their shares have so much at once; in exchange it may stand idle
    /// while borrowers wait. A borrower's call that weighs more than is lent goes while no other is under way. Allowed: 0
    /// to less than 1, in millionths; default 0. Only for fixed shares: of equal ones nobody has a part before it asks.
    ///
    /// # Errors
    /// [`BulkheadError::KeptFromBorrowers`] outside that range, or for equal shares.
    ///
    /// # Examples
    /// ```
    /// use seawall_bulkhead::Shares;
    ///
    /// let shares = Shares::fixed([(1, 0.5), (2, 0.5)])?.with_kept(0.2)?;
    /// assert_eq!(shares.kept(), 0.2);
    /// assert!(Shares::equal().with_kept(0.2).is_err());
    /// # Ok::<(), seawall_bulkhead::BulkheadError>(())
    /// ```
    pub fn with_kept(mut self, share: f64) -> Result<Self, BulkheadError> {
        let kept = millionths(share).filter(|kept| *kept < MILLION && self.fixed.is_some());
        self.kept = kept.ok_or(BulkheadError::KeptFromBorrowers { share })?;
        Ok(self)
    }

    /// The share of the places that borrowers find closed.
    pub fn kept(&self) -> f64 {
        f64::from(self.kept) / f64::from(MILLION)
    }

    /// How many of `limit` places a call of `weight` may take that borrows.
    pub(crate) fn lent(kept: u32, weight: u32, limit: u32) -> u32 {
        let kept = u64::from(limit).saturating_mul(kept.into()).div_ceil(MILLION.into());
        limit.saturating_sub(u32::try_from(kept).unwrap_or(limit)).max(weight.min(limit))
    }

    pub(crate) const fn kept_parts(&self) -> u32 {
        self.kept
    }

    /// The share of a tenant; `None` where all are equal.
    pub fn of(&self, tenant: u64) -> Option<f64> {
        let fixed = self.fixed.as_ref()?;
        let parts = fixed.iter().find(|(known, _)| *known == tenant).map_or(self.left(), |(_, parts)| *parts);
        Some(f64::from(parts) / f64::from(MILLION))
    }

    /// The shares by tenant, sorted; `None` where all are equal.
    pub(crate) fn parts(&self) -> Option<&[(u64, u32)]> {
        self.fixed.as_deref()
    }

    /// What is left for tenants without a share of their own.
    pub(crate) fn left(&self) -> u32 {
        self.fixed.iter().flatten().fold(MILLION, |left, (_, parts)| left.saturating_sub(*parts))
    }
}

/// The shares as they stand in a file: `"equal"`, `{"fixed": [[1, 0.5], [2, 0.3]]}`, or
/// `{"lent_in_part": {"fixed": [[1, 0.5]], "kept": 0.2}}`.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Raw {
    Equal,
    Fixed(Vec<(u64, f64)>),
    LentInPart { fixed: Vec<(u64, f64)>, kept: f64 },
}

#[cfg(feature = "serde")]
impl From<Shares> for Raw {
    fn from(shares: Shares) -> Self {
        let kept = shares.kept();
        let Some(fixed) = shares.fixed else { return Self::Equal };
        let fixed = fixed.into_iter().map(|(tenant, parts)| (tenant, f64::from(parts) / f64::from(MILLION))).collect();
        if shares.kept == 0 { Self::Fixed(fixed) } else { Self::LentInPart { fixed, kept } }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Raw> for Shares {
    type Error = BulkheadError;

    fn try_from(raw: Raw) -> Result<Self, BulkheadError> {
        match raw {
            Raw::Equal => Ok(Self::equal()),
            Raw::Fixed(shares) => Self::fixed(shares),
            Raw::LentInPart { fixed, kept } => Self::fixed(fixed)?.with_kept(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_more_than_everything_or_nothing_are_refused() {
        let text = |shares: &[(u64, f64)]| Shares::fixed(shares.iter().copied()).map_err(|error| error.to_string());

        for share in [0.0, -0.5, 1.1, f64::NAN, 1e-9] {
            assert!(matches!(Shares::fixed([(7, share)]), Err(BulkheadError::Share { tenant: 7, .. })), "{share}");
        }
        assert_eq!(
            text(&[(1, 0.7), (2, 0.4)]),
            Err("the shares sum to 1100000 millionths; allowed are 1000000 at most".to_owned())
        );
        assert_eq!(text(&[(1, 0.1), (2, 0.2), (1, 0.3)]), Err("tenant 1 has two shares; allowed is one".to_owned()));
        assert_eq!(Shares::fixed((0..1_025).map(|tenant| (tenant, 0.0001))), Err(BulkheadError::ShareCount));
    }

    #[test]
    fn what_is_kept_from_borrowers_is_a_part_of_fixed_shares() {
        let fixed = || Shares::fixed([(1, 0.5)]).unwrap();

        for share in [1.0, -0.1, f64::NAN] {
            assert!(matches!(fixed().with_kept(share), Err(BulkheadError::KeptFromBorrowers { .. })), "{share}");
        }
        assert_eq!(
            Shares::equal().with_kept(0.5).map_err(|error| error.to_string()),
            Err("0.5 of the places are kept from borrowers; allowed are 0 to less than 1, of fixed shares".to_owned())
        );
        let lent = |weight| Shares::lent(fixed().with_kept(0.25).unwrap().kept_parts(), weight, 10);
        assert_eq!([1, 7, 8, 10, 11].map(lent), [7, 7, 8, 10, 10]);
    }

    #[test]
    fn tenants_without_a_share_have_what_is_left() {
        let shares = Shares::fixed([(2, 0.25), (1, 0.5)]).unwrap();

        assert_eq!([1, 2, 3].map(|tenant| shares.of(tenant)), [Some(0.5), Some(0.25), Some(0.25)]);
        assert_eq!(Shares::fixed([(1, 0.1), (2, 0.2), (3, 0.7)]).map(|shares| shares.left()), Ok(0));
        assert_eq!(Shares::fixed([]).map(|shares| shares.left()), Ok(MILLION));
        assert_eq!(Shares::equal().of(1), None);
    }
}

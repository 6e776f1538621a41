use std::time::Duration;

/// The AWS clients'.
const KEPT: f64 = 0.7;
const CUBIC_SCALE: f64 = 0.4;
const MIN_RATE: f64 = 0.5;
const MAX_RATE: f64 = 1_000_000.0;
/// Longer waits are often mistakes, and at the end of this one the other side can say it again.
const MAX_HOLD: Duration = Duration::from_secs(5 * 60);

/// An adaptive rate that cannot be kept as asked.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptiveQuotaError {
    /// A rate, or what it grows by, is not within its bounds.
    #[error("{field} is {value}; allowed are {least} to {most}")]
    OutOfRange {
        /// Which one.
        field: &'static str,
        /// The value given.
        value: f64,
        /// The least that is allowed.
        least: f64,
        /// The most that is allowed.
        most: f64,
    },
    /// Nobody could be held.
    #[error("max_hold is {}; allowed is any time above 0s", seawall_core::Span::exact(*max_hold))]
    MaxHold {
        /// The value given.
        max_hold: Duration,
    },
}

seawall_core::debug_as_text!(AdaptiveQuotaError);

/// How a rate grows after it was lowered.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Growth {
    /// Fast to near the rate that was refused, slowly about it, faster beyond: `scale` × (t − K)³ above it, in calls a
    /// second and seconds.
    Cubic {
        /// Default 0.4.
        scale: f64,
    },
    /// By as many calls a second, each second.
    Additive {
        /// Calls a second.
        per_second: f64,
    },
}

/// Between which bounds an [`AdaptiveRate`](crate::AdaptiveRate) looks for the rate of the other side, and how.
///
/// ```
/// use seawall_rate_limiter::{AdaptiveQuota, Growth};
///
/// let quota = AdaptiveQuota::default().with_rates(1.0, 500.0)?.with_growth(Growth::Additive { per_second: 2.0 })?;
/// assert!(quota.with_kept(1.0).is_err());
/// # Ok::<(), seawall_rate_limiter::AdaptiveQuotaError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "RawAdaptiveQuota", into = "RawAdaptiveQuota"))]
pub struct AdaptiveQuota {
    kept: f64,
    growth: Growth,
    least: f64,
    most: f64,
    max_hold: Duration,
}

impl Default for AdaptiveQuota {
    fn default() -> Self {
        Self {
            kept: KEPT,
            growth: Growth::Cubic { scale: CUBIC_SCALE },
            least: MIN_RATE,
            most: MAX_RATE,
            max_hold: MAX_HOLD,
        }
    }
}

/// `value`, if it lies between the bounds. NaN lies nowhere.
fn within(field: &'static str, value: f64, (least, most): (f64, f64)) -> Result<f64, AdaptiveQuotaError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(AdaptiveQuotaError::OutOfRange { field, value, least, most })
    }
}

impl AdaptiveQuota {
    /// Calls a second between which it looks. Allowed: 0.001 to 1,000,000, the least not above the most. Default 0.5 to
    /// 1,000,000.
    ///
    /// # Errors
    /// [`AdaptiveQuotaError::OutOfRange`] outside that range.
    pub fn with_rates(mut self, least: f64, most: f64) -> Result<Self, AdaptiveQuotaError> {
        self.most = within("most", most, (0.001, MAX_RATE))?;
        self.least = within("least", least, (0.001, most))?;
        Ok(self)
    }

    /// The part of the rate that is kept when the other side refuses. Allowed: 0.1 to 0.99. Default 0.7.
    ///
    /// # Errors
    /// [`AdaptiveQuotaError::OutOfRange`] outside that range.
    pub fn with_kept(mut self, kept: f64) -> Result<Self, AdaptiveQuotaError> {
        self.kept = within("kept", kept, (0.1, 0.99))?;
        Ok(self)
    }

    /// How the rate grows again. Allowed: scales and steps above 0. Default cubic, of scale 0.4.
    ///
    /// # Errors
    /// [`AdaptiveQuotaError::OutOfRange`] outside that range.
    pub fn with_growth(mut self, growth: Growth) -> Result<Self, AdaptiveQuotaError> {
        let (field, value) = match growth {
            Growth::Cubic { scale } => ("scale", scale),
            Growth::Additive { per_second } => ("per_second", per_second),
        };
        within(field, value, (f64::MIN_POSITIVE, f64::MAX))?;
        self.growth = growth;
        Ok(self)
    }

    /// The longest time for which it heeds a wait that the other side asks for. Allowed: any time above zero. Default 5
    /// minutes.
    ///
    /// # Errors
    /// [`AdaptiveQuotaError::MaxHold`] when it is zero.
    pub const fn with_max_hold(mut self, max_hold: Duration) -> Result<Self, AdaptiveQuotaError> {
        if max_hold.is_zero() {
            return Err(AdaptiveQuotaError::MaxHold { max_hold });
        }
        self.max_hold = max_hold;
        Ok(self)
    }

    /// The longest time for which it heeds a wait.
    pub const fn max_hold(&self) -> Duration {
        self.max_hold
    }

    pub(crate) const fn kept(&self) -> f64 {
        self.kept
    }

    pub(crate) const fn bounded(&self, rate: f64) -> f64 {
        // In this order NaN becomes the least.
        rate.max(self.least).min(self.most)
    }

    /// The rate so long after it was lowered because `refused_at` was refused.
    pub(crate) fn grown(&self, refused_at: f64, since: Duration) -> f64 {
        let seconds = since.as_secs_f64();
        match self.growth {
            Growth::Cubic { scale } => {
                let back = (refused_at * (1.0 - self.kept) / scale).cbrt();
                scale.mul_add((seconds - back).powi(3), refused_at)
            }
            Growth::Additive { per_second } => per_second.mul_add(seconds, refused_at * self.kept),
        }
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawAdaptiveQuota {
    kept: f64,
    growth: Growth,
    least: f64,
    most: f64,
    #[serde(with = "humantime_serde")]
    max_hold: Duration,
}

#[cfg(feature = "serde")]
impl Default for RawAdaptiveQuota {
    fn default() -> Self {
        AdaptiveQuota::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<AdaptiveQuota> for RawAdaptiveQuota {
    fn from(AdaptiveQuota { kept, growth, least, most, max_hold }: AdaptiveQuota) -> Self {
        Self { kept, growth, least, most, max_hold }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<RawAdaptiveQuota> for AdaptiveQuota {
    type Error = AdaptiveQuotaError;

    fn try_from(raw: RawAdaptiveQuota) -> Result<Self, AdaptiveQuotaError> {
        let RawAdaptiveQuota { kept, growth, least, most, max_hold } = raw;
        Self::default().with_rates(least, most)?.with_kept(kept)?.with_growth(growth)?.with_max_hold(max_hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_begins_at_what_was_kept_and_is_flat_where_it_was_refused() {
        let quota = AdaptiveQuota::default();
        let near = |rate: f64, wanted: f64| (rate - wanted).abs() < 1e-6 * wanted;

        assert!(near(quota.grown(100.0, Duration::ZERO), 70.0));
        let flat = Duration::from_secs_f64((100.0_f64 * 0.3 / 0.4).cbrt());
        assert!(near(quota.grown(100.0, flat), 100.0));
        assert!(near(quota.grown(100.0, 2 * flat), 130.0));
        let additive = quota.with_growth(Growth::Additive { per_second: 2.0 }).unwrap();
        assert!(near(additive.grown(100.0, Duration::from_secs(5)), 80.0));
    }

    #[test]
    fn rates_that_no_one_could_keep_are_not_built() {
        let quota = AdaptiveQuota::default();

        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(quota.with_rates(wrong, 5.0).is_err(), "{wrong}");
            assert!(quota.with_rates(1.0, wrong).is_err(), "{wrong}");
            assert!(quota.with_kept(wrong).is_err(), "{wrong}");
            assert!(quota.with_growth(Growth::Cubic { scale: wrong }).is_err(), "{wrong}");
            assert!(quota.with_growth(Growth::Additive { per_second: wrong }).is_err(), "{wrong}");
        }
        let above = AdaptiveQuotaError::OutOfRange { field: "least", value: 6.0, least: 0.001, most: 5.0 };
        assert_eq!(quota.with_rates(6.0, 5.0), Err(above));
        assert!(quota.with_max_hold(Duration::ZERO).is_err());
    }
    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_as_it_is_written_and_nonsense_is_refused_by_name() {
        let text = r#"{"most": 500.0, "growth": {"additive": {"per_second": 2.0}}, "max_hold": "1m"}"#;
        let quota: AdaptiveQuota = serde_json::from_str(text).unwrap();
        let wanted = AdaptiveQuota::default().with_rates(0.5, 500.0);
        let wanted = wanted.and_then(|quota| quota.with_growth(Growth::Additive { per_second: 2.0 }));
        assert_eq!(Ok(quota), wanted.and_then(|quota| quota.with_max_hold(Duration::from_secs(60))));
        assert_eq!(serde_json::from_str::<AdaptiveQuota>(&serde_json::to_string(&quota).unwrap()).unwrap(), quota);

        let error = |text| serde_json::from_str::<AdaptiveQuota>(text).unwrap_err().to_string();
        assert_eq!(error(r#"{"kept": 1.0}"#), "kept is 1; allowed are 0.1 to 0.99");
        assert_eq!(error(r#"{"least": 6.0, "most": 5.0}"#), "least is 6; allowed are 0.001 to 5");
        assert!(error(r#"{"growth": {"cubic": {"scale": 0.0}}}"#).starts_with("scale is 0; allowed are "));
        assert!(error(r#"{"growth": {"cubic": {"scale": 0.4, "k": 1}}}"#).starts_with("unknown field `k`"));
        assert_eq!(error(r#"{"max_hold": "0s"}"#), "max_hold is 0s; allowed is any time above 0s");
        assert!(error(r#"{"burst": 1}"#).starts_with("unknown field `burst`"));
    }
}

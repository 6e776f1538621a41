/// What one result counts as.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Good,
    Slow,
    Failed,
    FailedSlow,
}

impl Mark {
    #[inline]
    pub(crate) const fn new(failed: bool, slow: bool) -> Self {
        match (failed, slow) {
            (false, false) => Self::Good,
            (false, true) => Self::Slow,
            (true, false) => Self::Failed,
            (true, true) => Self::FailedSlow,
        }
    }

    /// The same, but bad in one way only, so that bad results can be added up.
    pub(crate) const fn without_doubling(self) -> Self {
        match self {
            Self::FailedSlow => Self::Failed,
            other => other,
        }
    }

    #[inline]
    pub(crate) const fn is_failed(self) -> bool {
        matches!(self, Self::Failed | Self::FailedSlow)
    }

    #[inline]
    pub(crate) const fn is_slow(self) -> bool {
        matches!(self, Self::Slow | Self::FailedSlow)
    }
}

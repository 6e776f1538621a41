use std::fmt;

/// Where a breaker stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum State {
    /// Calls go through and are counted.
    Closed,
    /// Nothing goes through until the wait is over.
    Open,
    /// A few probes go through; their results decide.
    HalfOpen,
    /// Nothing goes through until somebody says otherwise.
    ForcedOpen,
    /// Everything goes through, nothing is counted, until somebody says otherwise.
    ForcedClosed,
    /// Everything goes through and is counted, and nothing follows from it.
    Disabled,
}

impl State {
    /// All states, for a gauge with one series per state.
    pub const ALL: [Self; 6] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::ForcedClosed, Self::Disabled];

    /// The name as it stands in metrics: `half_open`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

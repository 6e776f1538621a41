use crate::{Reserve, Shares};

/// Whose turn it is among the calls that wait before a [`QueueingBulkhead`](crate::QueueingBulkhead), and who makes room
/// when too many do: always the call that would be served last, be it the newcomer.
///
/// In each order a call whose deadline has passed is refused when its turn comes, not run, and nobody passes the first,
/// however light.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Order {
    /// First come, first served. The default: nobody is surprised.
    #[default]
    OldestFirst,
    /// The newest first: under overload it still has time to be answered, and its caller has not given up. The oldest
    /// makes room.
    NewestFirst,
    /// The nearest deadline first, those without one last. Meets all deadlines if any order does, but under overload it
    /// spends its places on calls that are about to miss theirs: keep the queue short.
    ///
    /// # Source
    /// Liu and Layland, "Scheduling algorithms for multiprogramming in a hard-real-time environment", J. ACM 20(1), 1973.
    EarliestDeadlineFirst,
    /// The most critical first, the oldest among equals. Calls may take only what the reserve leaves to their criticality.
    MostCriticalFirst(Reserve),
    /// The tenant that holds least of its share first, of its calls the oldest.
    ByShare(Shares),
}

impl Order {
    /// What calls of each criticality leave free.
    pub(crate) const fn reserve(&self) -> Reserve {
        match self {
            Self::MostCriticalFirst(reserve) => *reserve,
            _ => Reserve::none(),
        }
    }
}

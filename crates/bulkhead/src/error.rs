use std::time::Duration;

use seawall_core::{Criticality, Span};

/// A bulkhead that cannot be built as asked.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BulkheadError {
    /// The limit is 0.
    #[error("max_concurrent is {max_concurrent}; allowed are 1 and more (Bulkhead::closed() has none)")]
    MaxConcurrent {
        /// The value given.
        max_concurrent: usize,
    },
    /// The queue has no places.
    #[error("max_queued is {max_queued}; allowed are 1 to 1000000 (a Bulkhead has no queue)")]
    MaxQueued {
        /// The value given.
        max_queued: usize,
    },
    /// Nobody could wait.
    #[error("max_wait is {}; allowed is any time above 0s", Span::exact(*max_wait))]
    MaxWait {
        /// The value given.
        max_wait: Duration,
    },
    /// More is kept free than there is, or for nobody.
    #[error(
        "{share} of the places are kept above {criticality:?}; allowed are 0 to less than 1, and above Sheddable, \
         Degraded or Default"
    )]
    Kept {
        /// The criticality that may not take what is kept.
        criticality: Criticality,
        /// The value given.
        share: f64,
    },
    /// A tenant's share is nothing, or more than everything.
    #[error("the share of tenant {tenant} is {share}; allowed are 0.000001 to 1")]
    Share {
        /// Whose share.
        tenant: u64,
        /// The value given.
        share: f64,
    },
    /// A tenant has two shares.
    #[error("tenant {tenant} has two shares; allowed is one")]
    ShareTwice {
        /// Whose shares.
        tenant: u64,
    },
    /// The shares are more than everything.
    #[error("the shares sum to {millionths} millionths; allowed are 1000000 at most")]
    ShareSum {
        /// The sum.
        millionths: u64,
    },
    /// There are too many shares.
    #[error("more than 1024 tenants have a share of their own; allowed are 1024")]
    ShareCount,
    /// Nothing would be lent, or nobody has a part of its own.
    #[error("{share} of the places are kept from borrowers; allowed are 0 to less than 1, of fixed shares")]
    KeptFromBorrowers {
        /// The value given.
        share: f64,
    },
}

seawall_core::debug_as_text!(BulkheadError);

use std::time::Duration;

use crate::Quota;

/// What one process wants of the store for one key.
///
/// In this order: what was used without a grant is charged, what is not used after all comes back, and then as much of
/// `take` is granted as there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Need {
    /// Calls to lease, or as many of them as there are.
    pub take: u32,
    /// Calls that went on by the local share. Never refused: what goes beyond the burst is a debt.
    pub charge: u32,
    /// Leased calls that were not made.
    pub give_back: u32,
}

impl Need {
    pub(crate) const NOTHING: Self = Self::new(0, 0, 0);

    /// What a store is tried with.
    pub const fn new(take: u32, charge: u32, give_back: u32) -> Self {
        Self { take, charge, give_back }
    }
}

/// What the store says to a [`Need`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores make it")]
pub struct Answer {
    /// Of the calls that were to be taken, at most as many as were asked for.
    pub granted: u32,
    /// How long until the whole burst is there again if nothing else comes: all that a bucket's state is.
    pub full_in: Duration,
}

/// A [`Need`] and whose it is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Exchange<'a> {
    /// Which key's quota.
    pub key: &'a str,
    /// The quota that all processes share.
    pub quota: Quota,
    /// What is wanted of it.
    pub need: Need,
}

impl<'a> Exchange<'a> {
    /// What a store is tried with.
    pub const fn new(key: &'a str, quota: Quota, need: Need) -> Self {
        Self { key, quota, need }
    }
}

/// Where the quotas are that processes share: a Redis ([`RedisStore`](crate::RedisStore)), or anything that can run
/// [`SCRIPT`](crate::SCRIPT)'s few lines atomically.
///
/// It is asked in the background and never while a call waits. It need not be reliable: one that fails, hangs or forgets
/// costs what [`DistributedQuota`](crate::DistributedQuota) says. It must be atomic for each key.
pub trait Store: Send + 'static {
    /// Why there is no answer.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Settles all of these in one round trip, in any order. The answers are in the order of the questions; `None` for one
    /// that has none, which is as if that question had failed alone.
    fn exchange(
        &mut self,
        exchanges: &[Exchange<'_>],
    ) -> impl Future<Output = Result<Vec<Option<Answer>>, Self::Error>> + Send;
}

use seawall_core::sync::{
    CachePadded,
    atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use crate::Shares;

/// One cache line of them.
const SLOTS: usize = 8;
/// 64 KiB of slots.
const MAX_BUCKETS: usize = 1_024;
/// The account of all whose bucket is full.
const OTHERS: u32 = u32::MAX;

/// Who holds places: a tenant, or several that are counted together.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Holder(u64);

/// How many places each holder has taken. Written without a lock, and exact whenever nothing is under way.
///
/// A call counts itself before it takes its places, and stops counting before it gives them back. Both steps go through
/// the places' word, so whoever raises the flag there that somebody waits sees every count before.
#[derive(Debug)]
pub(crate) enum Accounts {
    Fixed(Fixed),
    Equal(Equal),
}

impl Accounts {
    /// `seed` spreads tenants whose numbers somebody chose; `limit` says how many may hold places at once.
    pub(crate) fn new(shares: &Shares, limit: u32, seed: u64) -> Self {
        shares
            .parts()
            .map_or_else(|| Self::Equal(Equal::new(limit, seed)), |parts| Self::Fixed(Fixed::new(parts, shares.left())))
    }

    pub(crate) fn holder(&self, tenant: u64) -> Holder {
        match self {
            Self::Fixed(fixed) => fixed.holder(tenant),
            Self::Equal(equal) => equal.holder(tenant),
        }
    }

    /// Counts `weight` places more for `holder`, in the account that is returned.
    pub(crate) fn open(&self, holder: Holder, weight: u32) -> u32 {
        match self {
            Self::Fixed(fixed) => fixed.open(holder, weight),
            Self::Equal(equal) => equal.open(holder, weight),
        }
    }

    /// Counts them no longer; whose they were.
    pub(crate) fn close(&self, account: u32, weight: u32) -> Holder {
        match self {
            Self::Fixed(fixed) => fixed.close(account, weight),
            Self::Equal(equal) => equal.close(account, weight),
        }
    }

    pub(crate) fn used(&self, holder: Holder) -> u32 {
        match self {
            Self::Fixed(fixed) => fixed.used(holder),
            Self::Equal(equal) => equal.used(holder),
        }
    }

    /// The holder's share, in any unit that is the same for all.
    pub(crate) fn parts(&self, holder: Holder) -> u32 {
        match self {
            Self::Fixed(fixed) => fixed.parts(holder),
            Self::Equal(_) => 1,
        }
    }
}

/// One count per tenant that has a share of its own, after the one of all others.
#[derive(Debug)]
pub(crate) struct Fixed {
    tenants: Box<[u64]>,
    accounts: Box<[Account]>,
}

#[derive(Debug)]
struct Account {
    used: CachePadded<AtomicU32>,
    parts: u32,
}

impl Fixed {
    fn new(shares: &[(u64, u32)], left: u32) -> Self {
        let account = |parts| Account { used: CachePadded::new(AtomicU32::new(0)), parts };
        let parts = std::iter::once(left).chain(shares.iter().map(|(_, parts)| *parts));
        Self { tenants: shares.iter().map(|(tenant, _)| *tenant).collect(), accounts: parts.map(account).collect() }
    }

    fn holder(&self, tenant: u64) -> Holder {
        Holder(self.tenants.binary_search(&tenant).map_or(0, |index| (index as u64).saturating_add(1)))
    }

    fn account(&self, index: u64) -> Option<&Account> {
        self.accounts.get(usize::try_from(index).ok()?)
    }

    fn open(&self, holder: Holder, weight: u32) -> u32 {
        if let Some(account) = self.account(holder.0) {
            // Relaxed: the places' word publishes it.
            account.used.fetch_add(weight, Relaxed);
        }
        u32::try_from(holder.0).unwrap_or_default()
    }

    fn close(&self, account: u32, weight: u32) -> Holder {
        let holder = Holder(account.into());
        if let Some(account) = self.account(holder.0) {
            account.used.fetch_sub(weight, Relaxed);
        }
        holder
    }

    fn used(&self, holder: Holder) -> u32 {
        self.account(holder.0).map_or(0, |account| account.used.load(Relaxed))
    }

    fn parts(&self, holder: Holder) -> u32 {
        self.account(holder.0).map_or(0, |account| account.parts)
    }
}

/// One count per tenant that holds places, in a table of fixed size: a tenant has its count in any slot of one bucket.
///
/// A slot is a fingerprint over a count, and free when the count is 0. Where eight other tenants hold places in the same
/// bucket, all further ones are counted together. Two callers of one tenant that race for slots may take two: what a
/// tenant holds is the sum of them.
#[derive(Debug)]
pub(crate) struct Equal {
    buckets: Box<[Bucket]>,
    others: AtomicU32,
    seed: u64,
}

#[derive(Debug, Default)]
struct Bucket(CachePadded<[AtomicU64; SLOTS]>);

const fn count_of(slot: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the slot")]
    {
        slot as u32
    }
}

/// The finalizer of `SplitMix64`: every bit of the input moves every bit of the output.
const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Equal {
    fn new(limit: u32, seed: u64) -> Self {
        let buckets = usize::try_from(limit).unwrap_or(MAX_BUCKETS).clamp(1, MAX_BUCKETS).next_power_of_two();
        Self { buckets: (0..buckets).map(|_| Bucket::default()).collect(), others: AtomicU32::new(0), seed }
    }

    /// A fingerprint over the index of a bucket.
    fn holder(&self, tenant: u64) -> Holder {
        let last = (self.buckets.len() as u64).saturating_sub(1);
        let mixed = mix(tenant ^ self.seed);
        Holder(mixed & !u64::from(u32::MAX) | mixed & last)
    }

    fn bucket(&self, holder: Holder) -> Option<(usize, &Bucket)> {
        let index = count_of(holder.0) as usize;
        Some((index, self.buckets.get(index)?))
    }

    const fn fingerprint(holder: Holder) -> u64 {
        holder.0 & !(u32::MAX as u64)
    }

    fn open(&self, holder: Holder, weight: u32) -> u32 {
        let Some((index, bucket)) = self.bucket(holder) else { return OTHERS };
        let fingerprint = Self::fingerprint(holder);
        loop {
            // Acquire pairs with the Release of `open` and `close`: a slot says whose its count is.
            let seen: [u64; SLOTS] = std::array::from_fn(|slot| bucket.0[slot].load(Acquire));
            let mine =
                seen.iter().position(|slot| count_of(*slot) > 0 && slot ^ u64::from(count_of(*slot)) == fingerprint);
            let Some(slot) = mine.or_else(|| seen.iter().position(|slot| count_of(*slot) == 0)) else {
                self.others.fetch_add(weight, Relaxed);
                return OTHERS;
            };
            let counted = fingerprint | u64::from(count_of(seen[slot])).saturating_add(weight.into());
            if bucket.0[slot].compare_exchange(seen[slot], counted, AcqRel, Relaxed).is_ok() {
                let account = index.saturating_mul(SLOTS).saturating_add(slot);
                return u32::try_from(account).unwrap_or(OTHERS);
            }
        }
    }

    fn close(&self, account: u32, weight: u32) -> Holder {
        let index = account as usize / SLOTS;
        let Some(bucket) = self.buckets.get(index).filter(|_| account != OTHERS) else {
            self.others.fetch_sub(weight, Relaxed);
            return Holder(OTHERS.into());
        };
        let before = bucket.0[account as usize % SLOTS].fetch_sub(weight.into(), Release);
        Holder(before ^ u64::from(count_of(before)) | index as u64)
    }

    fn used(&self, holder: Holder) -> u32 {
        let Some((_, bucket)) = self.bucket(holder) else { return self.others.load(Relaxed) };
        let slots = bucket.0.iter().map(|slot| slot.load(Acquire));
        let mine = slots.filter(|slot| slot ^ u64::from(count_of(*slot)) == Self::fingerprint(holder));
        mine.fold(0, |sum, slot| sum.saturating_add(count_of(slot)))
    }
}

#[cfg(all(test, not(seawall_loom)))]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tenant_without_a_share_counts_with_the_others() {
        let accounts = Accounts::new(&Shares::fixed([(7, 0.5), (3, 0.2)]).unwrap(), 10, 0);
        let [seven, three, nine, ten] = [7, 3, 9, 10].map(|tenant| accounts.holder(tenant));

        let account = accounts.open(nine, 2);
        accounts.open(ten, 1);
        accounts.open(seven, 4);

        assert_eq!([seven, three, nine, ten].map(|holder| accounts.used(holder)), [4, 0, 3, 3]);
        assert_eq!([seven, three, nine].map(|holder| accounts.parts(holder)), [500_000, 200_000, 300_000]);
        assert_eq!(accounts.close(account, 2), nine);
        assert_eq!(accounts.used(ten), 1);
    }

    #[test]
    fn more_tenants_than_a_bucket_has_slots_are_counted_together() {
        let accounts = Accounts::new(&Shares::equal(), 1, 0);
        let opened: Vec<u32> = (0..20).map(|tenant| accounts.open(accounts.holder(tenant), 1)).collect();

        assert_eq!(opened.iter().filter(|account| **account == OTHERS).count(), 20 - SLOTS);
        assert_eq!(accounts.used(Holder(OTHERS.into())), 12);
        for account in opened {
            accounts.close(account, 1);
        }
        assert!((0..20).all(|tenant| accounts.used(accounts.holder(tenant)) == 0));
        assert_eq!(accounts.used(Holder(OTHERS.into())), 0);
    }

    proptest! {
        #[test]
        fn a_table_counts_as_a_map_does(steps in prop::collection::vec((0..6_u64, 1..4_u32, any::<prop::sample::Index>()), 0..200), seed in any::<u64>()) {
            let accounts = Accounts::new(&Shares::equal(), 64, seed);
            let mut map: HashMap<u64, u32> = HashMap::new();
            let mut open = Vec::new();
            for (tenant, weight, which) in steps {
                if tenant == 0 && !open.is_empty() {
                    let (tenant, account, weight) = open.swap_remove(which.index(open.len()));
                    prop_assert_eq!(accounts.close(account, weight), accounts.holder(tenant));
                    *map.entry(tenant).or_default() -= weight;
                } else {
                    open.push((tenant, accounts.open(accounts.holder(tenant), weight), weight));
                    *map.entry(tenant).or_default() += weight;
                }
                for tenant in 0..6 {
                    prop_assert_eq!(accounts.used(accounts.holder(tenant)), map.get(&tenant).copied().unwrap_or(0));
                }
            }
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn tenants_that_race_for_slots_lose_no_count() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let accounts = Arc::new(Accounts::new(&Shares::equal(), 1, 0));
            let first = accounts.open(accounts.holder(1), 2);
            let other = Arc::clone(&accounts);
            let racing = thread::spawn(move || {
                other.close(first, 2);
                other.open(other.holder(2), 3)
            });
            let own = accounts.open(accounts.holder(1), 1);
            let theirs = racing.join().unwrap();
            assert_eq!((accounts.used(accounts.holder(1)), accounts.used(accounts.holder(2))), (1, 3));
            assert_eq!((accounts.close(own, 1), accounts.close(theirs, 3)), (accounts.holder(1), accounts.holder(2)));
            assert_eq!((accounts.used(accounts.holder(1)), accounts.used(accounts.holder(2))), (0, 0));
        });
    }
}

use seawall_core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::admission_level::{BEYOND, mixed};

/// Of each row; more tenants than this share cells. A model looks at every access: one cell shows it all what there is.
const CELLS: usize = if cfg!(seawall_loom) { 1 } else { 1_024 };
/// A tenant's share is one part in so many of what all ask for: about twice what a level holds. One that asks for more would make
/// a level that is let in or not as a whole too large a step.
const SHARE: u64 = 64;
/// Who has asked for less than this is nobody's burden.
const LEAST: u64 = 32;
/// Shares of all in so many parts.
const ONE: u64 = 1 << 16;

/// What each tenant has asked for of late, in memory that is fixed: a count-min sketch of two rows. It never says too little, and
/// too much only of who meets another in both. Windows fade by half.
///
/// # Source
/// Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications", 2005.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Relaxed, as all below: counts that guard no other memory.
    cells: Box<[AtomicU64]>,
    all: AtomicU64,
    /// What the tenant asked for that asked for most, as a share of all.
    most: AtomicU32,
}

impl Usage {
    pub(crate) fn new() -> Self {
        Self {
            cells: (0..CELLS.saturating_mul(2)).map(|_| AtomicU64::new(0)).collect(),
            all: AtomicU64::new(0),
            most: AtomicU32::new(0),
        }
    }

    /// Counts a call of `tenant`; how soon it falls, if it is beyond the tenant's share: 0 first.
    ///
    /// The calls of a tenant lie at even heights from nothing to what it has asked for. What lies above the share falls from the top,
    /// so that who asks for most is cut first, to what the next one asks for, then both are.
    #[inline]
    pub(crate) fn beyond_share(&self, tenant: u64, turn: u64, cost: u32) -> Option<u16> {
        let cost = u64::from(cost.max(1));
        let add = |cell: &AtomicU64| cell.fetch_add(cost, Relaxed).saturating_add(cost);
        let asked = self.cells_of(tenant, turn).map(add).min()?;
        let all = add(&self.all);
        if asked < LEAST || asked.saturating_mul(SHARE) <= all {
            return None;
        }
        rank(asked, all, self.most.load(Relaxed).into())
    }

    /// So many windows are over.
    pub(crate) fn close_windows(&self, windows: u64) {
        let windows = u32::try_from(windows).unwrap_or(u32::MAX);
        let fade = |cell: &AtomicU64| {
            let count = cell.load(Relaxed);
            let left = count.checked_shr(windows).unwrap_or(0);
            // What has come in between stays.
            cell.fetch_sub(count.saturating_sub(left), Relaxed);
            left
        };
        let most = self.cells.iter().map(fade).max().unwrap_or(0);
        let all = fade(&self.all);
        self.most.store(u32::try_from(share(most, all)).unwrap_or(u32::MAX), Relaxed);
    }

    fn cells_of(&self, tenant: u64, turn: u64) -> impl Iterator<Item = &AtomicU64> {
        let bits = mixed(tenant, turn);
        let (one, two) = self.cells.split_at_checked(CELLS).unwrap_or_default();
        [(one, bits), (two, bits >> 20)].into_iter().filter_map(|(row, bits)| {
            let index = usize::try_from(bits).unwrap_or_default() % CELLS;
            row.get(index)
        })
    }
}

/// How soon the call falls with which a tenant has `asked` for so much of `all`, where the most that one has is `most`.
#[cold]
fn rank(asked: u64, all: u64, most: u64) -> Option<u16> {
    let own = share(asked, all);
    let height = (mixed(asked, 0) >> 32).wrapping_mul(own) >> 32;
    let fair = ONE / SHARE;
    let (above, range) = (height.checked_sub(fair)?, most.max(own).saturating_sub(fair));
    let from_below = above.saturating_mul(BEYOND.into()).checked_div(range)?;
    u16::try_from(from_below).ok().map(|from_below| BEYOND.saturating_sub(1).saturating_sub(from_below))
}

fn share(count: u64, all: u64) -> u64 {
    count.saturating_mul(ONE).checked_div(all).unwrap_or(0).min(ONE)
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Of each tenant's calls, of which it makes so many in a window, how many fall among the first `fallen` ranks of the third window.
    fn cut(calls: &[(u64, u32)], fallen: u16) -> HashMap<u64, u32> {
        let usage = Usage::new();
        let mut cut = HashMap::new();
        for _ in 0..3 {
            cut.clear();
            // As evenly mixed as may be.
            let most = calls.iter().map(|(_, calls)| *calls).max().unwrap_or(0);
            for round in 0..most {
                for (tenant, calls) in calls {
                    if round * calls / most != (round + 1) * calls / most {
                        let rank = usage.beyond_share(*tenant, 0, 1);
                        *cut.entry(*tenant).or_insert(0) += u32::from(rank.is_some_and(|rank| rank < fallen));
                    }
                }
            }
            usage.close_windows(1);
        }
        cut
    }

    #[test]
    fn who_asks_for_most_is_cut_to_what_the_next_one_asks_for_and_then_both() {
        let mut calls: Vec<_> = (3..1_003).map(|tenant| (tenant, 5)).collect();
        calls.extend([(1, 8_000), (2, 2_000)]);

        let (some, half, all) = (cut(&calls, 4), cut(&calls, 10), cut(&calls, BEYOND));

        // A rank is a sixteenth of what is between the share, 234, and 8,000.
        assert!(some[&1].abs_diff(4 * 485) < 200 && some[&2] == 0, "{} {}", some[&1], some[&2]);
        assert!(half[&1].abs_diff(10 * 485) < 200 && half[&2] == 0, "{} {}", half[&1], half[&2]);
        assert!(all[&1].abs_diff(8_000 - 234) < 200 && all[&2].abs_diff(2_000 - 234) < 100, "{} {}", all[&1], all[&2]);
        assert_eq!((3..1_003).map(|tenant| all[&tenant]).sum::<u32>(), 0);
    }

    #[test]
    fn what_was_asked_for_is_forgotten() {
        let usage = Usage::new();
        let asks = |calls: u32| (0..calls).filter(|_| usage.beyond_share(1, 0, 1).is_some()).count();
        assert!(asks(1_000) > 900);

        usage.close_windows(1_000_000);

        assert_eq!((asks(31), usage.all.load(Relaxed)), (0, 31));
    }

    #[test]
    fn a_dear_call_weighs_as_many_cheap_ones() {
        let usage = Usage::new();
        let beyond = |tenant, cost| usage.beyond_share(tenant, 0, cost).is_some();

        let of_dear = (0..500).filter(|_| beyond(1, 200)).count();
        for tenant in 2..1_000 {
            assert!(!beyond(tenant, 0), "of tenant {tenant}");
        }

        assert!(of_dear > 450, "{of_dear}");
    }

    proptest! {
        /// Held against a list of what each asked for.
        #[test]
        fn nobody_within_its_share_is_cut_and_who_is_beyond_it_keeps_the_share(
            asks in prop::collection::vec((1..40_u64, 1..50_u32), 1..300),
            windows in prop::collection::vec(0..3_u64, 300),
        ) {
            let (usage, mut truth, mut all) = (Usage::new(), HashMap::<u64, u64>::new(), 0_u64);
            for ((tenant, cost), windows) in asks.into_iter().zip(windows) {
                if windows > 0 {
                    usage.close_windows(windows);
                    // Each fades by itself.
                    for count in truth.values_mut() {
                        *count >>= windows;
                    }
                    all >>= windows;
                }
                let asked = truth.entry(tenant).or_insert(0);
                *asked += u64::from(cost);
                all += u64::from(cost);

                let rank = usage.beyond_share(tenant, 7, cost);

                let counted: u64 = usage.cells_of(tenant, 7).map(|cell| cell.load(Relaxed)).min().unwrap_or(0);
                prop_assert!(counted >= *asked, "{tenant} asked for {asked}, not {counted}");
                prop_assert!(rank.is_none_or(|rank| rank < BEYOND && counted >= LEAST && counted * SHARE > all));
            }
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn a_call_that_comes_while_a_window_closes_is_counted_once() {
        loom::model(|| {
            let usage = Arc::new(Usage::new());
            usage.beyond_share(1, 0, 8);
            let other = Arc::clone(&usage);
            let calls = thread::spawn(move || other.beyond_share(1, 0, 1));
            usage.close_windows(1);
            calls.join().expect("it does not panic");

            let counted = |cell: &AtomicU64| cell.load(Relaxed);
            for count in usage.cells.iter().map(counted).chain([counted(&usage.all)]) {
                assert!(count == 5 || count == 4, "half of 8 and the call, or half of 9: {count}");
            }
        });
    }

    #[test]
    fn two_calls_are_both_counted() {
        loom::model(|| {
            let usage = Arc::new(Usage::new());
            let other = Arc::clone(&usage);
            let calls = thread::spawn(move || other.beyond_share(1, 0, 2));
            usage.beyond_share(2, 0, 3);
            calls.join().expect("it does not panic");

            assert!(usage.cells.iter().all(|cell| cell.load(Relaxed) == 5) && usage.all.load(Relaxed) == 5);
        });
    }
}

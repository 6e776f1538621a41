use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use crate::sync::CachePadded;

/// More stripes than this cost memory and sums without easing contention further. One bit each of [`TAKEN`].
const MAX_STRIPES: usize = 64;

const UNASSIGNED: usize = usize::MAX;

/// The stripes of the threads that live.
static TAKEN: Leases<AtomicU64> = Leases(AtomicU64::new(0));

/// Who comes when all are taken shares: the next one each.
static SHARED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(UNASSIGNED) };
    /// Apart from the number itself, which has no drop and so costs a reading nothing.
    static LEASE: Cell<Option<Lease>> = const { Cell::new(None) };
}

/// A stripe that is given back when its thread ends: so the threads that live have the lowest numbers, and as long as
/// there are no more of them than stripes, no two share one.
struct Lease(usize);

impl Drop for Lease {
    fn drop(&mut self) {
        TAKEN.give_back(self.0);
    }
}

/// One bit a stripe, taken and given back in one step each.
struct Leases<A>(A);

macro_rules! leases {
    ($atomic:ty) => {
        impl Leases<$atomic> {
            /// The lowest that is free.
            fn take(&self) -> Option<usize> {
                let lowest_free = |taken: u64| (taken != u64::MAX).then(|| taken | taken.wrapping_add(1));
                // Relaxed: a thread that takes over the stripe of one that has ended may write to the same words, which are
                // atomics of their own.
                let before = self.0.fetch_update(Relaxed, Relaxed, lowest_free).ok()?;
                Some(before.trailing_ones() as usize)
            }

            fn give_back(&self, index: usize) {
                self.0.fetch_and(!(1 << index), Relaxed);
            }
        }
    };
}

leases!(AtomicU64);

// A static cannot hold the model's atomic: the model has the same steps on one of its own.
#[cfg(all(test, seawall_loom))]
leases!(loom::sync::atomic::AtomicU64);

/// The number of the current thread's stripe, 0 to 63, for who lays stripes out himself: taken modulo a power of two that
/// [`stripe_count`] gives. The same for the thread's whole life.
#[inline]
pub fn thread_stripe() -> usize {
    assigned_stripe().unwrap_or_else(assign)
}

/// The same, if the thread has one already; it has from its first [`thread_stripe`] on. For hot paths that may not call
/// anything, which would cost them their registers.
#[inline]
pub fn assigned_stripe() -> Option<usize> {
    Some(MINE.get()).filter(|index| *index != UNASSIGNED)
}

#[cold]
fn assign() -> usize {
    let lease = TAKEN.take().map(Lease);
    let index = lease.as_ref().map_or_else(|| SHARED.fetch_add(1, Relaxed) % MAX_STRIPES, |lease| lease.0);
    MINE.set(index);
    // A thread that is ending has no place for it: its stripe is free at once.
    let _ = LEASE.try_with(|place| place.set(lease));
    index
}

/// How many stripes are enough: `asked`, or else one per core, rounded up to a power of two, between 1 and 64.
pub fn stripe_count(asked: Option<usize>) -> usize {
    let count = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    count.clamp(1, MAX_STRIPES).next_power_of_two()
}

/// One value per core, each on cache lines of its own: threads write to theirs, and who needs the sum adds them up.
///
/// ```
/// use seawall_core::Stripes;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// let calls: Stripes<AtomicU64> = Stripes::default();
/// calls.mine().fetch_add(1, Relaxed);
/// assert_eq!(calls.iter().map(|stripe| stripe.load(Relaxed)).sum::<u64>(), 1);
/// ```
#[derive(Debug)]
pub struct Stripes<T> {
    stripes: Box<[CachePadded<T>]>,
    mask: usize,
}

impl<T: Default> Default for Stripes<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T> Stripes<T> {
    /// A power of two of stripes, at least one per core up to 64.
    pub fn new(make: impl FnMut() -> T) -> Self {
        Self::of_count(stripe_count(None), make)
    }

    /// `count` stripes, rounded up to a power of two, between 1 and 64.
    pub fn with_count(count: usize, make: impl FnMut() -> T) -> Self {
        Self::of_count(stripe_count(Some(count)), make)
    }

    fn of_count(count: usize, mut make: impl FnMut() -> T) -> Self {
        let stripes: Box<[_]> = (0..count).map(|_| CachePadded::new(make())).collect();
        Self { mask: count.saturating_sub(1), stripes }
    }

    /// The stripe of the current thread. Threads share one when there are more of them than stripes.
    #[inline]
    pub fn mine(&self) -> &T {
        &self.stripes[thread_stripe() & self.mask]
    }

    /// The same, if the thread has one already: see [`assigned_stripe`].
    #[inline]
    pub fn assigned(&self) -> Option<&T> {
        assigned_stripe().and_then(|index| self.of(index))
    }

    /// The stripe of the thread whose [`thread_stripe`] is `index`; there always is one.
    #[inline]
    pub fn of(&self, index: usize) -> Option<&T> {
        self.stripes.get(index & self.mask).map(|stripe| &**stripe)
    }

    /// All stripes.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.stripes.iter().map(|stripe| &**stripe)
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{
        sync::{Arc, atomic::AtomicU64},
        thread,
    };

    use super::Leases;

    #[test]
    fn no_two_threads_that_live_share_a_stripe_while_one_is_free() {
        loom::model(|| {
            // All but two are taken.
            let leases = Arc::new(Leases(AtomicU64::new(!0b101)));
            let threads: [_; 2] = std::array::from_fn(|_| {
                let leases = Arc::clone(&leases);
                thread::spawn(move || leases.take())
            });
            let mut taken = threads.map(|thread| thread.join().unwrap());
            taken.sort_unstable();
            assert_eq!(taken, [Some(0), Some(2)]);
            assert_eq!(leases.take(), None);
        });
    }

    #[test]
    fn a_stripe_that_is_given_back_is_there_for_the_next_and_no_other_is_lost() {
        loom::model(|| {
            let leases = Arc::new(Leases(AtomicU64::new(0)));
            let first = leases.take().unwrap();
            let other = Arc::clone(&leases);
            let comes = thread::spawn(move || other.take().unwrap());
            leases.give_back(first);
            let second = comes.join().unwrap();
            assert!(second <= 1);
            // Both but that of the thread that lives.
            assert_eq!(leases.take(), Some(1 - second));
        });
    }
}

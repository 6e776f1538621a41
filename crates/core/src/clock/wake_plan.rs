use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// No sleeper.
pub(super) const NEVER: u64 = u64::MAX;

/// Until which tick the thread that turns the wheels sleeps: the agreement by which nobody sleeps on for want of it.
///
/// The thread forgets its plan, looks at every wheel under the wheel's lock, then plans anew and parks. A sleeper joins
/// its wheel under the lock and then asks for its tick. Whoever locks second sees what the first did: the thread finds
/// the sleeper, or the sleeper finds that no plan reaches it, and unparks the thread, whose next park then returns at
/// once. Who does its work when it is late leaves the plan alone: until the thread is up and has looked, a plan that is due
/// already is what sleepers may rely on.
pub(super) struct WakePlan {
    tick: AtomicU64,
}

impl WakePlan {
    pub(super) fn new() -> Self {
        Self { tick: AtomicU64::new(NEVER) }
    }

    /// A sleeper has joined for `tick`: whether the thread must be unparked for it.
    #[inline]
    pub(super) fn asks_to_unpark(&self, tick: u64) -> bool {
        // Relaxed here and below: the wheel's lock orders the word, as said above.
        tick < self.tick.load(Relaxed) && tick < self.tick.fetch_min(tick, Relaxed)
    }

    /// Whether the thread should have been up before `now`.
    #[inline]
    pub(super) fn is_overdue(&self, now: u64) -> bool {
        self.tick.load(Relaxed) < now
    }

    /// The thread is awake and will look at all wheels.
    pub(super) fn forget(&self) {
        self.tick.store(NEVER, Relaxed);
    }

    /// The thread has found `next` to be the earliest tick: until when it may park. Earlier where a sleeper asked for it
    /// in the meantime.
    pub(super) fn settle(&self, next: u64) -> u64 {
        self.tick.fetch_min(next, Relaxed).min(next)
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_overdue_after_its_tick_and_never_without_a_sleeper() {
        let plan = WakePlan::new();
        assert!(!plan.is_overdue(u64::MAX));

        assert!(plan.asks_to_unpark(5) && !plan.asks_to_unpark(5));

        assert_eq!((plan.is_overdue(5), plan.is_overdue(6)), (false, true));
        plan.forget();
        assert_eq!((plan.is_overdue(6), plan.settle(8)), (false, 8));
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;
    use crate::sync::Mutex;

    #[test]
    fn a_sleeper_is_seen_by_the_thread_or_unparks_it() {
        loom::model(|| {
            let shared = Arc::new((WakePlan::new(), Mutex::new(NEVER)));
            let sleepers: Vec<_> = [5, 3]
                .into_iter()
                .map(|tick| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        let (plan, earliest) = &*shared;
                        {
                            let mut earliest = earliest.lock().expect("no panic");
                            *earliest = tick.min(*earliest);
                        }
                        plan.asks_to_unpark(tick).then_some(tick)
                    })
                })
                .collect();

            let (plan, earliest) = &*shared;
            plan.forget();
            let seen = *earliest.lock().expect("no panic");
            let planned = plan.settle(seen);

            // Parked now: until `planned`, or at once for whoever unparked.
            let unparked = sleepers.into_iter().filter_map(|sleeper| sleeper.join().expect("no panic")).min();
            assert!(planned <= 3 || unparked.is_some_and(|tick| tick <= 3), "{planned} {unparked:?}");
        });
    }
}

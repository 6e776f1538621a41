use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const ALL: u32 = 100;
/// Beyond all percentages.
const OFF: u32 = u32::MAX;

/// Whether a layer does what it decides: switched while calls go on, to look before one leaps.
///
/// ```
/// use seawall_core::{Enforcement, Enforcing, Percent};
///
/// let enforcing = Enforcing::new(Enforcement::Percent(Percent::new(25)?));
/// assert_eq!((0..100).filter(|_| enforcing.enforces()).count(), 25);
/// assert_eq!(enforcing.spared(), 75);
/// # Ok::<(), seawall_core::PercentError>(())
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Enforcement {
    /// It does: the default.
    #[default]
    Enforce,
    /// It refuses so many of a hundred calls that it would refuse, evenly spread, and counts the others.
    Percent(Percent),
    /// It lets every call through and counts those that it would have refused.
    Shadow,
    /// It lets every call through and counts none.
    Off,
}

/// So many of a hundred: 0 to 100.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

/// A share of more than all.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("percent is {percent}; allowed are 0 to 100")]
#[non_exhaustive]
pub struct PercentError {
    /// The value given.
    pub percent: u32,
}

crate::debug_as_text!(PercentError);

impl Percent {
    /// `percent` of a hundred. Allowed: 0 to 100.
    ///
    /// # Errors
    /// [`PercentError`] above 100.
    pub const fn new(percent: u32) -> Result<Self, PercentError> {
        if percent > ALL { Err(PercentError { percent }) } else { Ok(Self(percent)) }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Times this, a hundred numbers in a row are a hundred others modulo a hundred, each far from the one before: about the golden
/// ratio of it.
const SHUFFLE: u64 = 63;

/// An [`Enforcement`] in force, and the count of those that it has spared.
#[derive(Debug)]
pub struct Enforcing {
    /// Relaxed, as the counts below: each stands for itself and guards no other memory.
    percent: AtomicU32,
    refusals: AtomicU64,
    spared: AtomicU64,
}

impl Default for Enforcing {
    fn default() -> Self {
        Self::new(Enforcement::default())
    }
}

impl Enforcing {
    /// Nobody spared yet.
    pub fn new(enforcement: Enforcement) -> Self {
        let enforcing = Self { percent: AtomicU32::new(ALL), refusals: AtomicU64::new(0), spared: AtomicU64::new(0) };
        enforcing.set(enforcement);
        enforcing
    }

    /// Changes what is in force while calls go on.
    pub fn set(&self, enforcement: Enforcement) {
        let percent = match enforcement {
            Enforcement::Enforce => ALL,
            Enforcement::Percent(Percent(percent)) => percent,
            Enforcement::Shadow => 0,
            Enforcement::Off => OFF,
        };
        self.percent.store(percent, Relaxed);
    }

    /// Whether each refusal is enforced: nothing is to be asked for each then.
    #[inline]
    pub fn enforces_all(&self) -> bool {
        self.percent.load(Relaxed) == ALL
    }

    /// Whether the call that is being refused is to be. Of a hundred refusals as many are as was asked, spread so that who comes
    /// every second or fifth time has its share; the others are counted.
    #[cold]
    pub fn enforces(&self) -> bool {
        let percent = self.percent.load(Relaxed);
        if percent >= ALL {
            return percent == ALL;
        }
        let enforces = is_among(percent, self.refusals.fetch_add(1, Relaxed));
        if !enforces {
            self.spared.fetch_add(1, Relaxed);
        }
        enforces
    }

    /// Whether the next call that is refused is to be: for who has to know that before it asks whether the call is. What becomes of
    /// the call is then to be [counted](Self::count_enforced). Of calls that ask at the same time all are told the same.
    #[inline]
    pub fn enforces_next(&self) -> bool {
        let percent = self.percent.load(Relaxed);
        if percent >= ALL { percent == ALL } else { is_among(percent, self.refusals.load(Relaxed)) }
    }

    /// A call was refused that was [not to be spared](Self::enforces_next).
    pub fn count_enforced(&self) {
        if self.percent.load(Relaxed) < ALL {
            self.refusals.fetch_add(1, Relaxed);
        }
    }

    /// A call would have been refused that was [to be spared](Self::enforces_next).
    pub fn count_spared(&self) {
        if self.percent.load(Relaxed) < ALL {
            self.refusals.fetch_add(1, Relaxed);
            self.spared.fetch_add(1, Relaxed);
        }
    }

    /// How many calls would have been refused, had that been enforced.
    pub fn spared(&self) -> u64 {
        self.spared.load(Relaxed)
    }
}

/// Whether the refusal of this number is among so many of a hundred.
fn is_among(percent: u32, number: u64) -> bool {
    number.wrapping_mul(SHUFFLE).checked_rem(ALL.into()).unwrap_or(0) < u64::from(percent)
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    fn enforced(enforcement: Enforcement) -> (usize, u64) {
        let enforcing = Enforcing::new(enforcement);
        ((0..100).filter(|_| enforcing.enforces()).count(), enforcing.spared())
    }

    #[test]
    fn of_a_hundred_refusals_as_many_are_enforced_as_was_asked_and_the_others_counted() {
        for percent in 0..=100 {
            let part = Enforcement::Percent(Percent::new(percent).unwrap());
            assert_eq!(enforced(part), (percent as usize, u64::from(100 - percent)));
        }
        assert_eq!(enforced(Enforcement::Enforce), (100, 0));
        assert_eq!(enforced(Enforcement::Shadow), (0, 100));
        assert_eq!(enforced(Enforcement::Off), (0, 0));
    }

    #[test]
    fn who_asks_before_a_refusal_is_told_what_who_asks_at_it_is() {
        let part = |percent| Enforcement::Percent(Percent::new(percent).unwrap());
        for enforcement in [part(30), part(0), part(100), Enforcement::Shadow, Enforcement::Off, Enforcement::Enforce] {
            let (before, at) = (Enforcing::new(enforcement), Enforcing::new(enforcement));
            for number in 0..250 {
                let next = before.enforces_next();
                assert_eq!(next, before.enforces_next(), "nothing has been refused");
                if next {
                    before.count_enforced();
                } else {
                    before.count_spared();
                }

                assert_eq!((next, before.spared()), (at.enforces(), at.spared()), "{enforcement:?}, {number}");
            }
        }
    }

    #[test]
    fn who_is_refused_every_so_many_times_has_its_share_of_what_is_enforced() {
        for regular in 2..=10 {
            let enforcing = Enforcing::new(Enforcement::Percent(Percent::new(50).unwrap()));
            let enforced: Vec<bool> = (0..1_000 * regular).map(|_| enforcing.enforces()).collect();

            let of_one = enforced.iter().step_by(regular).filter(|enforced| **enforced).count();

            assert!((400..=600).contains(&of_one), "every {regular}: {of_one} of 1,000");
        }
    }

    #[test]
    fn nothing_is_asked_for_each_only_where_each_is_enforced() {
        let all = |enforcement| Enforcing::new(enforcement).enforces_all();

        assert!(all(Enforcement::Enforce) && all(Enforcement::Percent(Percent::new(100).unwrap())));
        assert!(!all(Enforcement::Shadow) && !all(Enforcement::Off));
    }

    #[test]
    fn more_than_all_is_no_part() {
        assert_eq!(Percent::new(101), Err(PercentError { percent: 101 }));
        assert_eq!(Percent::new(u32::MAX).unwrap_err().to_string(), "percent is 4294967295; allowed are 0 to 100");
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn of_two_refusals_that_meet_half_is_enforced() {
        loom::model(|| {
            let enforcing = Arc::new(Enforcing::new(Enforcement::Percent(Percent::new(50).unwrap())));
            let other = Arc::clone(&enforcing);
            let there = thread::spawn(move || other.enforces());

            let here = enforcing.enforces();

            assert!(here ^ there.join().unwrap());
            assert_eq!(enforcing.spared(), 1);
        });
    }
}

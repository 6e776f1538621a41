use seawall_core::sync::{
    CachePadded,
    atomic::{AtomicU64, Ordering::Relaxed},
};

const LIMIT_SHIFT: u32 = 20;
const PROBING: u64 = 1 << 36;
const WAITING: u64 = 1 << 37;
const FLOOR_SHIFT: u32 = 38;
const FLOOR: u64 = 3 << FLOOR_SHIFT;
const ENDED_SHIFT: u32 = 40;
const IN_FLIGHT: u64 = MOST_IN_FLIGHT as u64;
const MOST_IN_FLIGHT: u32 = (1 << LIMIT_SHIFT) - 1;
const LIMIT: u64 = 0xFFFF << LIMIT_SHIFT;
/// As much as the largest limit, and so little that what fits below a limit leaves room for it in the word.
pub(crate) const MAX_COST: u32 = 0xFFFF;
/// The count of ended calls has what is left of the word.
const ENDED_BITS: u32 = u64::BITS - ENDED_SHIFT;

/// The cost of the calls under way (20 bits), the limit (16), whether a probe gathers its calls (1), whether calls wait
/// (1), the least criticality that is let in (2), and how many have ended, modulo 2²⁴: all that a call needs to know,
/// moved in one step.
///
/// Every access is relaxed: the word counts, it guards no other memory.
#[derive(Debug)]
pub(crate) struct Word {
    word: CachePadded<AtomicU64>,
}

/// What the word said at one moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen(u64);

/// What [`Word::enter_plainly`] says.
pub(crate) enum Plain {
    /// The call is under way; what the word said before.
    Entered(Seen),
    /// There is no room for it.
    NoRoom(Seen),
    /// There is more to ask for, or another was quicker: [`Word::enter`] says it.
    NotToBeSaid,
}

/// A count of ended calls, modulo 2²⁴.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended(u32);

impl Seen {
    #[inline]
    pub(crate) const fn in_flight(self) -> u32 {
        (self.0 & IN_FLIGHT) as u32
    }

    #[inline]
    pub(crate) const fn limit(self) -> u32 {
        ((self.0 & LIMIT) >> LIMIT_SHIFT) as u32
    }

    #[inline]
    pub(crate) const fn is_probing(self) -> bool {
        self.0 & PROBING != 0
    }

    #[inline]
    pub(crate) const fn is_waiting(self) -> bool {
        self.0 & WAITING != 0
    }

    /// The least criticality that is let in, as a number.
    #[inline]
    pub(crate) const fn floor(self) -> u32 {
        ((self.0 & FLOOR) >> FLOOR_SHIFT) as u32
    }

    /// Whether a call of this cost fits below `share`. One that is too dear for any share goes when it is alone.
    #[inline]
    const fn fits(self, cost: u32, share: u32) -> bool {
        let in_flight = self.in_flight();
        in_flight.saturating_add(cost) <= share || (in_flight == 0 && share > 0)
    }

    #[inline]
    const fn has_room(self, cost: u32) -> bool {
        self.fits(cost, self.limit())
    }

    #[inline]
    pub(crate) const fn ended(self) -> Ended {
        Ended((self.0 >> ENDED_SHIFT) as u32)
    }
}

impl Ended {
    const MASK: u32 = (1 << ENDED_BITS) - 1;
    /// Differences below this are "later", others "earlier".
    pub(crate) const HORIZON: u32 = 1 << (ENDED_BITS - 1);
    /// So many calls on is never reached before it is changed, and not yet the past.
    pub(crate) const FAR: u32 = Self::HORIZON / 2;

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn plus(self, calls: u32) -> Self {
        Self(self.0.wrapping_add(calls) & Self::MASK)
    }

    /// A number of 32 bits: those of successive counts are spread evenly, and those of every nth as well, whatever n: the
    /// golden ratio's multiples by the squares (Weyl, Über die Gleichverteilung von Zahlen mod. Eins, 1916). Its plain multiples
    /// come in clumps at intervals of Fibonacci numbers.
    #[inline]
    pub(crate) const fn spread(self) -> u32 {
        self.0.wrapping_mul(self.0).wrapping_mul(0x9E37_79B9)
    }

    /// How many calls have ended since `mark`, modulo 2²⁴.
    #[inline]
    pub(crate) const fn since(self, mark: Self) -> u32 {
        self.0.wrapping_sub(mark.0) & Self::MASK
    }
}

impl Word {
    pub(crate) fn new(limit: u32) -> Self {
        Self { word: CachePadded::new(AtomicU64::new(u64::from(limit) << LIMIT_SHIFT)) }
    }

    /// A call of this cost is under way, if it fits below the share that `share` makes of what the word says; what the
    /// word said before.
    #[inline]
    pub(crate) fn enter(&self, cost: u32, share: impl Fn(Seen) -> u32) -> Result<Seen, Seen> {
        let mut seen = self.word.load(Relaxed);
        loop {
            if !Seen(seen).fits(cost, share(Seen(seen))) {
                return Err(Seen(seen));
            }
            match self.word.compare_exchange_weak(seen, seen.wrapping_add(cost.into()), Relaxed, Relaxed) {
                Ok(_) => return Ok(Seen(seen)),
                Err(newer) => seen = newer,
            }
        }
    }

    /// The same at the first try, for a call that may fill the limit while there is nothing but the limit to ask for: no
    /// probe, no floor.
    #[inline]
    pub(crate) fn enter_plainly(&self, cost: u32) -> Plain {
        let seen = self.word.load(Relaxed);
        if seen & (PROBING | FLOOR) != 0 {
            return Plain::NotToBeSaid;
        }
        if !Seen(seen).has_room(cost) {
            return Plain::NoRoom(Seen(seen));
        }
        match self.word.compare_exchange(seen, seen.wrapping_add(cost.into()), Relaxed, Relaxed) {
            Ok(_) => Plain::Entered(Seen(seen)),
            Err(_) => Plain::NotToBeSaid,
        }
    }

    /// A call of this cost and criticality is under way, if there is room, nobody waits for it and such calls are let in.
    #[inline]
    pub(crate) fn enter_if_nobody_waits(&self, cost: u32, class: u32) -> Result<Seen, Seen> {
        self.enter(cost, |seen| if seen.is_waiting() || class < seen.floor() { 0 } else { seen.limit() })
    }

    /// A call of this cost is under way, or else the flag that somebody waits is up, in one step: a place that comes free
    /// is seen here, or its giver sees the flag.
    pub(crate) fn enter_or_wait(&self, cost: u32) -> Result<Seen, Seen> {
        let step = |seen| {
            let room = Seen(seen).has_room(cost);
            Some(if room { seen.wrapping_add(cost.into()) } else { seen | WAITING })
        };
        match self.word.fetch_update(Relaxed, Relaxed, step) {
            Ok(seen) if Seen(seen).has_room(cost) => Ok(Seen(seen)),
            Ok(seen) | Err(seen) => Err(Seen(seen)),
        }
    }

    /// A call of this cost is under way whatever the limit; what the word said before, and how much of the cost it had room
    /// to count: what the call is to leave with.
    pub(crate) fn enter_anyway(&self, cost: u32) -> (Seen, u32) {
        let counted = |seen| cost.min(MOST_IN_FLIGHT.saturating_sub(Seen(seen).in_flight()));
        let step = |seen: u64| Some(seen.wrapping_add(counted(seen).into()));
        let (Ok(seen) | Err(seen)) = self.word.fetch_update(Relaxed, Relaxed, step);
        (Seen(seen), counted(seen))
    }

    /// Nobody waits any more.
    pub(crate) fn nobody_waits(&self) {
        self.word.fetch_and(!WAITING, Relaxed);
    }

    /// A call of this cost is under way no more, one more has ended; what the word said before.
    #[inline]
    pub(crate) fn leave(&self, cost: u32) -> Seen {
        // The count of ended calls is at the top, so that its carry falls off the word.
        Seen(self.word.fetch_add((1_u64 << ENDED_SHIFT).wrapping_sub(cost.into()), Relaxed))
    }

    /// The least criticality that is let in from here on.
    pub(crate) fn set_floor(&self, floor: u32) {
        let fields = u64::from(floor) << FLOOR_SHIFT & FLOOR;
        let _ = self.word.fetch_update(Relaxed, Relaxed, |seen| Some(seen & !FLOOR | fields));
    }

    /// Another limit, and whether a probe gathers its calls.
    pub(crate) fn set(&self, limit: u32, probing: bool) {
        let fields = u64::from(limit) << LIMIT_SHIFT | if probing { PROBING } else { 0 };
        let _ = self.word.fetch_update(Relaxed, Relaxed, |seen| Some(seen & !(LIMIT | PROBING) | fields));
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen(self.word.load(Relaxed))
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_the_word_do_not_touch() {
        let word = Word::new(65_535);
        word.word.fetch_or(u64::from(Ended::MASK) << ENDED_SHIFT, Relaxed);

        assert!(word.enter(7, Seen::limit).is_ok());
        word.set(1, true);
        word.set_floor(3);
        let before = word.leave(7);

        assert_eq!((before.in_flight(), before.limit(), before.is_probing(), before.floor()), (7, 1, true, 3));
        assert_eq!(before.ended().to_bits(), Ended::MASK);
        let after = word.seen();
        assert_eq!((after.in_flight(), after.limit(), after.ended().to_bits()), (0, 1, 0));
    }

    #[test]
    fn a_call_that_is_dearer_than_the_limit_goes_alone() {
        let word = Word::new(10);

        assert!(word.enter(4, Seen::limit).is_ok());
        assert!(word.enter(7, Seen::limit).is_err());
        assert!(word.enter(6, Seen::limit).is_ok());
        word.leave(4);
        word.leave(6);
        assert!(word.enter(11, Seen::limit).is_ok());
        assert!(word.enter(1, Seen::limit).is_err());
        assert_eq!(word.seen().in_flight(), 11);
    }

    #[test]
    fn a_call_enters_plainly_while_there_is_room_and_nothing_else_to_ask_for() {
        let word = Word::new(1);
        assert!(matches!(word.enter_plainly(1), Plain::Entered(_)));
        assert!(matches!(word.enter_plainly(1), Plain::NoRoom(seen) if seen.in_flight() == 1));

        word.leave(1);
        word.set(1, true);
        assert!(matches!(word.enter_plainly(1), Plain::NotToBeSaid));
        word.set(1, false);
        word.set_floor(1);
        assert!(matches!(word.enter_plainly(1), Plain::NotToBeSaid));

        assert_eq!(word.seen().in_flight(), 0);
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "a million of them")]
    fn spread_numbers_pick_one_in_so_many_evenly_whatever_comes_at_regular_intervals() {
        const COUNTS: u32 = 1 << 20;
        for bits in 1..=6_u32 {
            let picked: Vec<u32> =
                (0..COUNTS).filter(|count| Ended::from_bits(*count).spread() >> (32 - bits) == 0).collect();

            let share = f64::from(COUNTS) / f64::from(1_u32 << bits);
            assert!((picked.len() as f64 / share - 1.0).abs() < 0.02);
            assert!(picked.windows(2).all(|two| two[1] - two[0] <= 20 << bits));
            for interval in 2..=100 {
                let regular = picked.iter().filter(|count| **count % interval == 0).count();
                let of_all = regular as f64 * f64::from(interval) / share;
                assert!((of_all - 1.0).abs() < 0.25, "one in {}, every {interval}: {of_all}", 1 << bits);
            }
        }
    }

    #[test]
    fn at_no_regular_interval_is_nobody_picked_for_long() {
        let golden = [233, 377, 610, 842, 966, 987, 1_104, 1_288, 1_353, 1_449, 1_597, 2_584, 4_181, 6_765, 10_946];
        let binary = (0..=16).map(|bits| 1 << bits);
        for interval in (1..=128).chain(golden).chain(binary) {
            let (mut longest, mut last) = (0, 0);
            for call in 0..100_000_u32 {
                if Ended::from_bits(call.wrapping_mul(interval)).spread() >> 26 == 0 {
                    last = call;
                }
                longest = longest.max(call - last);
            }

            // Were each picked by a throw of a die of 64 sides, one run in three would hold one of 800.
            assert!(longest < 3_200, "every {interval}: {longest} in a row");
        }
    }

    #[test]
    fn calls_are_counted_from_a_mark_across_the_wrap_of_the_count() {
        let before_wrap = Ended::from_bits(Ended::MASK);

        assert_eq!(before_wrap.plus(5).since(before_wrap), 5);
        assert!(before_wrap.since(before_wrap.plus(5)) >= Ended::HORIZON);
        assert!(before_wrap.since(before_wrap.plus(Ended::FAR)) >= Ended::HORIZON);
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    /// As a call does: at the first try, or else the general way.
    fn enter(word: &Word) -> bool {
        match word.enter_plainly(1) {
            Plain::Entered(_) => true,
            Plain::NoRoom(_) => false,
            Plain::NotToBeSaid => word.enter(1, Seen::limit).is_ok(),
        }
    }

    #[test]
    fn no_call_enters_above_the_limit_and_none_is_counted_wrong() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let word = Arc::new(Word::new(1));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let word = Arc::clone(&word);
                    thread::spawn(move || {
                        let entered = enter(&word);
                        if entered {
                            assert_eq!(word.leave(1).in_flight(), 1);
                        }
                        entered
                    })
                })
                .collect();
            let entered = threads.into_iter().map(|thread| u32::from(thread.join().unwrap())).sum::<u32>();
            assert!(entered >= 1);
            assert_eq!((word.seen().in_flight(), word.seen().ended().to_bits()), (0, entered));
        });
    }

    #[test]
    fn a_new_limit_keeps_the_calls_that_come_and_go_meanwhile() {
        loom::model(|| {
            let word = Arc::new(Word::new(2));
            word.enter(1, Seen::limit).unwrap();
            let other = Arc::clone(&word);
            let goes = thread::spawn(move || other.leave(1).in_flight());
            word.set(1, true);
            let entered = enter(&word);
            let before = goes.join().unwrap();
            let seen = word.seen();
            assert_eq!((seen.limit(), seen.is_probing(), seen.ended().to_bits()), (1, true, 1));
            assert_eq!(seen.in_flight(), u32::from(entered));
            assert!(before == 1 || before == 2);
        });
    }
}

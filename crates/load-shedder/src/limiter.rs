#![expect(clippy::disallowed_types, reason = "the lock is taken between windows and for the few calls of a probe")]

#[cfg(all(test, seawall_loom))]
mod loom_tests;
mod passage;
#[cfg(all(test, not(seawall_loom)))]
mod tests;
mod windows;

use std::sync::{PoisonError, TryLockError};

use seawall_core::{
    Class, Outcome, Timestamp,
    sync::{
        CachePadded, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

pub use self::passage::Passage;
pub(crate) use self::passage::UNTIMED;
use self::windows::Marks;
use crate::{
    LimitAlgorithm,
    control::{Control, Joined},
    limit_cut::CutWatchers,
    tally::{Sample, Tally},
    word::{Seen, Word},
};

/// A limit that follows the server: the word that counts, the samples, and the algorithm between windows. What a call
/// that finds no room does is up to the gate around it.
#[derive(Debug)]
pub(crate) struct Limiter<A> {
    word: Word,
    marks: CachePadded<Marks>,
    tally: Tally,
    control: Mutex<Control<A>>,
    cut_watchers: CutWatchers,
    /// How many calls brought too little time along.
    too_close: AtomicU32,
}

/// Whether a deadline leaves a call the time that it takes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Enough,
    /// Not what is usual, but the call goes in all the same, to see whether that still holds.
    Look,
    TooLittle,
}

/// Of the calls that bring less time along than a call takes one in so many is let in.
const LOOKS: u32 = 32;

impl<A: LimitAlgorithm> Limiter<A> {
    pub(crate) fn new(algorithm: A) -> Self {
        let control = Control::new(algorithm);
        let limiter = Self {
            word: Word::new(control.limit().0),
            marks: CachePadded::new(Marks::default()),
            tally: Tally::new(&control.algorithm.sampling()),
            control: Mutex::new(control),
            cut_watchers: CutWatchers::default(),
            too_close: AtomicU32::new(0),
        };
        // The first call that ends finds the time over, if not the samples enough.
        limiter.begin_window(&mut limiter.control(), 0, 0, Timestamp::ZERO);
        limiter
    }

    pub(crate) const fn word(&self) -> &Word {
        &self.word
    }

    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        look(&self.control().algorithm)
    }

    pub(crate) fn adjust<R>(&self, change: impl FnOnce(&mut A) -> R) -> R {
        let mut control = self.control();
        let result = change(&mut control.algorithm);
        self.tally.follow(&control.algorithm.sampling());
        self.publish(&control);
        result
    }

    /// The passage of a call that has just entered, when the word said `seen`.
    #[inline]
    pub(crate) fn begin(&self, seen: Seen, cost: u32, start: Timestamp) -> Passage {
        let epoch = if seen.is_probing() {
            self.join(start)
        } else if self.is_timed(seen, cost) {
            0
        } else {
            UNTIMED
        };
        Passage::new(start, epoch, cost)
    }

    /// The same for a call that found no probe.
    #[inline]
    pub(crate) fn begin_plainly(&self, seen: Seen, cost: u32, now: impl FnOnce() -> Timestamp) -> Passage {
        if self.is_timed(seen, cost) {
            Passage::new(now(), 0, cost)
        } else {
            Passage::new(Timestamp::ZERO, UNTIMED, cost)
        }
    }

    /// The passage of a call that is let in whatever the load.
    #[cold]
    pub(crate) fn begin_exempt(&self, cost: u32, start: Timestamp) -> Passage {
        let (_, counted) = self.word.enter_anyway(cost);
        Passage::new(start, UNTIMED, counted)
    }

    /// The passage of a call that would be refused, were refusals in force.
    #[cold]
    pub(crate) fn begin_anyway(&self, cost: u32, start: Timestamp) -> Passage {
        let (seen, counted) = self.word.enter_anyway(cost);
        self.begin(seen, counted, start)
    }

    /// The mean latency of the last window, in nanoseconds.
    pub(crate) fn typical(&self) -> u64 {
        self.marks.typical.load(Relaxed)
    }

    /// Whether `deadline` leaves as much time as a call takes. Now and then one that has any time left is let in whatever it
    /// is: were all refused, nobody would learn that calls have become quicker.
    #[inline]
    pub(crate) fn time_until(&self, deadline: Timestamp, now: Timestamp) -> Time {
        let left = deadline.nanos_since(now);
        if left >= self.typical().max(1) {
            Time::Enough
        } else if left > 0 && self.lets_look() {
            Time::Look
        } else {
            Time::TooLittle
        }
    }

    #[cold]
    fn lets_look(&self) -> bool {
        self.too_close.fetch_add(1, Relaxed) % LOOKS == LOOKS.saturating_sub(1)
    }

    /// The end of a call; what the word said before.
    #[expect(clippy::inline_always, reason = "one path with the layers around it")]
    #[inline(always)]
    #[expect(clippy::needless_pass_by_value, reason = "a passage is given back once, and stays in registers")]
    pub(crate) fn end(&self, passage: Passage, outcome: Outcome, now: impl FnOnce() -> Timestamp) -> Seen {
        if passage.is_untimed() {
            return self.word.leave(passage.cost());
        }
        let now = now();
        let seen = self.word.leave(passage.cost());
        let age = now.nanos_since(passage.start);
        if outcome == Outcome::Finished(Class::Success) && passage.epoch() == 0 {
            self.count(seen, Some(Sample { nanos: age, dropped: false }), now);
        } else {
            self.end_otherwise(seen, passage.epoch(), age, outcome, now);
        }
        seen
    }

    /// The end of a call that is no plain success, or belongs to a probe.
    #[inline(never)]
    fn end_otherwise(&self, seen: Seen, epoch: u32, age: u64, outcome: Outcome, now: Timestamp) {
        let sample = self.sample(age, outcome);
        if epoch == 0 {
            self.count(seen, sample, now);
        } else {
            self.back_from_probe(epoch, sample);
        }
    }

    /// The end of a call that entered and never began; what the word said before.
    #[expect(clippy::needless_pass_by_value, reason = "a passage is given back once, and stays in registers")]
    pub(crate) fn never_began(&self, passage: Passage) -> Seen {
        let seen = self.word.leave(passage.cost());
        if passage.epoch() != 0 && !passage.is_untimed() {
            self.back_from_probe(passage.epoch(), None);
        }
        seen
    }

    /// The server is asked for all that it can do, though some calls find no room for their criticality.
    pub(crate) fn note_pressed(&self, seen: Seen) {
        self.tally.note_in_flight(seen.limit());
    }

    /// Somebody found no room: a probe that nobody joins for too long is given up, as those inside may never leave.
    #[inline]
    pub(crate) fn found_no_room(&self, seen: Seen, now: impl FnOnce() -> Timestamp) {
        if seen.is_probing() {
            let now = now();
            if now.as_nanos() >= self.marks.give_up_at.load(Relaxed) {
                self.give_up_gathering(now);
            }
        }
    }

    fn control(&self) -> MutexGuard<'_, Control<A>> {
        // A user's algorithm that panics leaves a limit that was in force before: go on with that.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: somebody else is at it.
    fn try_control(&self) -> Option<MutexGuard<'_, Control<A>>> {
        match self.control.try_lock() {
            Ok(control) => Some(control),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn publish(&self, control: &Control<A>) {
        let (limit, probing) = control.limit();
        self.word.set(limit, probing);
    }

    /// A call was admitted while a probe gathers.
    #[cold]
    fn join(&self, now: Timestamp) -> u32 {
        let mut control = self.control();
        let joined = control.join(now);
        self.marks.give_up_at.store(control.give_up_at().as_nanos(), Relaxed);
        if joined == Joined::Last {
            // What ends next was admitted before, or under the probe's limit: a limit's worth is left out.
            let (limit, probing) = control.limit();
            self.word.set(limit, probing);
            self.tally.take();
            self.begin_window(&mut control, limit, 0, now);
        }
        if joined == Joined::Late { 0 } else { control.epoch() }
    }

    /// Nobody joined the probe for too long.
    fn give_up_gathering(&self, now: Timestamp) {
        let mut control = self.control();
        control.give_up_gathering(now);
        // A user's algorithm that panicked when it was told of a probe may have left the word behind, too.
        if !control.is_gathering() && self.word.seen().is_probing() {
            self.publish(&control);
            self.begin_window(&mut control, 0, 0, now);
        }
    }

    /// The latency that a call counts with, if any.
    #[inline]
    fn sample(&self, age: u64, outcome: Outcome) -> Option<Sample> {
        if outcome == Outcome::Finished(Class::Success) {
            return Some(Sample { nanos: age, dropped: false });
        }
        let typical = self.marks.typical.load(Relaxed);
        match outcome {
            Outcome::Finished(Class::Failure) | Outcome::Panicked => {
                (age >= typical).then_some(Sample { nanos: age, dropped: false })
            }
            // Of a call that had less time than is usual nobody knows what would have become.
            Outcome::Cancelled | Outcome::DeadlineExceeded => {
                Some(Sample { nanos: age.max(typical), dropped: age >= typical })
            }
            Outcome::TimedOut => Some(Sample { nanos: age.max(typical), dropped: true }),
            _ => None,
        }
    }

    #[cold]
    fn back_from_probe(&self, epoch: u32, sample: Option<Sample>) {
        let mut control = self.control();
        let before = control.algorithm.steady_limit();
        if control.back(epoch, sample) {
            self.publish(&control);
            self.tell_of_cut(before, control);
        }
    }

    /// Tells those who want to know if the limit is much lower than `before`, once the lock is free.
    fn tell_of_cut(&self, before: f64, control: MutexGuard<'_, Control<A>>) {
        let after = control.algorithm.steady_limit();
        drop(control);
        self.cut_watchers.tell(before, after);
    }

    pub(crate) const fn cut_watchers(&self) -> &CutWatchers {
        &self.cut_watchers
    }
}
